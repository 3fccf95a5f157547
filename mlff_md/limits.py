"""How much memory a structure takes in an engine, and how large one may be: known beforehand.

Memory grows with the atoms and with their pairs, in proportions that follow from the sizes of the
network; the factors are fitted to measurements and held to them by ``tests/robustness``. What is
said is meant to be a little too much rather than too little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mlff_md.errors import ConfigError
from mlff_md.memory import available_bytes
from mlff_md.student import Architecture

if TYPE_CHECKING:
    from ase import Atoms

CHECKED_FROM = 1000
"""Atoms; a smaller structure fits wherever the engine itself does."""

_SINGLE, _DOUBLE = 4, 8
_MOST_CUBES = 2**20  # in a direction: their numbers stay within 64 bits

_NATIVE_BYTES_PER_PAIR = 160.0
"""Of the neighbor list and the geometry of a pair, which are all that is kept of one."""

_NUMBERS_PER_EDGE: Mapping[str, float] = {
    "torch": 13.0,
    "torchscript": 10.0,
    "aoti": 10.0,
    "onnx": 12.0,
    "onnx-int8": 12.0,
}
"""Numbers that the graph engines hold for each directed pair and each number of an atom's state."""


def bytes_per_atom(
    architecture: Architecture,
    neighbors: float,
    *,
    engine: str = "native",
    dtype: str = "float32",
    skin_A: float = 1.0,
) -> float:
    """Return the memory of an evaluation for each atom.

    Parameters
    ----------
    architecture
        Sizes of the student.
    neighbors
        Atoms within the cutoff of one, on average.
    engine, dtype, skin_A
        As for :class:`mlff_md.StudentForceFieldCalculator`.
    """
    shape = architecture
    state = shape.hidden_dim + 3 * shape.vector_dim + 5 * shape.quadrupole_dim
    size = _DOUBLE if dtype == "float64" else _SINGLE
    if engine == "native":
        # States and their adjoints in each layer; pairs within the skin are listed once.
        numbers = state * (5 + 4 * shape.num_interactions)
        listed = neighbors / 2 * ((shape.cutoff_A + skin_A) / shape.cutoff_A) ** 3
        return size * numbers + _NATIVE_BYTES_PER_PAIR * listed
    return size * state * _NUMBERS_PER_EDGE[engine] * max(neighbors, 1.0)


def mean_neighbors(atoms: Atoms, radius_A: float) -> float:
    """Return about how many atoms lie within a radius of one, without searching for them.

    Of a crystal or liquid by its density; where a direction is open by how many atoms share a
    cube of that size.
    """
    count = len(atoms)
    sphere = 4.0 / 3.0 * math.pi * radius_A**3
    if all(atoms.pbc) and atoms.cell.volume > 0.0:
        return count / float(atoms.cell.volume) * sphere
    cubes = np.floor((atoms.positions - atoms.positions.min(axis=0)) / radius_A)
    cubes = np.minimum(cubes, _MOST_CUBES).astype(np.int64)
    widths = cubes.max(axis=0) + 1
    numbers = (cubes[:, 0] * widths[1] + cubes[:, 1]) * widths[2] + cubes[:, 2]
    _, shared = np.unique(numbers, return_counts=True)
    together = float((shared.astype(np.float64) ** 2).sum()) / count
    return min(float(count), together * sphere / radius_A**3)


def check_fits(
    atoms: Atoms,
    architecture: Architecture,
    *,
    engine: str,
    dtype: str,
    skin_A: float,
    free_bytes: int | None = None,
) -> None:
    """Refuse a structure that would not fit into memory.

    Parameters
    ----------
    atoms
        The structure.
    architecture, engine, dtype, skin_A
        As for :func:`bytes_per_atom`.
    free_bytes
        What may be taken; what the machine has to give now, unless said. Nothing is refused
        where that is unknown.

    Raises
    ------
    ConfigError
        Saying what it needs, what there is, and how many atoms would fit.
    """
    if len(atoms) < CHECKED_FROM:
        return
    free = available_bytes() if free_bytes is None else free_bytes
    if free is None:
        return
    neighbors = mean_neighbors(atoms, architecture.cutoff_A)
    each = bytes_per_atom(architecture, neighbors, engine=engine, dtype=dtype, skin_A=skin_A)
    if each * len(atoms) <= free:
        return
    less = "" if engine == "native" else "the engine native, "
    raise ConfigError(
        f"{len(atoms):,} atoms need about {_amount(each * len(atoms))} with the engine {engine} "
        f"({_amount(each)} an atom), and {_amount(free)} are free: at most about "
        f"{_rounded(free / each):,} atoms of this density fit; take {less}a smaller structure, or "
        "LAMMPS on several machines"
    )


def _amount(size: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


def _rounded(count: float) -> int:
    """Return a number rounded down to two digits: it is no better known."""
    if count < 10.0:
        return int(count)
    unit = 10 ** (int(math.log10(count)) - 1)
    return int(count // unit) * int(unit)
