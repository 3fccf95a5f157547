"""``mlff-md drift``: energy conservation of a run that someone else made."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_md.cli.judging import (
    add_report_options,
    given_thresholds,
    provenance,
    refuse_used,
    verdict_lines,
    write_and_print,
)
from mlff_md.cli.model import short_name
from mlff_md.cli.parser import Parser, add_options, chosen

if TYPE_CHECKING:
    from mlff_md.protocols.records import Report

EXAMPLE = "mlff-md drift inputs/logs/lammps-melt.log --out melt-drift"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.protocols import drift

    parser.add_argument(
        "path",
        metavar="FILE",
        help="LAMMPS log, ASE trajectory or log, .xvg, .csv, a folder of validate-nve, or with "
        "--energies any trajectory",
    )
    add_report_options(
        parser, out="folder of the report (default: drift-FILE)", threshold="drift=0.01"
    )
    add_options(parser, drift.analyze_drift, skip=("thresholds",))


def run(arguments: argparse.Namespace) -> int:
    """Judge the file, write the report and return the verdict's exit code."""
    from mlff_md.protocols import drift

    thresholds = given_thresholds(arguments)
    out = Path(arguments.out or f"drift-{short_name(Path(arguments.path).resolve().name)}")
    refuse_used(out, arguments)
    options = chosen(arguments, drift.analyze_drift)
    with provenance() as facts:
        report = drift.analyze_drift(arguments.path, **options, thresholds=thresholds)
    return write_and_print(report, out, facts, arguments, lines=_lines)


def _lines(report: Report) -> Iterator[str]:
    yield from verdict_lines(report)
    for note in report.provenance["notes"]:
        yield f"  note         {note}"
