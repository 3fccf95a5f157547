"""``mlff-md compare``: MD with a model against MD with its teacher, with a report."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    add_report_options(
        parser,
        out="folder of the report and the raw data; run again to go on with an interrupted "
        "comparison or to add replicas (default: compare-STRUCTURE-MODEL)",
        threshold="bonds=0.005",
        force="throw away what --out already holds",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a first look: " + _words(compare.QUICK))
    size.add_argument("--full", action="store_true", help="long and sure: " + _words(compare.FULL))
    add_model_options(parser)
    add_options(parser, compare.run, skip=("overwrite", "progress"))


def run(arguments: argparse.Namespace) -> int:
    """Compare, write the report and return the verdict's exit code."""
    from mlff_md.progress import ConsoleProgress
    from mlff_md.protocols import compare
    from mlff_md.structures import read_structure
    from mlff_md.teachers import teacher

    # Everything that could be wrong with the input is found before minutes of MD.
    thresholds = given_thresholds(arguments)
    atoms = read_structure(arguments.structure)
    out = Path(arguments.out or _default_out(arguments))
    if not (out / "raw" / "run.json").exists():
        refuse_used(out, arguments)  # a report that is not of a comparison
    model, master = make_calculator(arguments), teacher(arguments.teacher)
    with provenance() as facts:
        warn_of_electrons(model, atoms)
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
    # The raw data were found to be of this very comparison: the report is theirs to replace.
    return write_and_print(report, out, facts, arguments, overwrite=True)


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
