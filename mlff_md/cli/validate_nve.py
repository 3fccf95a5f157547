"""``mlff-md validate-nve``: the NVE protocol with a report."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from mlff_md.cli.model import add_model_options, make_calculator, short_name
from mlff_md.cli.output import say, told_warnings
from mlff_md.cli.parser import Parser, add_options, chosen
from mlff_md.errors import ConfigError

EXAMPLE = "mlff-md validate-nve inputs/structures/aspirin.xyz --model tiny --out aspirin-nve"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.protocols import nve

    parser.add_argument("structure", help="any file that ASE reads: xyz, cif, pdb, ...")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder of the report and the raw data (default: nve-STRUCTURE-MODEL)",
    )
    parser.add_argument("--force", action="store_true", help="replace what --out already holds")
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="ID=LIMIT",
        help="another limit for a check, such as drift=0.01; can be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print report.json instead of a table")
    add_model_options(parser)
    add_options(parser, nve.run, skip=("overwrite", "progress"))


def run(arguments: argparse.Namespace) -> int:
    """Run the protocol, write the report and return the verdict's exit code."""
    from mlff_md.progress import ConsoleProgress
    from mlff_md.protocols import nve
    from mlff_md.protocols.records import EXIT_CODES
    from mlff_md.protocols.thresholds import parse_overrides, with_overrides
    from mlff_md.report import write_report
    from mlff_md.structures import read_structure

    # Everything that could be wrong with the input is found before minutes of MD.
    thresholds = with_overrides(parse_overrides(arguments.threshold))
    atoms = read_structure(arguments.structure)
    out = Path(arguments.out or _default_out(arguments))
    if not arguments.force:
        _refuse_used(out)
    calculator = make_calculator(arguments)
    started = time.perf_counter()
    with told_warnings() as told:
        raw = nve.run(
            atoms,
            calculator,
            out,
            **chosen(arguments, nve.run),
            overwrite=arguments.force,
            progress=ConsoleProgress(),
        )
    report = nve.analyze(raw, thresholds)
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
        for check in report.checks:
            say(f"  {check.verdict:<12} {check.title}: {check.summary}")
        say(f"report: {paths.html}")
    return EXIT_CODES[report.verdict]


def _refuse_used(out: Path) -> None:
    from mlff_md.protocols.records import DERIVED_FILES, REPORT_JSON

    if any((out / name).exists() for name in (REPORT_JSON, *DERIVED_FILES)):
        raise ConfigError(f"{out} already holds a report; choose another --out or pass --force")
    if (out / "raw").exists():
        raise ConfigError(
            f"{out} holds a run without a report, perhaps interrupted; pass --force to replace it"
        )


def _default_out(arguments: argparse.Namespace) -> str:
    return f"nve-{Path(arguments.structure).stem}-{short_name(arguments.model)}"
