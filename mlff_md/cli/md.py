"""``mlff-md md``: molecular dynamics with a student or a teacher."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlff_md.cli.model import (
    add_model_options,
    make_calculator,
    short_name,
    warn_of_electrons,
)
from mlff_md.cli.output import say, told_warnings
from mlff_md.cli.parser import Parser, add_options, chosen, refuse_unused

EXAMPLE = "mlff-md md inputs/structures/ethanol.xyz --ensemble nvt --steps 20000 --out ethanol.traj"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.md import run_nve, run_nvt

    parser.add_argument("structure", help="any file that ASE reads: xyz, cif, pdb, ...")
    parser.add_argument(
        "--ensemble",
        type=str.lower,
        choices=("nve", "nvt"),
        default="nve",
        help="constant energy, or Langevin's thermostat (default: nve)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="trajectory, .traj or .extxyz (default: ENSEMBLE-STRUCTURE-MODEL.traj)",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing trajectory")
    add_model_options(parser)
    own = ("trajectory", "restart", "progress")
    add_options(parser, run_nve, skip=own)
    known = (*own, *chosen(parser.parse_args(["-"]), run_nve))
    add_options(parser, run_nvt, skip=known, documented_in=run_nve)


def run(arguments: argparse.Namespace) -> int:
    """Run the dynamics and print what became of it."""
    from mlff_md.errors import ConfigError
    from mlff_md.md import run_nve, run_nvt
    from mlff_md.progress import ConsoleProgress
    from mlff_md.structures import read_structure

    atoms = read_structure(arguments.structure)
    stem = Path(arguments.structure).stem
    name = arguments.out or f"{arguments.ensemble}-{stem}-{short_name(arguments.model)}.traj"
    out = Path(name)
    if out.exists() and out.samefile(arguments.structure):
        raise ConfigError(f"--out {out} is the structure itself; choose another")
    restart = out.with_name(f"{out.name}.restart")
    _refuse_used(out, restart, arguments)
    function = run_nvt if arguments.ensemble == "nvt" else run_nve
    if function is run_nve:
        only_nvt = ("friction_per_ps",)
        refuse_unused(arguments, arguments.parser, only_nvt, "without --ensemble nvt")
    options = dict(chosen(arguments, function))
    if function is run_nve and arguments.keep_velocities:
        refuse_unused(arguments, arguments.parser, ("temperature_K",), "with --keep-velocities")
        if not atoms.has("momenta"):
            raise ConfigError(f"{arguments.structure} holds no velocities to keep")
        options["temperature_K"] = None
    with told_warnings():
        calculator = make_calculator(arguments)
        warn_of_electrons(calculator, atoms)
        result = function(
            atoms,
            calculator,
            trajectory=out,
            restart=restart,
            progress=ConsoleProgress(),
            **options,
        )
    temperature = result.temperature_K
    say(f"{len(temperature)} samples, temperature {temperature.mean():.1f} K")
    energy = result.total_energy_eV
    say(f"total energy: first {energy[0]:.6f} eV, last {energy[-1]:.6f} eV")
    say(f"trajectory: {out}")
    return 0


def _refuse_used(out: Path, restart: Path, arguments: argparse.Namespace) -> None:
    from mlff_md.errors import ConfigError

    if arguments.resume and arguments.force:
        raise ConfigError("--resume goes on with a run, --force throws it away; leave one out")
    if not out.exists() or arguments.force:
        return
    there = (restart / "run.json").exists()
    if arguments.resume and not there:
        raise ConfigError(
            f"{out} has no checkpoints in {restart}: it cannot go on; choose another --out or pass "
            "--force"
        )
    if not arguments.resume:
        raise ConfigError(
            f"{out} exists; choose another --out, pass --force to replace it"
            + (", or --resume to go on with it" if there else "")
        )
