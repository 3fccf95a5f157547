"""``mlff-md report``: draw a report again."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlff_md.cli.output import say
from mlff_md.cli.parser import Parser

EXAMPLE = "mlff-md report nve-aspirin-tiny/report.json"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    parser.add_argument("report", help="a report.json of any judging command, or its folder")
    parser.add_argument("--out", metavar="DIR", help="another folder (default: the report's own)")
    parser.add_argument("--force", action="store_true", help="replace what --out already holds")


def run(arguments: argparse.Namespace) -> int:
    """Draw it and print where it is."""
    from mlff_md.protocols.records import REPORT_JSON
    from mlff_md.report import render

    path = Path(arguments.report)
    if path.is_dir():
        path = path / REPORT_JSON
    paths = render(path, arguments.out, overwrite=arguments.force)
    say(f"report: {paths.html}")
    return 0
