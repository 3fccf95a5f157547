"""``mlff-md check``: the checklist before production."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from mlff_md.cli.model import short_name
from mlff_md.cli.output import say, told_warnings
from mlff_md.cli.parser import Parser, add_options, chosen
from mlff_md.errors import ConfigError

EXAMPLE = "mlff-md check tiny --out check-tiny"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.protocols import check

    parser.add_argument("student", help="name of a shipped student, or a .safetensors file")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder of the report and the raw data (default: check-STUDENT)",
    )
    parser.add_argument("--force", action="store_true", help="replace what --out already holds")
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="ID=LIMIT",
        help="another limit for a row, such as latency=20; can be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print report.json instead of a table")
    add_options(parser, check.run, skip=("overwrite", "progress"))


def run(arguments: argparse.Namespace) -> int:
    """Measure, judge, write the report and return the verdict's exit code."""
    from mlff_md.progress import ConsoleProgress
    from mlff_md.protocols import check
    from mlff_md.protocols.records import DERIVED_FILES, EXIT_CODES, REPORT_JSON
    from mlff_md.protocols.thresholds import parse_overrides, with_overrides
    from mlff_md.report import write_report

    thresholds = with_overrides(parse_overrides(arguments.threshold))
    out = Path(arguments.out or f"check-{short_name(arguments.student)}")
    if not arguments.force and any((out / name).exists() for name in (REPORT_JSON, *DERIVED_FILES)):
        raise ConfigError(f"{out} already holds a report; choose another --out or pass --force")
    started = time.perf_counter()
    with told_warnings() as told:
        raw = check.run(
            arguments.student,
            out,
            **chosen(arguments, check.run),
            overwrite=arguments.force,
            progress=ConsoleProgress(),
        )
    report = check.analyze(raw, thresholds)
    provenance = {
        **report.provenance,
        "command_line": shlex.join(["mlff-md", *sys.argv[1:]]),
        "wall_time_s": round(time.perf_counter() - started, 1),
        "warnings": told,
    }
    report = replace(report, provenance=provenance)
    paths = write_report(report, out, overwrite=arguments.force)
    if arguments.json:
        say(report.to_json(), end="")
    else:
        say(f"{report.title}: {report.verdict.upper()}")
        for row in report.checks:
            say(f"  {row.verdict:<12} {row.title}: {row.summary}")
        say(f"report: {paths.html}")
    return EXIT_CODES[report.verdict]
