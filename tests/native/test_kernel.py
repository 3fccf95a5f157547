"""The native kernel against torch in double precision, and against itself."""

from __future__ import annotations

import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from mlff_md import native
from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.engines import Evaluation, Properties, assemble, make_engine
from mlff_md.errors import ConfigError, StructureError
from mlff_md.graph import Graph, build_graph, species_index
from mlff_md.native import NativeKernel
from mlff_md.student import Architecture, Manifest, Student, save_student
from mlff_md.student.prior import prior_radii

pytestmark = pytest.mark.skipif(
    not native.available(), reason=native.why_unavailable() or "the native engine is there"
)

INSTRUCTION_SETS = native.instruction_sets() if native.available() else ()
PRECISIONS = pytest.mark.parametrize("single", [True, False], ids=["single", "double"])
THREADS = pytest.mark.parametrize("threads", [1, 2])

GENERAL = Architecture(24, 3, 8, vector_dim=10, quadrupole_dim=5, mlp_dim=20)
ONE = Architecture(1, 1, 6)
SMALL = Architecture(8, 1, 6)
ULTRA_TINY = Architecture(32, 2, 10, quadrupole_dim=16)
TINY = Architecture(64, 2, 12)
LARGE = Architecture(128, 3, 20)


@cache
def student_of(shape: Architecture) -> Student:
    """An untrained student; unlike fresh torch layers it has biases, so that they are tested."""
    rng = np.random.default_rng(shape.num_parameters)
    weights = {}
    for name, size in shape.weight_shapes().items():
        spread = 0.2 if len(size) == 1 else 1.0 if "embedding" in name else (2 / sum(size)) ** 0.5
        weights[name] = (spread * rng.normal(size=size)).astype(np.float32)
    shifts = tuple(-10.0 * (k + 1) for k in range(len(shape.elements)))
    manifest = Manifest("untrained", shape, 1.3, shifts, prior_radii(shape.elements))
    return Student(manifest, weights, "")


@cache
def kernel_of(shape: Architecture, instruction_set: str, single: bool, threads: int):
    """One kernel for many tests: nothing of one structure may reach the next."""
    return NativeKernel(
        student_of(shape),
        single_precision=single,
        threads=threads,
        instruction_set=instruction_set,
    )


