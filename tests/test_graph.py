"""Graphs: species, edges, batches, and what a bad structure is told."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list

from mlff_md.errors import StructureError
from mlff_md.graph import Graph, build_graph, cell_volume, in_batches, species_index
from mlff_md.neighbors import NeighborList

ELEMENTS = ("H", "C", "N", "O")


def test_graph_of_a_molecule():
    atoms = molecule("CH3CH2OH")
    graph = build_graph(atoms, ELEMENTS, 2.0)
    i, j, vectors = neighbor_list("ijD", atoms, 2.0)
    order = np.lexsort((j, i))
    np.testing.assert_array_equal(graph.edges, np.array([i, j])[:, order])
    np.testing.assert_allclose(graph.vectors, vectors[order], atol=1e-12)
    assert [ELEMENTS[k] for k in graph.species] == list(atoms.symbols)
    assert graph.local.all()
    assert graph.n_structures == 1
    assert np.isnan(graph.volumes).all()
    assert (graph.n_atoms, graph.n_edges) == (9, len(i))
    for array, dtype in [
        (graph.species, np.int32),
        (graph.edges, np.int32),
        (graph.structure, np.int32),
        (graph.local, np.bool_),
        (graph.vectors, np.float64),
        (graph.volumes, np.float64),
    ]:
        assert array.dtype == dtype


def test_volume_only_where_fully_periodic():
    atoms = bulk("C", cubic=True)
    assert build_graph(atoms, ELEMENTS, 2.0).volumes == pytest.approx([atoms.get_volume()])
    atoms.pbc = [True, True, False]
    assert np.isnan(build_graph(atoms, ELEMENTS, 2.0).volumes).all()
    left_handed = atoms.cell.array[[1, 0, 2]]
    assert cell_volume(left_handed, np.ones(3, dtype=bool)) == pytest.approx(atoms.get_volume())


def test_batch_is_a_disjoint_union():
    structures = [molecule("H2O"), bulk("C"), molecule("H"), molecule("CH4")]
    graphs = [build_graph(atoms, ELEMENTS, 3.0) for atoms in structures]
    batch = Graph.batch(graphs)
    assert batch.n_structures == 4
    assert batch.edges.dtype == batch.structure.dtype == np.int32
    assert (np.diff(batch.edges[0]) >= 0).all()
    first_atom = 0
    for number, graph in enumerate(graphs):
        atoms = np.flatnonzero(batch.structure == number)
        np.testing.assert_array_equal(atoms, first_atom + np.arange(graph.n_atoms))
        edges = batch.structure[batch.edges[0]] == number
        np.testing.assert_array_equal(batch.edges[:, edges] - first_atom, graph.edges)
        np.testing.assert_array_equal(batch.vectors[edges], graph.vectors)
        np.testing.assert_array_equal(batch.species[atoms], graph.species)
        first_atom += graph.n_atoms
    np.testing.assert_array_equal(batch.volumes, np.concatenate([g.volumes for g in graphs]))
    nested = Graph.batch([Graph.batch(graphs[:2]), Graph.batch(graphs[2:])])
    np.testing.assert_array_equal(nested.structure, batch.structure)
    np.testing.assert_array_equal(nested.edges, batch.edges)
    assert nested.n_structures == 4


def test_batch_of_nothing():
    with pytest.raises(StructureError, match="at least one"):
        Graph.batch([])


def test_species_follow_the_students_order():
    assert species_index(np.array([8, 1, 1, 6]), ("O", "C", "H")).tolist() == [0, 2, 2, 1]


def test_unknown_elements_are_named():
    with pytest.raises(StructureError, match=r"does not know Na, Cl; it knows H C N O"):
        species_index(np.array([1, 17, 11, 17]), ELEMENTS)
    with pytest.raises(StructureError, match=r"does not know X, element 250"):
        species_index(np.array([0, 250]), ELEMENTS)
    with pytest.raises(StructureError, match=r"'Q' .* not a chemical symbol"):
        species_index(np.array([1]), ("H", "Q"))


def test_a_given_neighbor_list_is_used_and_must_fit():
    atoms = molecule("CH4")
    kept = NeighborList(3.0)
    for _ in range(3):
        atoms.rattle(0.01, seed=1)
        graph = build_graph(atoms, ELEMENTS, 3.0, kept)
        fresh = build_graph(atoms, ELEMENTS, 3.0)
        assert graph.vectors.tobytes() == fresh.vectors.tobytes()
    assert kept.n_builds == 1
    with pytest.raises(ValueError, match="cutoff"):
        build_graph(atoms, ELEMENTS, 4.0, kept)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "no atoms"),
        (Atoms("CH", [[0, 0, 0], [0, 0, np.nan]]), "atom 1 is not finite"),
        (Atoms("CH", [[0, 0, 0], [0, np.inf, 0]]), "atom 1 is not finite"),
        (Atoms("CH", [[0, 0, 0], [0, 0, 0]]), r"atoms 0 \(C\) and 1 \(H\) are 0.000 Å apart"),
        (Atoms("C", cell=[5, 5, np.nan], pbc=True), "cell is not finite"),
        (Atoms("C", cell=[5, 5, 0], pbc=True), "periodic along abc .* no volume"),
        (Atoms("C", cell=[[5, 0, 0], [5, 0, 0], [0, 0, 5]], pbc=[1, 1, 0]), "along ab .* no vol"),
        (Atoms("C", cell=[[5, 0, 0], [0, 5, 0], [5, 5, 0]], pbc=True), "no volume"),
        (Atoms("C", cell=[5, 5, 0.01], pbc=True), "no volume"),
        (Atoms("C", cell=[[5, 0, 0], [5, 0.01, 0], [0, 0, 5]], pbc=True), "no volume"),
        (Atoms("C", cell=[[5, 0, 0], [5, 0.01, 0], [0, 0, 5]], pbc=[1, 1, 0]), "no volume"),
        (Atoms("C", cell=[0, 5, 5], pbc=[1, 0, 0]), "along a .* no volume"),
        (Atoms("NaCl", [[0, 0, 0], [0, 0, 2]]), "Na, Cl"),
    ],
)
def test_unusable_structures_get_one_clear_line(atoms, message):
    with pytest.raises(StructureError, match=message) as caught:
        build_graph(atoms, ELEMENTS, 0.5)
    assert "\n" not in str(caught.value)


def test_open_directions_need_no_cell():
    slab = Atoms("C", cell=[2.5, 2.5, 0], pbc=[True, True, False])
    assert build_graph(slab, ELEMENTS, 2.6).n_edges == 4
    wire = Atoms("C", cell=[[0, 0, 0], [1, 2, 2], [0, 0, 0]], pbc=[False, True, False])
    assert build_graph(wire, ELEMENTS, 3.1).n_edges == 2


def test_batches_are_bounded_and_in_order():
    single = [build_graph(molecule(name), ELEMENTS, 5.0) for name in ("H2O", "CH4", "H2", "NH3")]
    assert [graph.n_edges for graph in single] == [6, 20, 2, 12]
    batches = list(in_batches(iter(single), max_edges=14))
    # Methane alone has more; hydrogen and ammonia just fit.
    assert [batch.n_edges for batch in batches] == [6, 20, 14]
    assert [batch.n_structures for batch in batches] == [1, 1, 2]
    joined = np.concatenate([batch.vectors for batch in batches])
    np.testing.assert_array_equal(joined, np.concatenate([graph.vectors for graph in single]))
    assert list(in_batches([], max_edges=14)) == []
