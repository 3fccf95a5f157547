"""``mlff-md validate-nve``: the NVE protocol with a report."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_md.cli.model import add_model_options, make_calculator, short_name
from mlff_md.cli.output import say, told_warnings
from mlff_md.cli.parser import Parser, add_options, chosen, refuse_unused
from mlff_md.errors import ConfigError

if TYPE_CHECKING:
    from mlff_md.protocols.records import Report, Threshold

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
    parser.add_argument(
        "--self-test",
        action="store_true",
        help="give the calculator twelve defects in turn and see that each is caught; no verdict "
        "on the calculator itself",
    )
    effort = parser.add_mutually_exclusive_group()
    for mode, text in (("quick", "seconds for a small molecule"), ("full", "long runs")):
        effort.add_argument(
            f"--{mode}", dest="mode", action="store_const", const=mode, help=f"{text}"
        )
    parser.set_defaults(mode="standard")
    add_model_options(parser)
    add_options(parser, nve.run, skip=("mode", "overwrite", "progress"))


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
        if arguments.self_test:
            report = _self_test(arguments, atoms, calculator, thresholds)
        else:
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
    elif arguments.self_test:
        from mlff_md.protocols.defects import table

        say(table(report))
        for check in report.checks:
            if check.verdict != "pass":
                say(f"  {check.verdict:<12} {check.id}: {check.summary}")
        say(f"{report.title}: {report.verdict.upper()}")
        say(f"report: {paths.html}")
    else:
        say(f"{report.title}: {report.verdict.upper()}")
        for check in report.checks:
            say(f"  {check.verdict:<12} {check.title}: {check.summary}")
        say(f"report: {paths.html}")
    return EXIT_CODES[report.verdict]


def _self_test(
    arguments: argparse.Namespace,
    atoms: Any,
    calculator: Any,
    thresholds: Mapping[str, Threshold],
) -> Report:
    """Run the mutation matrix; of the options for runs only those that it knows may be set."""
    from mlff_md.progress import ConsoleProgress
    from mlff_md.protocols import nve
    from mlff_md.protocols.defects import self_test

    known = set(chosen(arguments, self_test))
    unused = set(chosen(arguments, nve.run)) - known
    why = "with --self-test"
    refuse_unused(arguments, arguments.parser, sorted(unused - {"mode"}), why)
    options = {
        name: value
        for name, value in chosen(arguments, self_test).items()
        if value != arguments.parser.get_default(name)
    }
    return self_test(
        atoms, calculator, **options, thresholds=thresholds, progress=ConsoleProgress()
    )


def _refuse_used(out: Path) -> None:
    from mlff_md.protocols.records import DERIVED_FILES, REPORT_JSON

    if any((out / name).exists() for name in (REPORT_JSON, *DERIVED_FILES)):
        raise ConfigError(f"{out} already holds a report; choose another --out or pass --force")
    if (out / "raw").exists():
        raise ConfigError(
            f"{out} holds a run without a report, perhaps interrupted; pass --force to replace it"
        )


def _default_out(arguments: argparse.Namespace) -> str:
    kind = "selftest" if arguments.self_test else "nve"
    return f"{kind}-{Path(arguments.structure).stem}-{short_name(arguments.model)}"
