"""A structure as a LAMMPS data file, with all its digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlff_md.pairs import complete_cell
from mlff_md.structures import check_structure
from mlff_md.units import ASE_TIME_UNIT_FS

if TYPE_CHECKING:
    from ase import Atoms

_ROOM_A = 10.0
"""Empty space on each side of an open direction, Å; there LAMMPS grows the box as atoms leave."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A structure in LAMMPS' frame, where the first cell vector is along x, the second in xy.

    Attributes
    ----------
    cell
        ``float64 [3, 3]``, lower triangular, Å.
    origin
        ``float64 [3]``, Å.
    rotation
        ``float64 [3, 3]``: a row vector of the structure times this is one of LAMMPS'. A reflection
        where the structure's cell is left-handed.
    """

    cell: NDArray[np.float64]
    origin: NDArray[np.float64]
    rotation: NDArray[np.float64]


@dataclass(frozen=True)
class DataFile:
    """A data file and what its deck has to say.

    Attributes
    ----------
    text
        The file.
    elements
        Chemical symbol of each atom type; atoms of one element and two masses are two types.
    has_velocities
        Whether it holds velocities.
    """

    text: str
    elements: tuple[str, ...]
    has_velocities: bool


def data_file(atoms: Atoms) -> DataFile:
    """Return a structure as a data file: ``units metal``, ``atom_style atomic``.

    Parameters
    ----------
    atoms
        A molecule, a slab, a crystal of any cell. Velocities are written if there are any.

    Raises
    ------
    StructureError
        If the structure cannot be evaluated.
    """
    check_structure(atoms)
    placed = place(atoms)
    masses = atoms.get_masses()
    kinds = sorted(set(zip(atoms.symbols, masses.tolist(), strict=True)))
    number = {kind: index for index, kind in enumerate(kinds, start=1)}
    types = [number[kind] for kind in zip(atoms.symbols, masses.tolist(), strict=True)]
    positions = atoms.positions @ placed.rotation
    high = placed.origin + np.diag(placed.cell)
    lines = [f"{atoms.get_chemical_formula()} (mlff_md)", "", f"{len(atoms)} atoms"]
    lines += [f"{len(kinds)} atom types", ""]
    for axis, low, end in zip("xyz", placed.origin, high, strict=True):
        lines.append(f"{low!s} {end!s} {axis}lo {axis}hi")
    tilt = placed.cell[1, 0], placed.cell[2, 0], placed.cell[2, 1]
    if any(tilt):
        lines.append(f"{tilt[0]!s} {tilt[1]!s} {tilt[2]!s} xy xz yz")
    lines += ["", "Masses", ""]
    lines += [f"{k} {mass!s} # {symbol}" for k, (symbol, mass) in enumerate(kinds, start=1)]
    lines += ["", "Atoms # atomic", ""]
    for index, (kind, position) in enumerate(zip(types, positions.tolist(), strict=True), start=1):
        lines.append(" ".join(map(str, (index, kind, *position))))
    has_velocities = atoms.has("momenta") and bool(atoms.get_momenta().any())
    if has_velocities:
        lines += ["", "Velocities", ""]
        per_ps = atoms.get_velocities() @ placed.rotation * (1000.0 / ASE_TIME_UNIT_FS)
        for index, velocity in enumerate(per_ps.tolist(), start=1):
            lines.append(" ".join(map(str, (index, *velocity))))
    return DataFile("\n".join(lines) + "\n", tuple(symbol for symbol, _ in kinds), has_velocities)


def place(atoms: Atoms) -> Placed:
    """Return the box that LAMMPS gives a structure, with tilts within its limits."""
    pbc = np.asarray(atoms.pbc, dtype=bool)
    cell = complete_cell(atoms.cell.array, pbc)
    a, b, c = cell
    x = float(np.linalg.norm(a))
    xy = float(b @ a) / x
    y = float(np.sqrt(b @ b - xy**2))
    xz = float(c @ a) / x
    yz = (float(b @ c) - xy * xz) / y
    z = float(np.sqrt(c @ c - xz**2 - yz**2))
    triangular = np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]])
    triangular[np.abs(triangular) < 1e-12 * max(x, y, z)] = 0.0
    rotation = np.linalg.solve(cell, triangular)
    if np.array_equal(triangular, cell):
        rotation = np.eye(3)
    # The same lattice with tilts of at most half an edge, which is what LAMMPS takes.
    for row, column in ((1, 0), (2, 1), (2, 0)):
        if pbc[row] and pbc[column]:
            times = np.round(triangular[row, column] / triangular[column, column])
            triangular[row] -= times * triangular[column]
    origin = np.zeros(3)
    positions = atoms.positions @ rotation
    for axis in np.flatnonzero(~pbc):
        origin[axis] = positions[:, axis].min() - _ROOM_A
        triangular[axis, axis] = np.ptp(positions[:, axis]) + 2.0 * _ROOM_A
    return Placed(triangular, origin, rotation)
