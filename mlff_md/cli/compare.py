"""``mlff-md compare``: MD with a model against MD with its teacher, with a report."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlff_md.cli.model import add_model_options, make_calculator, short_name
from mlff_md.cli.output import say, told_warnings
from mlff_md.cli.parser import Parser, add_options, chosen

EXAMPLE = "mlff-md compare inputs/structures/ethanol.xyz --model tiny --teacher gfn2-xtb --quick"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.protocols import compare
    from mlff_md.teachers import DEFAULT_TEACHER

    parser.add_argument("structure", help="any file that ASE reads: xyz, cif, pdb, ...")
    parser.add_argument(
        "--teacher",
        default=DEFAULT_TEACHER,
        help=f"what the model should reproduce: {DEFAULT_TEACHER}, emt, lammps:..., mace:..., "
        f"module:Class (default: {DEFAULT_TEACHER})",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder of the report and the raw data; run again to go on with an interrupted "
        "comparison or to add replicas (default: compare-STRUCTURE-MODEL)",
    )
    parser.add_argument("--force", action="store_true", help="throw away what --out already holds")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a first look: " + _words(compare.QUICK))
    size.add_argument("--full", action="store_true", help="long and sure: " + _words(compare.FULL))
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="ID=LIMIT",
        help="another limit for a check, such as bonds=0.005; can be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print report.json instead of a table")
    add_model_options(parser)
    add_options(parser, compare.run, skip=("overwrite", "progress"))


def run(arguments: argparse.Namespace) -> int:
    """Compare, write the report and return the verdict's exit code."""
    from mlff_md.progress import ConsoleProgress
    from mlff_md.protocols import compare
    from mlff_md.protocols.records import EXIT_CODES
    from mlff_md.protocols.thresholds import parse_overrides, with_overrides
    from mlff_md.report import write_report
    from mlff_md.structures import read_structure
    from mlff_md.teachers import teacher

    # Everything that could be wrong with the input is found before minutes of MD.
    thresholds = with_overrides(parse_overrides(arguments.threshold))
    atoms = read_structure(arguments.structure)
    out = Path(arguments.out or _default_out(arguments))
    model, master = make_calculator(arguments), teacher(arguments.teacher)
    started = time.perf_counter()
    with told_warnings() as told:
        raw = compare.run(
            atoms,
            model,
            master,
            out,
            **_options(arguments),
            overwrite=arguments.force,
            progress=ConsoleProgress(),
        )
    report = compare.analyze(raw, thresholds)
    provenance = {
        **report.provenance,
        "command_line": shlex.join(["mlff-md", *sys.argv[1:]]),
        "wall_time_s": round(time.perf_counter() - started, 1),
        "warnings": told,
    }
    report = replace(report, provenance=provenance)
    # The raw data were found to be of this very comparison: the report is theirs to replace.
    paths = write_report(report, out, overwrite=True)
    if arguments.json:
        say(report.to_json(), end="")
    else:
        say(f"{report.title}: {report.verdict.upper()}")
        for check in report.checks:
            say(f"  {check.verdict:<12} {check.title}: {check.summary}")
        say(f"report: {paths.html}")
    return EXIT_CODES[report.verdict]


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the protocol; --quick and --full fill in those that were not given."""
    from mlff_md.protocols import compare

    options = dict(chosen(arguments, compare.run))
    preset = compare.QUICK if arguments.quick else compare.FULL if arguments.full else {}
    for name, value in preset.items():
        if options[name] == arguments.parser.get_default(name):
            options[name] = value
    return options


def _words(preset: Mapping[str, Any]) -> str:
    return " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in preset.items())


def _default_out(arguments: argparse.Namespace) -> str:
    return f"compare-{Path(arguments.structure).stem}-{short_name(arguments.model)}"
