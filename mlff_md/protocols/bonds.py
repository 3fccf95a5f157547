"""Bonds of a molecule, and whether a trajectory breaks them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms

BOND_FACTOR = 1.25
"""Two atoms closer than this times the sum of their covalent radii are bonded."""

BROKEN_BY_A = 0.5
"""A bond this much longer than in the reference is broken: Fu et al., arXiv 2210.07237."""


@dataclass(frozen=True, eq=False)
class Bonds:
    """Bonded pairs and their lengths in a reference structure.

    Attributes
    ----------
    pairs
        (B, 2) indices.
    lengths_A
        (B,) lengths in the reference.
    """

    pairs: NDArray[np.int64]
    lengths_A: NDArray[np.float64]


def find_bonds(atoms: Atoms) -> Bonds:
    """Return the bonds of a structure without periodicity, by covalent radii."""
    from ase.data import covalent_radii

    radii = covalent_radii[atoms.numbers]
    distances = np.linalg.norm(atoms.positions[:, None] - atoms.positions[None], axis=-1)
    close = distances < BOND_FACTOR * (radii[:, None] + radii[None])
    first, second = np.nonzero(np.triu(close, 1))
    return Bonds(np.stack([first, second], axis=1), distances[first, second])


def stretches(bonds: Bonds, frames: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return by how much each bond is longer than its reference, Å, shape (frames, B).

    Parameters
    ----------
    bonds
        From :func:`find_bonds`.
    frames
        Positions, (N, 3) each, Å.
    """
    first, second = bonds.pairs.T
    return np.array(
        [
            np.linalg.norm(positions[first] - positions[second], axis=1) - bonds.lengths_A
            for positions in frames
        ]
    ).reshape(-1, len(bonds.pairs))
