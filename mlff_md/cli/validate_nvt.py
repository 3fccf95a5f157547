"""``mlff-md validate-nvt``: the ensemble protocol with a report."""

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
from mlff_md.cli.model import (
    add_model_options,
    make_calculator,
    short_name,
    warn_of_electrons,
)
from mlff_md.cli.parser import Parser, add_options, chosen

EXAMPLE = "mlff-md validate-nvt inputs/structures/ethanol.xyz --model tiny --out ethanol-nvt"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.protocols import ensemble

    parser.add_argument("structure", help="any file that ASE reads: xyz, cif, pdb, ...")
    add_report_options(
        parser,
        out="folder of the report and the raw data (default: nvt-STRUCTURE-MODEL)",
        threshold="equipartition=2",
    )
    effort = parser.add_mutually_exclusive_group()
    for mode, text in (("quick", "seconds for a small molecule"), ("full", "long runs")):
        effort.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, help=text)
    parser.set_defaults(mode="standard")
    add_model_options(parser)
    add_options(parser, ensemble.run, skip=("mode", "overwrite", "progress"))


def run(arguments: argparse.Namespace) -> int:
    """Run the protocol, write the report and return the verdict's exit code."""
    from mlff_md.progress import ConsoleProgress
    from mlff_md.protocols import ensemble
    from mlff_md.structures import read_structure

    thresholds = given_thresholds(arguments)
    atoms = read_structure(arguments.structure)
    name = f"nvt-{Path(arguments.structure).stem}-{short_name(arguments.model)}"
    out = Path(arguments.out or name)
    refuse_used(out, arguments, raw=True)
    calculator = make_calculator(arguments)
    with provenance() as facts:
        warn_of_electrons(calculator, atoms)
        raw = ensemble.run(
            atoms,
            calculator,
            out,
            **chosen(arguments, ensemble.run),
            overwrite=arguments.force,
            progress=ConsoleProgress(),
        )
        report = ensemble.analyze(raw, thresholds)
    return write_and_print(report, out, facts, arguments)
