"""``mlff-md lammps``: students in LAMMPS."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from mlff_md.cli.output import say
from mlff_md.cli.parser import Parser, add_options, chosen, whole_number

EXAMPLE = "mlff-md lammps deck inputs/structures/aspirin.xyz --out aspirin-lammps"

_MODEL = "student (see mlff-md models) or .safetensors file (default: tiny)"
_LMP = "this LAMMPS executable (default: the first that has the pair style)"
_OWN = "only a LAMMPS with the package PYTHON, whose own pair_style python it is"

_STRUCTURES = (".xyz", ".extxyz", ".cif", ".pdb", ".traj")


def configure(parser: Parser) -> None:
    """Add the subcommands and their options."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=Parser
    )
    for name, (about, example, fill) in _ACTIONS.items():
        fill(actions.add_parser(name, help=about, about=about, example=example))


def _configure_info(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=_info)


def _configure_deck(parser: argparse.ArgumentParser) -> None:
    from mlff_md.lammps.deck import write_deck

    parser.add_argument("structure", help="any file that ASE reads: xyz, cif, pdb, ...")
    parser.add_argument("--out", metavar="DIR", help="folder (default: lammps-STRUCTURE-MODEL)")
    parser.add_argument("--force", action="store_true", help="replace a deck that is there")
    add_options(parser, write_deck, skip=("overwrite",))
    parser.set_defaults(handler=_deck)


def _configure_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("deck", help="LAMMPS input file, or the folder of 'lammps deck'")
    parser.add_argument(
        "--ranks", type=whole_number, default=1, metavar="N", help="MPI ranks (default: 1)"
    )
    parser.add_argument("--lmp", metavar="PATH", help=_LMP)
    parser.add_argument(
        "--mpirun", metavar="PATH", help="(default: the one of the MPI library of LAMMPS)"
    )
    parser.add_argument("--python-style", action="store_true", help=_OWN)
    parser.add_argument(
        "--var",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="variable of the deck, as LAMMPS' own -var; can be repeated",
    )
    parser.set_defaults(handler=_run_deck)


def _configure_parity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="DECK_OR_STRUCTURE", help="a deck, or a structure")
    parser.add_argument("--model", default="tiny", help=_MODEL)
    parser.add_argument(
        "--style", choices=("python", "mlff"), default="python", help="(default: python)"
    )
    parser.add_argument(
        "--engine", default="auto", help="on both sides; with a deck, in ASE (default: auto)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="on both sides; with a deck, in ASE (default: float32)",
    )
    parser.add_argument(
        "--ranks", type=whole_number, default=1, metavar="N", help="MPI ranks (default: 1)"
    )
    parser.add_argument("--lmp", metavar="PATH", help=_LMP)
    parser.add_argument("--python-style", action="store_true", help=_OWN)
    parser.add_argument("--out", metavar="DIR", help="write a report here")
    parser.add_argument("--force", action="store_true", help="replace a report that is there")
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="ID=LIMIT",
        help="another limit for a check, such as lammps_force=1e-6; can be repeated",
    )
    parser.set_defaults(handler=_parity)


_ACTIONS = {
    "info": (
        "say which LAMMPS there are and what each lacks",
        "mlff-md lammps info",
        _configure_info,
    ),
    "deck": (
        "write a deck and a data file for a structure and a student",
        EXAMPLE,
        _configure_deck,
    ),
    "run": (
        "run a deck with the right LAMMPS, in the deck's folder",
        "mlff-md lammps run aspirin-lammps/in.lmp --ranks 2 --var T 300",
        _configure_run,
    ),
    "parity": (
        "compare energy, forces and pressure of LAMMPS with those of the ASE calculator",
        "mlff-md lammps parity inputs/structures/water-box-64.xyz --model tiny",
        _configure_parity,
    ),
}
"""Subcommand -> one line on it, an example, and what adds its options."""


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    code: int = arguments.handler(arguments)
    return code


