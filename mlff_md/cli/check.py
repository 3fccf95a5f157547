"""``mlff-md check``: the checklist before production."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlff_md.cli.judging import (
    add_report_options,
    given_thresholds,
    provenance,
    refuse_used,
    write_and_print,
)
from mlff_md.cli.model import refuse_teachers, short_name
from mlff_md.cli.parser import Parser, add_options, chosen

EXAMPLE = "mlff-md check tiny --out check-tiny"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.protocols import check

    parser.add_argument("student", help="name of a shipped student, or a .safetensors file")
    add_report_options(
        parser,
        out="folder of the report and the raw data (default: check-STUDENT)",
        threshold="latency=20",
    )
    add_options(parser, check.run, skip=("overwrite", "progress"))


def run(arguments: argparse.Namespace) -> int:
    """Measure, judge, write the report and return the verdict's exit code."""
    from mlff_md.progress import ConsoleProgress
    from mlff_md.protocols import check

    refuse_teachers(arguments.student)
    thresholds = given_thresholds(arguments)
    out = Path(arguments.out or f"check-{short_name(arguments.student)}")
    refuse_used(out, arguments)
    with provenance() as facts:
        raw = check.run(
            arguments.student,
            out,
            **chosen(arguments, check.run),
            overwrite=arguments.force,
            progress=ConsoleProgress(),
        )
        report = check.analyze(raw, thresholds)
    return write_and_print(report, out, facts, arguments)
