"""``mlff-md drift``: energy conservation of a run that someone else made."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from mlff_md.cli.model import short_name
from mlff_md.cli.output import say, told_warnings
from mlff_md.cli.parser import Parser, add_options, chosen
from mlff_md.errors import ConfigError

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
    parser.add_argument("--out", metavar="DIR", help="folder of the report (default: drift-FILE)")
    parser.add_argument("--force", action="store_true", help="replace what --out already holds")
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="ID=LIMIT",
        help="another limit for a check, such as drift=0.01; can be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print report.json instead of a table")
    add_options(parser, drift.analyze_drift, skip=("thresholds",))


def run(arguments: argparse.Namespace) -> int:
    """Judge the file, write the report and return the verdict's exit code."""
    from mlff_md.protocols import drift
    from mlff_md.protocols.records import DERIVED_FILES, EXIT_CODES, REPORT_JSON
    from mlff_md.protocols.thresholds import parse_overrides, with_overrides
    from mlff_md.report import write_report

    thresholds = with_overrides(parse_overrides(arguments.threshold))
    out = Path(arguments.out or f"drift-{short_name(Path(arguments.path).resolve().name)}")
    if not arguments.force and any((out / name).exists() for name in (REPORT_JSON, *DERIVED_FILES)):
        raise ConfigError(f"{out} already holds a report; choose another --out or pass --force")
    options = chosen(arguments, drift.analyze_drift)
    with told_warnings() as told:
        report = drift.analyze_drift(arguments.path, **options, thresholds=thresholds)
    command_line = shlex.join(["mlff-md", *sys.argv[1:]])
    provenance = {**report.provenance, "command_line": command_line, "warnings": told}
    report = replace(report, provenance=provenance)
    paths = write_report(report, out, overwrite=arguments.force)
    if arguments.json:
        say(report.to_json(), end="")
    else:
        say(f"{report.title}: {report.verdict.upper()}")
        for check in report.checks:
            say(f"  {check.verdict:<12} {check.title}: {check.summary}")
        for note in report.provenance["notes"]:
            say(f"  note         {note}")
        say(f"report: {paths.html}")
    return EXIT_CODES[report.verdict]
