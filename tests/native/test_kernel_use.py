"""The native kernel's errors, its memory, and the calculator around it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from kernel_cases import (
    GENERAL,
    INSTRUCTION_SETS,
    SMALL,
    THREADS,
    TINY,
    arrays,
    assert_same,
    evaluate,
    kernel_of,
    named_reference,
    structure,
    student_of,
)

from mlff_md import native
from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.errors import ConfigError, StructureError
from mlff_md.graph import build_graph
from mlff_md.native import NativeKernel
from mlff_md.student import save_student

pytestmark = pytest.mark.skipif(
    not native.available(), reason=native.why_unavailable() or "the native engine is there"
)


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
