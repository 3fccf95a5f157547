"""Structures: reading them from files, and the checks they pass before anything is computed.

A file from a stranger is only data here: formats whose reader can run code (pickles, Python
and the like) are refused before ASE sees them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms

MIN_DISTANCE_A = 0.05
"""Atoms closer than this, Å, are an error in the input, whatever the chemistry.

The shortest bond of all, H2, is 0.74 Å, and no trajectory comes near a tenth of it: at 0.05 Å
the bare Coulomb repulsion of two protons is already 290 eV.
"""

_FLAT_CELL = 1e-6
"""Relative volume (volume over the product of the edge lengths) below which a cell is flat."""


def check_structure(atoms: Atoms) -> None:
    """Check that a structure can be evaluated by anything: a student or a teacher.

    Raises
    ------
    StructureError
        One line, for an empty structure, positions or a cell that are not finite, a periodic
        cell without volume, and atoms that lie on top of each other.
    """
    from mlff_md.neighbors import NeighborList

    check_geometry(atoms.positions, atoms.cell.array, atoms.pbc)
    edges, vectors = NeighborList(MIN_DISTANCE_A, skin_A=0.0).update(
        atoms.positions, atoms.cell.array, atoms.pbc
    )
    check_distances(atoms.numbers, edges, vectors)


def check_geometry(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]
) -> None:
    """Check positions and cell alone: microseconds, so that every MD step can afford it.

    Parameters
    ----------
    positions
        ``[N, 3]``, Å.
    cell
        ``[3, 3]``, rows are the cell vectors, Å.
    pbc
        ``[3]``, which directions are periodic.

    Raises
    ------
    StructureError
        If there are no atoms, a number is not finite, or a periodic cell is flat.
    """
    if len(positions) == 0:
        raise StructureError("the structure has no atoms")
    # A sum is not finite if one term is not: an order of magnitude cheaper than isfinite().all().
    if not np.isfinite(positions.sum()) and not np.isfinite(positions).all():
        atom = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
        raise StructureError(
            f"the position of atom {atom} is not finite ({positions[atom].tolist()}); "
            "the structure is damaged or the simulation has blown up"
        )
    if not np.isfinite(cell).all():
        raise StructureError(f"the cell is not finite ({cell.tolist()})")
    if any(pbc):
        _check_cell(cell, pbc)


def check_distances(
    numbers: NDArray[np.integer], edges: NDArray[np.int32], vectors: NDArray[np.float64]
) -> None:
    """Check that no edge is shorter than :data:`MIN_DISTANCE_A`.

    Raises
    ------
    StructureError
        Naming the two atoms and their distance.
    """
    if len(vectors) == 0:
        return
    squared = np.einsum("ij,ij->i", vectors, vectors)
    shortest = int(squared.argmin())
    distance = float(squared[shortest]) ** 0.5
    if distance >= MIN_DISTANCE_A:
        return
    i, j = (int(index) for index in edges[:, shortest])
    first = f"{i} ({chemical_symbol(int(numbers[i]))})"
    if i == j:
        raise StructureError(
            f"atom {first} and its own periodic image are {distance:.3f} Å apart; "
            "the cell is too small"
        )
    raise StructureError(
        f"atoms {first} and {j} ({chemical_symbol(int(numbers[j]))}) are {distance:.3f} Å apart; "
        "remove the duplicate or mend the structure"
    )


def _check_cell(cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> None:
    periodic = [row for row, wraps in zip(cell.tolist(), pbc, strict=True) if wraps]
    lengths = [sum(x * x for x in row) ** 0.5 for row in periodic]
    if min(lengths) > 0.0:
        if len(periodic) == 1:
            return
        # Scaling the rows first keeps long thin cells apart from flat ones.
        a, b, *rest = (
            [x / length for x in row] for row, length in zip(periodic, lengths, strict=True)
        )
        normal = cross(a, b)
        c = rest[0] if rest else normal
        if abs(sum(n * x for n, x in zip(normal, c, strict=True))) > _FLAT_CELL:
            return
    axes = "".join(axis for axis, wraps in zip("abc", pbc, strict=True) if wraps)
    raise StructureError(
        f"the structure is periodic along {axes} but its cell {cell.tolist()} has no volume there; "
        "set a cell, or pbc=False for a molecule"
    )


def cross(a: list[float], b: list[float]) -> list[float]:
    """Return the vector product of two vectors, as plain floats."""
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def chemical_symbol(number: int) -> str:
    """Return the symbol of an atomic number, or ``element N`` where there is none."""
    from ase.data import chemical_symbols

    if 0 <= number < len(chemical_symbols):
        return str(chemical_symbols[number])
    return f"element {number}"
