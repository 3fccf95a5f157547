"""Bonds, angles and dihedrals of a structure, and which of them are alike.

Bonds are those of molecules, free or in a periodic cell, by covalent radii. Networks without end
(crystals) and contacts between metal atoms are none: nothing there breaks when it is stretched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlff_md.protocols.bonds import BOND_FACTOR

if TYPE_CHECKING:
    from ase import Atoms

# Refining more often than the longest path of a molecule changes nothing; eight is far enough
# to tell apart what differs by more than a shade.
_REFINEMENTS = 8
_NONMETALS = frozenset(
    [1, 2, *range(5, 11), *range(14, 19), *range(32, 37), *range(51, 55), 85, 86]
)
# A torsion about a bond whose angle is nearly straight has no meaning.
_LARGEST_ANGLE_DEG = 165.0

Terms = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Topology:
    """Internal coordinates of the molecules in a structure.

    Attributes
    ----------
    bonds, angles, dihedrals
        (n, 2), (n, 3), (n, 4) indices; of an angle the middle atom is the vertex.
    offsets_A
        (N, 3) to add to positions that are continuous in time, so that no molecule is cut by
        the cell.
    kinds
        (N,) class of each atom: atoms of one class have the same surroundings in the bond graph.
    """

    bonds: Terms
    angles: Terms
    dihedrals: Terms
    offsets_A: NDArray[np.float64]
    kinds: NDArray[np.intp]

    def groups(self, terms: Terms) -> list[Terms]:
        """Return the terms sorted into groups of alike ones, each (n, order).

        Dihedrals are alike if they turn about alike bonds, whatever atoms they begin and end
        with: a methyl group that jumps by a third of a turn changes nothing.
        """
        found: dict[Hashable, list[NDArray[np.intp]]] = defaultdict(list)
        for term in terms:
            core = term[1:3] if len(term) == 4 else term
            kinds = tuple(int(kind) for kind in self.kinds[core])
            found[min(kinds, kinds[::-1])].append(term)
        return [np.array(group) for group in found.values()]

    def name(self, group: Terms, numbers: NDArray[np.integer]) -> str:
        """Return a name for a group: ``C3–O8``, ``C3–H9 and 2 alike``."""
        from ase.data import chemical_symbols

        core = group[0][1:3] if group.shape[1] == 4 else group[0]
        name = "–".join(f"{chemical_symbols[numbers[atom]]}{atom}" for atom in core)
        return f"{name} and {len(group) - 1} alike" if len(group) > 1 else name


def find_topology(atoms: Atoms) -> Topology:
    """Return bonds, angles and dihedrals of the molecules in a reference structure."""
    neighbors = _bond_graph(atoms)
    images = _whole_molecules(neighbors)
    for atom, image in images.items():
        if image is None:
            neighbors[atom] = []
    bonds = sorted({(min(i, j), max(i, j)) for i in neighbors for j, _ in neighbors[i]})
    near = {atom: sorted({other for other, _ in around}) for atom, around in neighbors.items()}
    angles = [
        (i, vertex, k) for vertex in near for i in near[vertex] for k in near[vertex] if i < k
    ]
    offsets = np.array([images[k] or (0, 0, 0) for k in range(len(atoms))]) @ atoms.cell.array
    whole = atoms.positions + offsets
    dihedrals = [
        (i, j, k, l)
        for j, k in bonds
        for i in near[j]
        for l in near[k]  # noqa: E741 - the customary letter
        if i != k and l not in (j, i) and _bent(whole, (i, j, k)) and _bent(whole, (j, k, l))
    ]
    return Topology(
        bonds=_terms(bonds, 2),
        angles=_terms(angles, 3),
        dihedrals=_terms(dihedrals, 4),
        offsets_A=offsets,
        kinds=_kinds(atoms.numbers, near),
    )


def _bond_graph(atoms: Atoms) -> dict[int, list[tuple[int, tuple[int, int, int]]]]:
    """Return for each atom its bonded neighbors and the images of the cell that they are in."""
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    neighbors: dict[int, list[tuple[int, tuple[int, int, int]]]] = {
        k: [] for k in range(len(atoms))
    }
    reach = BOND_FACTOR * covalent_radii[atoms.numbers]
    for i, j, shift in zip(*neighbor_list("ijS", atoms, reach), strict=True):
        if atoms.numbers[i] in _NONMETALS or atoms.numbers[j] in _NONMETALS:
            x, y, z = (int(part) for part in shift)
            neighbors[int(i)].append((int(j), (x, y, z)))
    return neighbors


def _whole_molecules(
    neighbors: dict[int, list[tuple[int, tuple[int, int, int]]]],
) -> dict[int, tuple[int, int, int] | None]:
    """Return the image of the cell that makes each atom's molecule whole.

    ``None`` for the atoms of a network that goes on into its own image.
    """
    images: dict[int, tuple[int, int, int] | None] = {}
    for first in neighbors:
        if first in images:
            continue
        members: dict[int, tuple[int, int, int]] = {first: (0, 0, 0)}
        waiting, endless = [first], False
        while waiting:
            atom = waiting.pop()
            x, y, z = members[atom]
            for other, (dx, dy, dz) in neighbors[atom]:
                place = (x + dx, y + dy, z + dz)
                if other not in members:
                    members[other] = place
                    waiting.append(other)
                elif members[other] != place:
                    endless = True
        images |= {atom: None if endless else place for atom, place in members.items()}
    return images


def _kinds(numbers: NDArray[np.integer], near: dict[int, list[int]]) -> NDArray[np.intp]:
    """Return classes of atoms: elements, refined by their neighbors' (Weisfeiler-Lehman)."""
    kinds = _ranks([int(number) for number in numbers])
    for _ in range(_REFINEMENTS):
        refined = _ranks(
            [
                (kinds[k], tuple(sorted(kinds[other] for other in near[k])))
                for k in range(len(kinds))
            ]
        )
        if max(refined, default=0) == max(kinds, default=0):
            break
        kinds = refined
    return np.array(kinds, dtype=np.intp)


def _ranks(values: Sequence[Hashable]) -> list[int]:
    order = {value: rank for rank, value in enumerate(sorted(set(values)))}  # type: ignore[type-var]
    return [order[value] for value in values]


def _bent(positions: NDArray[np.float64], angle: tuple[int, int, int]) -> bool:
    first, vertex, last = positions[list(angle)]
    a, b = first - vertex, last - vertex
    cosine = a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
    return bool(cosine > np.cos(np.radians(_LARGEST_ANGLE_DEG)))


def _terms(found: Iterable[tuple[int, ...]], order: int) -> Terms:
    return np.array(list(found), dtype=np.intp).reshape(-1, order)
