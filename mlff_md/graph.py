"""Graphs: what every engine evaluates.

An engine maps a :class:`Graph` to atomic energies and to their derivatives with respect to the
edge vectors; forces and virial follow from those in :mod:`mlff_md.engines`. The graph knows
nothing of cells or images: a periodic structure is the same list of edges, only longer.

Everything here is eV, Å and numpy; nothing else is imported until a structure is turned into a
graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import StructureError
from mlff_md.structures import (
    MIN_DISTANCE_A,
    check_distances,
    check_geometry,
    chemical_symbol,
    cross,
)

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_md.neighbors import NeighborList


@dataclass(frozen=True, eq=False)
class Graph:
    """One structure, or a batch of structures as one graph of disjoint parts.

    Attributes
    ----------
    species
        ``int32 [N]``, index of each atom's element in the student's element list.
    edges
        ``int32 [2, E]``, row 0 the center i, row 1 the neighbor j; every pair appears in both
        directions (full list) and the edges are sorted by center.
    vectors
        ``float64 [E, 3]``, r_j - r_i + image shift, Å.
    local
        ``bool [N]``, atoms whose energy counts; LAMMPS ghost atoms are ``False``.
    structure
        ``int32 [N]``, which structure of the batch an atom belongs to, ascending.
    n_structures
        Number of structures in the batch.
    volumes
        ``float64 [n_structures]``, Å^3; ``nan`` where a structure is not periodic in all three
        directions.
    """

    species: NDArray[np.int32]
    edges: NDArray[np.int32]
    vectors: NDArray[np.float64]
    local: NDArray[np.bool_]
    structure: NDArray[np.int32]
    n_structures: int
    volumes: NDArray[np.float64]

    @property
    def n_atoms(self) -> int:
        """Number of atoms, ghosts included."""
        return len(self.species)

    @property
    def n_edges(self) -> int:
        """Number of directed edges."""
        return self.edges.shape[1]

    @classmethod
    def single(
        cls,
        species: NDArray[np.int32],
        edges: NDArray[np.int32],
        vectors: NDArray[np.float64],
        volume_A3: float = float("nan"),
        local: NDArray[np.bool_] | None = None,
    ) -> Graph:
        """Return the graph of one structure; all atoms are local unless ``local`` says not.

        Parameters
        ----------
        species, edges, vectors, local
            As in the class.
        volume_A3
            Volume of the cell, Å^3, ``nan`` where there is none.
        """
        n_atoms = len(species)
        return cls(
            species=species,
            edges=edges,
            vectors=vectors,
            local=np.ones(n_atoms, dtype=bool) if local is None else local,
            structure=np.zeros(n_atoms, dtype=np.int32),
            n_structures=1,
            volumes=np.array([volume_A3]),
        )

    @staticmethod
    def batch(graphs: Sequence[Graph]) -> Graph:
        """Return the disjoint union of the graphs, atoms and edges in the order given.

        Raises
        ------
        StructureError
            If there is no graph at all.
        """
        if not graphs:
            raise StructureError("a batch needs at least one structure")
        if len(graphs) == 1:
            return graphs[0]
        first_atom = _offsets([graph.n_atoms for graph in graphs])
        first_structure = _offsets([graph.n_structures for graph in graphs])
        return Graph(
            species=np.concatenate([graph.species for graph in graphs]),
            edges=np.concatenate(
                [graph.edges + n for graph, n in zip(graphs, first_atom, strict=True)], axis=1
            ),
            vectors=np.concatenate([graph.vectors for graph in graphs]),
            local=np.concatenate([graph.local for graph in graphs]),
            structure=np.concatenate(
                [graph.structure + n for graph, n in zip(graphs, first_structure, strict=True)]
            ),
            n_structures=sum(graph.n_structures for graph in graphs),
            volumes=np.concatenate([graph.volumes for graph in graphs]),
        )


def in_batches(graphs: Iterable[Graph], max_edges: int) -> Iterator[Graph]:
    """Yield the graphs joined in their order into batches of bounded size.

    Parameters
    ----------
    graphs
        Any number of them; each is asked for only when its batch is due.
    max_edges
        Directed edges of a batch; a graph that has more is a batch of its own.
    """
    waiting: list[Graph] = []
    edges = 0
    for graph in graphs:
        if waiting and edges + graph.n_edges > max_edges:
            yield Graph.batch(waiting)
            waiting, edges = [], 0
        waiting.append(graph)
        edges += graph.n_edges
    if waiting:
        yield Graph.batch(waiting)


def species_index(numbers: NDArray[np.integer], elements: Sequence[str]) -> NDArray[np.int32]:
    """Return the index of each atom's element in the student's element list.

    Parameters
    ----------
    numbers
        Atomic numbers, ``[N]``.
    elements
        Chemical symbols in the student's order.

    Returns
    -------
    ndarray
        ``int32 [N]``.

    Raises
    ------
    StructureError
        If the student does not know an element; the message names it and what the student knows.
    """
    # Out of range in either direction ends on X or the last element, which no student knows.
    species = _element_lookup(tuple(elements)).take(numbers, mode="clip")
    if len(species) and species.min() < 0:
        unknown = [chemical_symbol(int(number)) for number in np.unique(numbers[species < 0])]
        raise StructureError(
            f"the student does not know {', '.join(unknown)}; it knows {' '.join(elements)}"
        )
    return species


def build_graph(
    atoms: Atoms,
    elements: Sequence[str],
    cutoff_A: float,
    neighbor_list: NeighborList | None = None,
) -> Graph:
    """Return the graph of a structure, after checking that it can be evaluated at all.

    Parameters
    ----------
    atoms
        The structure.
    elements
        Chemical symbols in the student's order.
    cutoff_A
        Edges join atoms closer than this, Å.
    neighbor_list
        A list to reuse from step to step (its cutoff must be ``cutoff_A``); without one a list
        is built for this call.

    Raises
    ------
    StructureError
        If the structure is empty, not finite, has a flat cell, overlapping atoms or unknown
        elements.
    """
    from mlff_md.neighbors import NeighborList

    if neighbor_list is None:
        neighbor_list = NeighborList(cutoff_A, skin_A=0.0)
    elif neighbor_list.cutoff_A != cutoff_A:
        raise ValueError(
            f"the neighbor list has a cutoff of {neighbor_list.cutoff_A} Å, the graph {cutoff_A} Å"
        )
    positions, cell, pbc = atoms.positions, atoms.cell.array, atoms.pbc
    check_geometry(positions, cell, pbc)
    species = species_index(atoms.numbers, elements)
    edges, vectors = neighbor_list.update(positions, cell, pbc)
    if neighbor_list.shortest_A < MIN_DISTANCE_A:
        check_distances(atoms.numbers, edges, vectors)
    return Graph.single(species, edges, vectors, cell_volume(cell, pbc))


def cell_volume(cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> float:
    """Return the volume of a cell, Å^3; ``nan`` unless it is periodic in all three directions."""
    if not all(pbc):
        return float("nan")
    return abs(_determinant(cell))


def _determinant(cell: NDArray[np.float64]) -> float:
    # Plain floats: ten times cheaper than numpy.linalg.det for a 3 x 3 matrix.
    a, b, c = cell.tolist()
    return float(sum(n * x for n, x in zip(cross(a, b), c, strict=True)))


def _offsets(counts: list[int]) -> list[np.int32]:
    return [np.int32(total) for total in np.cumsum([0, *counts[:-1]])]


@lru_cache(maxsize=32)
def _element_lookup(elements: tuple[str, ...]) -> NDArray[np.int32]:
    from ase.data import atomic_numbers

    lookup = np.full(len(atomic_numbers), -1, dtype=np.int32)
    for index, symbol in enumerate(elements):
        if symbol not in atomic_numbers:
            raise StructureError(f"{symbol!r} in the list of elements is not a chemical symbol")
        lookup[atomic_numbers[symbol]] = index
    return lookup