def box() -> Atoms:
    """A triclinic cell with one vector shorter than the cutoff, so that atoms see themselves."""
    atoms = bulk("C", "diamond", a=3.7, cubic=True) * (1, 2, 2)
    atoms.numbers[::3] = 8
    atoms.numbers[1::4] = 1
    strain = np.array([[1.0, 0.12, 0.0], [0.0, 1.0, -0.2], [0.05, 0.0, 1.0]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.rattle(0.15, seed=3)
    return atoms


def big_box() -> Atoms:
    """More atoms than the kernel keeps in the caller's order."""
    atoms = bulk("C", "sc", a=2.4) * (13, 13, 13)
    atoms.numbers[::2] = 1
    atoms.rattle(0.3, seed=4)
    return atoms


def structure(name: str) -> Atoms:
    if name == "molecule":
        atoms = molecule("CH3CH2OH")
        atoms.rattle(0.05, seed=1)
        return atoms
    if name == "atom":
        return Atoms("N", [[0.3, -2.0, 7.0]])
    if name == "atom and its images":
        return Atoms(
            "O", [[0.1, 0.2, 0.3]], cell=[[2, 0, 0], [0.9, 2.2, 0], [0.2, 1, 2.1]], pbc=True
        )
    if name == "out of reach":
        return Atoms("OH", [[0, 0, 0], [0, 5.01, 0]])
    if name == "inside the prior":
        return Atoms("CHON", [[0, 0, 0], [0.5, 0, 0], [-1.1, 0.4, 0], [0.2, 0.1, 1.3]])
    atoms = box()
    if name == "slab":
        atoms.pbc = [True, False, True]
    elif name == "wire":
        atoms.pbc = [True, False, False]
        atoms.cell[1:] = 0.0  # what stands there for an open direction must not matter
    elif name == "unwrapped":
        images = np.random.default_rng(5).integers(-40, 41, size=(len(atoms), 3))
        atoms.positions += images @ atoms.cell.array
    else:
        assert name == "box"
    return atoms


STRUCTURES = (
    *("molecule", "box", "slab", "wire", "atom", "atom and its images", "out of reach"),
    *("inside the prior", "unwrapped"),
)


def arrays(atoms: Atoms, elements: tuple[str, ...] = GENERAL.elements):
    """What NativeKernel.compute takes."""
    species = species_index(atoms.numbers, elements)
    return species, atoms.positions.copy(), atoms.cell.array.copy(), atoms.pbc.copy()


def reference_of(shape: Architecture, graph: Graph) -> list[Properties]:
    return assemble(graph, torch_engine(shape).evaluate(graph))


@cache
def torch_engine(shape: Architecture):
    return make_engine(student_of(shape), "torch", dtype="float64")


def reference(shape: Architecture, atoms: Atoms) -> Properties:
    (result,) = reference_of(shape, build_graph(atoms, shape.elements, shape.cutoff_A))
    return result


@cache
def named_reference(shape: Architecture, name: str) -> Properties:
    return reference(shape, structure(name))


def assert_close(result, expected: Properties, single: bool) -> None:
    """Both are as exact as their digits: the splines of the filters are part of the student."""
    energies, forces, virial = result
    largest = max(1.0, float(np.abs(expected.forces).max()))
    tolerance = (1.5e-5 if single else 1e-10) * largest
    assert np.abs(forces - expected.forces).max() <= tolerance
    assert np.abs(energies - expected.energies).max() <= tolerance
    assert abs(energies.sum() - expected.energy) <= tolerance * len(energies) ** 0.5
    # A virial sums force times distance over all atoms.
    assert np.abs(virial - expected.virial).max() <= tolerance * 5.0 * len(energies) ** 0.5


def assert_same(result, expected) -> None:
    for mine, theirs in zip(result, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


# ---- structures -----------------------------------------------------------------------------


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


# ---- graphs ---------------------------------------------------------------------------------


def evaluate(kernel: NativeKernel, graph: Graph):
    return kernel.evaluate(graph.species, graph.edges, graph.vectors, graph.local)


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


# ---- determinism and the neighbor list --------------------------------------------------------


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


# ---- errors ---------------------------------------------------------------------------------


def wrong_position(value: float):
    def change(atoms: Atoms) -> None:
        atoms.positions[2, 1] = value

    return change


def overlap(atoms: Atoms) -> None:
    atoms.positions[3] = atoms.positions[2] + [0.0, 0.0, 1e-4]


def cell_not_finite(atoms: Atoms) -> None:
    atoms.cell[1, 1] = np.inf


UNUSABLE = {
    "nan": (wrong_position(np.nan), "not finite"),
    "infinite": (wrong_position(-np.inf), "not finite"),
    "far": (wrong_position(1e12), "too far away from the origin"),
    "overlap": (overlap, "two atoms are at the same place"),
    "cell": (cell_not_finite, "cell vector is not finite"),
}


@pytest.mark.parametrize("case", UNUSABLE)
@THREADS
def test_unusable_structures(threads: int, case: str) -> None:
    kernel = kernel_of(GENERAL, INSTRUCTION_SETS[0], True, threads)
    good = arrays(structure("box"))
    before = kernel.compute(*good)
    bad = structure("box")
    change, message = UNUSABLE[case]
    change(bad)
    for _ in range(2):
        with pytest.raises(StructureError, match=message):
            kernel.compute(*arrays(bad))
    assert_same(kernel.compute(*good), before)


@pytest.mark.parametrize("index", [-1, 8, 2**31 - 1])
def test_species_out_of_range(index: int) -> None:
    kernel = kernel_of(GENERAL, INSTRUCTION_SETS[0], True, 2)
    atoms = structure("molecule")
    species, *rest = arrays(atoms)
    before = kernel.compute(species, *rest)
    wrong = species.copy()
    wrong[-1] = index
    with pytest.raises(ConfigError, match="a species index is out of range"):
        kernel.compute(wrong, *rest)
    graph = build_graph(atoms, GENERAL.elements, GENERAL.cutoff_A)
    with pytest.raises(ConfigError, match="a species index is out of range"):
        kernel.evaluate(wrong, graph.edges, graph.vectors, graph.local)
    assert_same(kernel.compute(species, *rest), before)


def test_no_atoms() -> None:
    kernel = kernel_of(GENERAL, INSTRUCTION_SETS[0], True, 1)
    with pytest.raises(ConfigError, match="number of atoms"):
        kernel.compute(np.zeros(0, np.int32), np.zeros((0, 3)), np.eye(3), np.zeros(3, dtype=bool))


@THREADS
def test_wrong_edges(threads: int) -> None:
    kernel = kernel_of(GENERAL, INSTRUCTION_SETS[0], True, threads)
    graph = build_graph(structure("molecule"), GENERAL.elements, GENERAL.cutoff_A)
    before = evaluate(kernel, graph)
    sorted_by_center = "edges must be sorted by center and join existing atoms"
    swapped = graph.edges[:, ::-1]
    beyond, negative, no_center = graph.edges.copy(), graph.edges.copy(), graph.edges.copy()
    beyond[1, 4], negative[1, 4], no_center[0, -1] = graph.n_atoms, -1, graph.n_atoms
    for edges in (swapped, beyond, negative, no_center):
        with pytest.raises(ConfigError, match=sorted_by_center):
            kernel.evaluate(graph.species, edges, graph.vectors, graph.local)
    short = graph.vectors.copy()
    short[5] = 0.0
    broken = graph.vectors.copy()
    broken[5, 1] = np.nan
    for vectors in (short, broken):
        # In both directions, as it would come: only one of the two is evaluated.
        both = vectors.copy()
        i, j = graph.edges[:, 5]
        (back,) = np.flatnonzero((graph.edges[0] == j) & (graph.edges[1] == i))
        both[back] = -vectors[5]
        with pytest.raises(StructureError, match="two atoms are at the same place"):
            kernel.evaluate(graph.species, graph.edges, both, graph.local)
    assert_same(evaluate(kernel, graph), before)


def test_impossible_options() -> None:
    student = student_of(SMALL)
    with pytest.raises(ConfigError, match="threads must be 1"):
        NativeKernel(student, threads=0)
    with pytest.raises(ConfigError, match=r"lacks the instruction set magic; it has .*plain"):
        NativeKernel(student, instruction_set="magic")


# ---- memory ---------------------------------------------------------------------------------


def test_memory_grows_and_is_kept() -> None:
    kernel = NativeKernel(student_of(TINY))
    empty = kernel.memory_bytes
    weights = sum(array.nbytes for array in student_of(TINY).weights.values())
    assert empty > weights
    kernel.compute(*arrays(structure("molecule")))
    small = kernel.memory_bytes
    assert small > empty
    # As many atoms in a volume as in water, 0.1 per cubic Å.
    atoms = bulk("C", "sc", a=2.15) * (8, 8, 9)
    atoms.rattle(0.2, seed=11)
    kernel.compute(*arrays(atoms))
    large = kernel.memory_bytes
    assert small < large < 40_000 * len(atoms)
    kernel.compute(*arrays(structure("molecule")))
    assert kernel.memory_bytes == large
    kernel.compute(*arrays(atoms))
    assert kernel.memory_bytes == large


# ---- the calculator ---------------------------------------------------------------------------


def calculator_of(engine: str, **options) -> StudentForceFieldCalculator:
    return StudentForceFieldCalculator(student_of(GENERAL), engine=engine, **options)


def unknown_element(atoms: Atoms) -> None:
    atoms.numbers[1] = 92


def flat_cell(atoms: Atoms) -> None:
    atoms.cell[2] = atoms.cell[0] + atoms.cell[1]


def no_cell(atoms: Atoms) -> None:
    atoms.cell[:] = 0.0


BAD_FOR_ALL = {
    "element": (unknown_element, "does not know U"),
    "nan": (UNUSABLE["nan"][0], "position of atom 2 is not finite"),
    "infinite": (UNUSABLE["infinite"][0], "position of atom 2 is not finite"),
    "far": (UNUSABLE["far"][0], "away from the origin"),
    "overlap": (overlap, r"atoms 2 .* and 3 .* are 0\.000 Å apart"),
    "cell": (cell_not_finite, "cell is not finite"),
    "flat": (flat_cell, "no volume"),
    "none": (no_cell, "no volume"),
}


@pytest.mark.parametrize("case", BAD_FOR_ALL)
def test_same_messages_as_torch(case: str) -> None:
    change, word = BAD_FOR_ALL[case]
    messages = []
    for engine in ("native", "torch"):
        calculator = calculator_of(engine)
        good = structure("box")
        before = calculator.get_property("forces", good)
        bad = good.copy()
        change(bad)
        with pytest.raises(StructureError, match=word) as raised:
            calculator.get_property("forces", bad)
        messages.append(str(raised.value))
        assert np.array_equal(calculator.get_property("forces", good), before)
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]


def test_calculator_properties() -> None:
    calculator = calculator_of("native", dtype="float64")
    atoms = structure("box")
    expected = named_reference(GENERAL, "box")
    assert expected.stress is not None
    largest = np.abs(expected.stress).max()
    assert largest > 1e-3
    assert np.abs(calculator.get_stress(atoms) - expected.stress).max() < 1e-7 * largest
    assert calculator.get_potential_energy(atoms) == pytest.approx(expected.energy, abs=1e-6)
    assert calculator.n_evaluations == 1
    described = calculator.describe()
    assert described["engine"] == "native"
    assert described["instruction_set"] == INSTRUCTION_SETS[0]


def test_pickling() -> None:
    calculator = calculator_of("native", threads=2)
    atoms = structure("box")
    expected = calculator.get_property("forces", atoms)
    other = pickle.loads(pickle.dumps(calculator))
    assert other.n_evaluations == 0
    assert other.describe() == calculator.describe()
    assert np.array_equal(other.get_property("forces", atoms), expected)


def test_dynamics() -> None:
    steps = 50
    positions = []
    for engine, dtype in (("native", "float32"), ("torch", "float64")):
        atoms = structure("molecule")
        calculator = calculator_of(engine, dtype=dtype)
        atoms.calc = calculator
        thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(12))
        VelocityVerlet(atoms, 0.5 * units.fs).run(steps)
        assert calculator.n_evaluations == steps + 1
        positions.append(atoms.positions.copy())
    assert np.abs(positions[1] - structure("molecule").positions).max() > 0.05
    assert np.abs(positions[0] - positions[1]).max() < 1e-4


# ---- fork -----------------------------------------------------------------------------------

FORK = """
import gc, multiprocessing, sys, warnings
import numpy as np
from mlff_md.native import NativeKernel
from mlff_md.student import load_student

student_file, arrays_file, what = sys.argv[1:]
student = load_student(student_file)
kernel = NativeKernel(student, threads=2)
given = list(np.load(arrays_file).values())
before = kernel.compute(*given)

def same(results):
    return all(np.array_equal(a, b) for a, b in zip(results, before))

def child(queue):
    global kernel
    if what == "evaluate":
        answer = all([same(kernel.compute(*given)) for _ in range(5)])
    elif what == "make":
        answer = same(NativeKernel(student, threads=2).compute(*given))
    else:
        del kernel
        gc.collect()
        answer = True
    queue.put(answer)

fork = multiprocessing.get_context("fork")
queue = fork.SimpleQueue()
process = fork.Process(target=child, args=(queue,))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of threads at a fork: here on purpose
    process.start()
process.join(6)
if process.is_alive():
    process.kill()
    sys.exit("the child hangs")
answer = queue.get() if process.exitcode == 0 else None
print(process.exitcode, answer, same(kernel.compute(*given)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("what", ["evaluate", "make", "free"])
def test_fork(what: str, tmp_path: Path) -> None:
    student = student_of(SMALL)
    student_file, arrays_file = tmp_path / "student.safetensors", tmp_path / "box.npz"
    save_student(student_file, student.manifest, student.weights)
    np.savez(arrays_file, *arrays(structure("box")))
    # A process of its own that can be ended: a fork that goes wrong hangs.
    done = subprocess.run(
        [sys.executable, "-c", FORK, student_file, arrays_file, what],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "True", "True"]
