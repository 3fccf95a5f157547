"""Running decks in a LAMMPS whose own ``pair_style python`` it is."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mlff_md.lammps.builds import Build
from mlff_md.lammps.data_file import data_file
from mlff_md.lammps.deck import ATTACH
from mlff_md.lammps.launcher import prepare

RESULT = """
print "RESULT $(pe:%.17g) $(c_virial[1]:%.17g) $(c_virial[2]:%.17g) $(c_virial[3]:%.17g) &
$(c_virial[4]:%.17g) $(c_virial[5]:%.17g) $(c_virial[6]:%.17g)"
"""
"""Prints energy and virial pressure, which :func:`results` reads."""


@dataclass(frozen=True)
class Result:
    """What one :data:`RESULT` printed, in LAMMPS' units."""

    energy: float
    pressure: np.ndarray


def head(
    atoms: Atoms, folder: Path, *, pair: str = "", ghosts_A: float = 0.0, before: str = ""
) -> str:
    """Write the data file and return a deck up to its first run.

    Parameters
    ----------
    pair
        Pair commands instead of the student's.
    ghosts_A
        For ``comm_modify cutoff``; 0 leaves LAMMPS' own.
    before
        Commands before ``read_data``.
    """
    data = data_file(atoms)
    (folder / "structure.data").write_text(data.text)
    boundary = " ".join("p" if wraps else "m" for wraps in atoms.pbc)
    pair = pair or (
        f"pair_style python 5.0\npair_coeff * * mlff_md.lammps.Student {' '.join(data.elements)}\n"
    )
    ghosts = f"comm_modify cutoff {ghosts_A}\n" if ghosts_A else ""
    return f"""\
units metal
atom_style atomic
boundary {boundary}
{before}read_data structure.data
{pair}{ATTACH}{ghosts}compute virial all pressure NULL virial
thermo_style custom step pe c_virial[1] c_virial[2] c_virial[3] c_virial[4] c_virial[5] c_virial[6]
thermo_modify norm no
"""


def run(
    build: Build,
    deck: str,
    folder: Path,
    *,
    ranks: int = 1,
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a deck; the caller looks at the return code."""
    path = folder / "in.lmp"
    path.write_text(deck)
    launch = prepare(path, build, ranks=ranks)
    return subprocess.run(
        [*launch.command, "-log", "none", *arguments],
        cwd=folder,
        env={**launch.environment, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=200,
        stdin=subprocess.DEVNULL,
    )


def succeed(build: Build, deck: str, folder: Path, **options) -> str:
    """Run a deck that must succeed and return what it printed."""
    done = run(build, deck, folder, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def results(output: str) -> list[Result]:
    """Return what each :data:`RESULT` of a run printed."""
    found = []
    for line in re.findall(r"^RESULT (.*)", output, re.M):
        numbers = [float(word) for word in line.split()]
        found.append(Result(numbers[0], np.array(numbers[1:])))
    return found


def frames(path: Path) -> list[np.ndarray]:
    """Return the rows of each frame of a text dump that is sorted by id."""
    parts = path.read_text().split("ITEM: ATOMS")[1:]
    return [
        np.array([row.split() for row in part.split("ITEM:")[0].splitlines()[1:]], dtype=float)
        for part in parts
    ]


DUMP = """
dump d all custom {every} {name} id type x y z fx fy fz
dump_modify d sort id format float %.17g
"""
"""Positions and forces, which :func:`frames` reads."""
