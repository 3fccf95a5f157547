"""The native kernel against torch in double precision, and against itself."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from kernel_cases import (
    GENERAL,
    INSTRUCTION_SETS,
    LARGE,
    ONE,
    PRECISIONS,
    SMALL,
    STRUCTURES,
    THREADS,
    TINY,
    ULTRA_TINY,
    arrays,
    assert_close,
    assert_same,
    big_box,
    evaluate,
    kernel_of,
    named_reference,
    reference,
    reference_of,
    structure,
    student_of,
)

from mlff_md import native
from mlff_md.engines import Evaluation, assemble
from mlff_md.errors import StructureError
from mlff_md.graph import Graph, build_graph, species_index
from mlff_md.native import NativeKernel
from mlff_md.student import Architecture

pytestmark = pytest.mark.skipif(
    not native.available(), reason=native.why_unavailable() or "the native engine is there"
)


@pytest.mark.parametrize("name", STRUCTURES)
@THREADS
@PRECISIONS
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_structures(instruction_set: str, single: bool, threads: int, name: str) -> None:
    kernel = kernel_of(GENERAL, instruction_set, single, threads)
    assert kernel.instruction_set == instruction_set
    atoms = structure(name)
    expected = named_reference(GENERAL, name)
    assert_close(kernel.compute(*arrays(atoms)), expected, single)
    graph = build_graph(atoms, GENERAL.elements, GENERAL.cutoff_A)
    (found,) = assemble(graph, Evaluation(*evaluate(kernel, graph)))
    assert_close((found.energies, found.forces, found.virial), expected, single)


def test_the_structures_are_what_they_are_for() -> None:
    graph = build_graph(structure("box"), GENERAL.elements, GENERAL.cutoff_A)
    first, second = graph.edges
    assert (first == second).any()
    assert len(np.unique(first * graph.n_atoms + second)) < graph.n_edges
    assert np.abs(named_reference(GENERAL, "box").forces).max() > 0.5
    assert not named_reference(GENERAL, "out of reach").forces.any()
    assert np.abs(named_reference(GENERAL, "inside the prior").forces).max() > 50.0
    counts = [
        build_graph(structure(name), GENERAL.elements, GENERAL.cutoff_A).n_edges
        for name in ("wire", "slab", "box", "unwrapped")
    ]
    assert counts[0] < counts[1] < counts[2] == counts[3]


@THREADS
@PRECISIONS
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_atoms_at_the_same_place(instruction_set: str, single: bool, threads: int) -> None:
    kernel = kernel_of(GENERAL, instruction_set, single, threads)
    atoms = structure("molecule")
    atoms.positions[-1] = atoms.positions[0]
    with pytest.raises(StructureError, match="two atoms are at the same place"):
        kernel.compute(*arrays(atoms))
    atoms = structure("box")
    atoms.positions[-1] = atoms.positions[0] + atoms.cell.array[1] - atoms.cell.array[0]
    with pytest.raises(StructureError, match="two atoms are at the same place"):
        kernel.compute(*arrays(atoms))


@pytest.mark.parametrize("name", ["molecule", "box"])
@PRECISIONS
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize(
    "shape",
    [ONE, ULTRA_TINY, TINY, Architecture(48, 2, 9, vector_dim=33, quadrupole_dim=1, mlp_dim=70)],
    ids=["one", "ultra-tiny", "tiny", "odd"],
)
def test_sizes(shape: Architecture, instruction_set: str, single: bool, name: str) -> None:
    kernel = kernel_of(shape, instruction_set, single, 1)
    expected = named_reference(shape, name)
    assert_close(kernel.compute(*arrays(structure(name))), expected, single)


@PRECISIONS
def test_the_largest_size(single: bool) -> None:
    assert (LARGE.vector_dim, LARGE.quadrupole_dim) == (64, 32)  # has a kernel of its own
    kernel = kernel_of(LARGE, INSTRUCTION_SETS[0], single, 2)
    assert_close(kernel.compute(*arrays(structure("box"))), named_reference(LARGE, "box"), single)


@pytest.mark.parametrize(("single", "threads"), [(True, 1), (True, 2), (False, 1), (False, 2)])
def test_more_atoms_than_are_kept_in_order(single: bool, threads: int) -> None:
    atoms = big_box()
    assert 2048 < len(atoms) < 2300
    atoms.positions[::7] += atoms.cell.array[0] - 2 * atoms.cell.array[2]
    kernel = NativeKernel(student_of(SMALL), single_precision=single, threads=threads)
    expected = reference(SMALL, atoms)
    first = kernel.compute(*arrays(atoms))
    assert_close(first, expected, single)
    assert_same(kernel.compute(*arrays(atoms)), first)
    fresh = NativeKernel(student_of(SMALL), single_precision=single, threads=threads)
    assert_same(fresh.compute(*arrays(atoms)), first)
    # A list that is not fresh: the order in memory is then that of earlier positions.
    atoms.rattle(0.08, seed=6)
    result = kernel.compute(*arrays(atoms))
    assert kernel.list_builds == 1
    assert_close(result, reference(SMALL, atoms), single)


@pytest.mark.parametrize("name", ["molecule", "box", "inside the prior"])
@THREADS
@PRECISIONS
def test_only_local_atoms_count(single: bool, threads: int, name: str) -> None:
    kernel = kernel_of(GENERAL, INSTRUCTION_SETS[0], single, threads)
    whole = build_graph(structure(name), GENERAL.elements, GENERAL.cutoff_A)
    local = np.arange(whole.n_atoms) % 3 != 1
    graph = Graph.single(whole.species, whole.edges, whole.vectors, local=local)
    (expected,) = reference_of(GENERAL, graph)
    assert np.abs(expected.forces[~local]).max() > 0.01
    energies, gradients = evaluate(kernel, graph)
    assert not energies[~local].any()
    (found,) = assemble(graph, Evaluation(energies, gradients))
    assert_close((found.energies, found.forces, found.virial), expected, single)
    # The mask is forgotten.
    expected = named_reference(GENERAL, name)
    assert_close(kernel.compute(*arrays(structure(name))), expected, single)


@THREADS
def test_a_batch_as_one_graph(threads: int) -> None:
    kernel = kernel_of(GENERAL, INSTRUCTION_SETS[0], False, threads)
    names = ("molecule", "atom", "box", "inside the prior", "out of reach")
    graphs = [build_graph(structure(name), GENERAL.elements, 5.0) for name in names]
    batch = Graph.batch(graphs)
    for name, found in zip(
        names, assemble(batch, Evaluation(*evaluate(kernel, batch))), strict=True
    ):
        expected = named_reference(GENERAL, name)
        assert_close((found.energies, found.forces, found.virial), expected, False)


def test_a_graph_without_edges_or_atoms() -> None:
    kernel = kernel_of(GENERAL, INSTRUCTION_SETS[0], True, 2)
    none = np.empty((2, 0), dtype=np.int32)
    nitrogen = species_index(np.array([7]), GENERAL.elements)
    energies, gradients = kernel.evaluate(nitrogen, none, np.empty((0, 3)), np.array([True]))
    assert energies == pytest.approx(named_reference(GENERAL, "atom").energies, abs=1e-5)
    assert gradients.shape == (0, 3)
    energies, _ = kernel.evaluate(
        np.zeros(0, np.int32), none, np.empty((0, 3)), np.zeros(0, dtype=bool)
    )
    assert energies.shape == (0,)


@pytest.mark.parametrize("name", ["molecule", "box"])
@THREADS
@PRECISIONS
def test_repeatable_to_the_bit(single: bool, threads: int, name: str) -> None:
    given = arrays(structure(name))
    kernel = NativeKernel(student_of(GENERAL), single_precision=single, threads=threads)
    first = kernel.compute(*given)
    for _ in range(5):
        assert_same(kernel.compute(*given), first)
    fresh = NativeKernel(student_of(GENERAL), single_precision=single, threads=threads)
    assert_same(fresh.compute(*given), first)
    graph = build_graph(structure(name), GENERAL.elements, GENERAL.cutoff_A)
    first = evaluate(kernel, graph)
    assert_same(evaluate(kernel, graph), first)
    assert_same(evaluate(fresh, graph), first)


@pytest.mark.parametrize("name", ["molecule", "box", "slab"])
@THREADS
def test_history_leaves_no_trace(threads: int, name: str) -> None:
    student = student_of(SMALL)
    keeping = NativeKernel(student, threads=threads, skin_A=1.0)
    building = NativeKernel(student, threads=threads, skin_A=0.0)
    atoms = structure(name)
    rng = np.random.default_rng(8)
    steps = 40
    for step in range(steps):
        atoms.positions += rng.normal(scale=0.04, size=atoms.positions.shape)
        if atoms.pbc.any() and step % 3 == 1:
            strain = np.eye(3) + rng.normal(scale=0.004, size=(3, 3))
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        if atoms.pbc.any() and step == 15:
            atoms.wrap()
        if step == 25:
            atoms.positions += [300.0, -20.0, 1e4]
        result = keeping.compute(*arrays(atoms))
        assert_same(result, building.compute(*arrays(atoms)))
        if step % 10 == 9:
            fresh = NativeKernel(student, threads=threads, skin_A=1.0)
            assert_same(result, fresh.compute(*arrays(atoms)))
    assert building.list_builds == steps
    assert 1 < keeping.list_builds < steps // 2
    assert_close(result, reference(SMALL, atoms), single=True)


def test_the_list_is_kept_while_atoms_move_little() -> None:
    kernel = NativeKernel(student_of(SMALL), single_precision=False, skin_A=1.0)
    atoms = structure("box")
    assert kernel.list_builds == 0
    kernel.compute(*arrays(atoms))
    start = atoms.positions.copy()
    rng = np.random.default_rng(9)
    for _ in range(10):
        direction = rng.normal(size=start.shape)
        atoms.positions = start + 0.49 * direction / np.linalg.norm(direction, axis=1)[:, None]
        kernel.compute(*arrays(atoms))
    assert kernel.list_builds == 1
    atoms.positions = start
    atoms.positions[3, 0] += 0.99  # alone it may use the whole skin
    kernel.compute(*arrays(atoms))
    assert kernel.list_builds == 1
    atoms.positions += 3.0  # a translation of all changes no pair
    kernel.compute(*arrays(atoms))
    assert kernel.list_builds == 1
    atoms.positions[4, 1] -= 0.2
    kernel.compute(*arrays(atoms))
    assert kernel.list_builds == 2
    kernel.reset()
    kernel.compute(*arrays(atoms))
    assert kernel.list_builds == 3


@THREADS
def test_right_after_sudden_changes(threads: int) -> None:
    kernel = NativeKernel(student_of(SMALL), single_precision=False, threads=threads)
    builds = 0

    def check(atoms: Atoms, new_list: bool = True) -> None:
        nonlocal builds
        assert_close(kernel.compute(*arrays(atoms)), reference(SMALL, atoms), single=False)
        builds += new_list
        assert kernel.list_builds == builds

    atoms = structure("box")
    check(atoms)
    # Partners change places: only the species do, and the pairs stay.
    atoms.numbers = np.roll(atoms.numbers, 5)
    check(atoms, new_list=False)
    rng = np.random.default_rng(10)
    atoms.positions = atoms.positions[rng.permutation(len(atoms))]
    check(atoms)
    del atoms[7]
    check(atoms)
    atoms += Atoms("H", [[50.0, 50.0, 50.0]])
    check(atoms)
    for pbc in ([True, True, False], [False, True, False], [False] * 3, [True] * 3):
        atoms.pbc = pbc
        check(atoms)
    atoms.set_cell(atoms.cell.array * 1.3, scale_atoms=True)
    check(atoms, new_list=False)
    atoms.set_cell(atoms.cell.array / 1.8, scale_atoms=True)
    check(atoms)
    check(structure("atom"))
    check(structure("box"))


def test_pairs_inside_the_cutoff_are_counted_once() -> None:
    kernel = kernel_of(SMALL, INSTRUCTION_SETS[0], True, 1)
    atoms = structure("molecule")
    kernel.compute(*arrays(atoms))
    graph = build_graph(atoms, SMALL.elements, SMALL.cutoff_A)
    assert kernel.num_pairs == graph.n_edges // 2