def _info(arguments: argparse.Namespace) -> int:
    from mlff_md.lammps.builds import HOW_TO_GET_ONE, find_builds
    from mlff_md.lammps.info import describe_build

    builds = find_builds()
    for build in builds:
        say(describe_build(build))
    if not builds:
        say(f"no LAMMPS was found; {HOW_TO_GET_ONE}")
    return 0 if builds else 3


def _deck(arguments: argparse.Namespace) -> int:
    from mlff_md.cli.model import refuse_teachers, short_name
    from mlff_md.lammps.deck import write_deck
    from mlff_md.structures import read_structure

    refuse_teachers(arguments.model)
    atoms = read_structure(arguments.structure)
    stem = Path(arguments.structure).stem
    out = arguments.out or f"lammps-{stem}-{short_name(arguments.model)}"
    deck = write_deck(atoms, out, **{**chosen(arguments, write_deck), "overwrite": arguments.force})
    ranks = f" --ranks {arguments.ranks}" if arguments.ranks > 1 else ""
    say(f"deck: {deck}")
    say(f"run it: mlff-md lammps run {shlex.quote(str(deck))}{ranks}")
    return 0


def _run_deck(arguments: argparse.Namespace) -> int:
    from mlff_md.errors import ConfigError
    from mlff_md.lammps.launcher import run_deck

    arguments.deck = _in_folder(arguments.deck)
    if Path(arguments.deck).suffix in _STRUCTURES:
        deck = shlex.quote(arguments.deck)
        raise ConfigError(f"{deck} is a structure; make a deck of it: mlff-md lammps deck {deck}")
    return run_deck(
        arguments.deck,
        ranks=arguments.ranks,
        lmp=arguments.lmp,
        mpirun=arguments.mpirun,
        own_python=arguments.python_style,
        variables=dict(arguments.var),
    )


def _in_folder(path: str) -> str:
    """Return the deck that 'mlff-md lammps deck' wrote into a folder, or the path as it is."""
    from mlff_md.lammps.deck import DECK_NAME

    deck = Path(path, DECK_NAME)
    return str(deck) if deck.is_file() else path


def _parity(arguments: argparse.Namespace) -> int:
    from mlff_md.calculator import StudentForceFieldCalculator
    from mlff_md.errors import ConfigError
    from mlff_md.lammps.parity import compare, evaluate_deck, evaluate_structure, is_deck
    from mlff_md.protocols.lammps_parity import parity_report
    from mlff_md.protocols.records import EXIT_CODES, REPORT_JSON
    from mlff_md.protocols.thresholds import parse_overrides, with_overrides
    from mlff_md.report import write_report
    from mlff_md.structures import read_structure

    thresholds = with_overrides(parse_overrides(arguments.threshold))
    if arguments.out and not arguments.force and Path(arguments.out, REPORT_JSON).exists():
        raise ConfigError(
            f"{arguments.out} already holds a report; choose another --out or pass --force"
        )
    calculator = StudentForceFieldCalculator(
        arguments.model, engine=arguments.engine, dtype=arguments.dtype
    )
    where = {
        "lmp": arguments.lmp,
        "own_python": arguments.python_style,
        "ranks": arguments.ranks,
    }
    arguments.input = _in_folder(arguments.input)
    if is_deck(Path(arguments.input)):
        evaluated = evaluate_deck(arguments.input, **where)
    else:
        how = {key: getattr(arguments, key) for key in ("model", "style", "engine", "dtype")}
        evaluated = evaluate_structure(read_structure(arguments.input), **how, **where)
    report = parity_report(evaluated, compare(evaluated, calculator), calculator, thresholds)
    command_line = shlex.join(["mlff-md", *sys.argv[1:]])
    report = replace(report, provenance={**report.provenance, "command_line": command_line})
    say(f"{report.title}: {report.verdict.upper()} ({evaluated.lammps})")
    for check in report.checks:
        say(f"  {check.verdict:<6} {check.title}: {check.summary}")
    if arguments.out:
        say(f"report: {write_report(report, arguments.out, overwrite=arguments.force).html}")
    return EXIT_CODES[report.verdict]
