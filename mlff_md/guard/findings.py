"""What a guard finds, and the checks that need pairs and elements alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_md.structures import chemical_symbol

FRAGMENT_FACTOR = 1.4
"""Atoms closer than this times the sum of their covalent radii belong together. Thermal bonds stay
below 1.25 at 1000 K; at 1.4 the two electrons of a bond no longer know of each other."""

_NAMED = 4
"""Atoms that a message names."""


@dataclass(frozen=True)
class Finding:
    """Something that was not in training.

    Attributes
    ----------
    kind
        ``distance``, ``environment``, ``energy``, ``electrons`` or ``lost``.
    atoms
        Indices of the atoms that it is about.
    text
        What is wrong, in a few words.
    """

    kind: str
    atoms: tuple[int, ...]
    text: str


def name_atoms(
    atoms: NDArray[np.integer],
    numbers: NDArray[np.integer],
    ids: NDArray[np.integer] | None = None,
) -> str:
    """Return ``atoms 3 (C) and 7 (H)``, or the first few of many, by their ``ids`` if given."""
    called = atoms if ids is None else ids[atoms]
    named = [
        f"{name} ({chemical_symbol(int(numbers[i]))})"
        for i, name in zip(atoms[:_NAMED].tolist(), called[:_NAMED].tolist(), strict=True)
    ]
    if len(named) == 1:
        return f"atom {named[0]}"
    if len(atoms) > _NAMED:
        return f"atoms {', '.join(named)} and {len(atoms) - _NAMED} more"
    return f"atoms {', '.join(named[:-1])} and {named[-1]}"


def too_close_pairs(
    numbers: NDArray[np.integer],
    species: NDArray[np.integer],
    edges: NDArray[np.integer],
    distances: NDArray[np.floating],
    shortest_A: NDArray[np.floating],
    ids: NDArray[np.integer] | None = None,
) -> Finding | None:
    """Find pairs that are closer than any of these elements in training.

    Parameters
    ----------
    numbers, species
        Of each atom, (N,): atomic number, index of the element.
    edges, distances
        (2, E) and (E,), Å, both directions of each pair.
    shortest_A
        (S, S); ``inf`` where a pair never met, which is not judged.
    ids
        What the atoms are called; their indices unless given.
    """
    limit = shortest_A[species[edges[0]], species[edges[1]]]
    near = np.isfinite(limit) & (distances < limit) & (edges[0] < edges[1])
    if not near.any():
        return None
    worst = np.flatnonzero(near)[np.argmin((distances / limit)[near])]
    pair = edges[:, worst]
    return Finding(
        "distance",
        tuple(int(i) for i in np.unique(edges[:, near])),
        f"{name_atoms(pair, numbers, ids)} are {distances[worst]:.3f} Å apart, closer than any "
        f"such pair in training ({limit[worst]:.3f} Å)",
    )


def are_bonded(
    radii_A: NDArray[np.floating], edges: NDArray[np.integer], distances: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Return which edges (2, E), with distances (E,), join atoms that belong together.

    ``radii_A`` are the covalent radii of the atoms, (N,), Å.
    """
    reach = radii_A.take(edges[0])
    reach += radii_A.take(edges[1])
    reach *= FRAGMENT_FACTOR
    bonded: NDArray[np.bool_] = distances < reach
    return bonded


def odd_fragments(
    numbers: NDArray[np.integer],
    bonds: NDArray[np.integer],
    ids: NDArray[np.integer] | None = None,
) -> Finding | None:
    """Find fragments that, if neutral, have an odd number of electrons: radicals and ions.

    Parameters
    ----------
    numbers
        Atomic numbers, (N,).
    bonds
        Atoms that belong together, (2, B), both directions of each pair.
    ids
        What the atoms are called; their indices unless given.
    """
    label = _fragments(len(numbers), bonds)
    electrons = np.bincount(label, weights=numbers, minlength=len(numbers)).astype(np.int64)
    odd = np.flatnonzero(electrons % 2)
    if len(odd) == 0:
        return None
    atoms = np.flatnonzero(np.isin(label, odd))
    if len(odd) == 1 and len(atoms) == len(numbers):
        text = f"the structure would have {electrons[odd[0]]} electrons if it were neutral"
    else:
        smallest = min(odd.tolist(), key=lambda k: int((label == k).sum()))
        mine = np.flatnonzero(label == smallest)
        text = (
            f"the fragment of {name_atoms(mine, numbers, ids)} would have {electrons[smallest]} "
            "electrons if it were neutral"
        )
    text += ", an odd number: a radical or an ion, and none was in training"
    return Finding("electrons", tuple(atoms.tolist()), text)


def _fragments(count: int, bonds: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return for each atom the smallest index of its fragment; bonds hold both directions."""
    label = np.arange(count)
    while True:
        lower = label.copy()
        np.minimum.at(lower, bonds[0], label[bonds[1]])
        lower = lower[lower]  # also jumps along what is known, so that long chains take few rounds
        if np.array_equal(lower, label):
            return label
        label = lower
