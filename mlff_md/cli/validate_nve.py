"""``mlff-md validate-nve``: the NVE protocol with a report."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_md.cli.judging import (
    add_report_options,
    given_thresholds,
    provenance,
    refuse_used,
    write_and_print,
)
from mlff_md.cli.model import (
    add_model_options,
    make_calculator,
    short_name,
    warn_of_electrons,
)
from mlff_md.cli.parser import Parser, add_options, chosen, refuse_unused
from mlff_md.errors import ConfigError

if TYPE_CHECKING:
    from mlff_md.protocols.records import Report, Threshold

EXAMPLE = "mlff-md validate-nve inputs/structures/aspirin.xyz --model tiny --out aspirin-nve"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.protocols import nve

    parser.add_argument("structure", help="any file that ASE reads: xyz, cif, pdb, ...")
    add_report_options(
        parser,
        out="folder of the report and the raw data (default: nve-STRUCTURE-MODEL)",
        threshold="drift=0.01",
    )
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
    from mlff_md.structures import read_structure

    # Everything that could be wrong with the input is found before minutes of MD.
    thresholds = given_thresholds(arguments)
    atoms = read_structure(arguments.structure)
    out = Path(arguments.out or _default_out(arguments))
    if arguments.resume and arguments.force:
        raise ConfigError("--resume goes on with a run, --force throws it away; leave one out")
    if not (arguments.resume and (out / "raw" / "run.json").exists()):
        refuse_used(out, arguments, raw=not arguments.resume)
    calculator = make_calculator(arguments)
    with provenance() as facts:
        warn_of_electrons(calculator, atoms)
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
    # Raw data that could be gone on with are of this very run: the report is theirs to replace.
    overwrite = arguments.force or arguments.resume
    lines = _self_test_lines if arguments.self_test else None
    return write_and_print(report, out, facts, arguments, overwrite=overwrite, lines=lines)


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


def _self_test_lines(report: Report) -> Iterator[str]:
    """Yield the table of the defects, and what did not pass."""
    from mlff_md.protocols.defects import table

    yield table(report)
    for check in report.checks:
        if check.verdict != "pass":
            yield f"  {check.verdict:<12} {check.id}: {check.summary}"
    yield f"{report.title}: {report.verdict.upper()}"


def _default_out(arguments: argparse.Namespace) -> str:
    kind = "selftest" if arguments.self_test else "nve"
    return f"{kind}-{Path(arguments.structure).stem}-{short_name(arguments.model)}"
