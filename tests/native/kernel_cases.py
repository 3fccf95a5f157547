"""Students, structures and comparisons that the tests of the kernel share."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from mlff_md import native
from mlff_md.engines import Properties, assemble, make_engine
from mlff_md.graph import Graph, build_graph, species_index
from mlff_md.native import NativeKernel
from mlff_md.student import Architecture, Manifest, Student
from mlff_md.student.prior import prior_radii

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


def evaluate(kernel: NativeKernel, graph: Graph):
    return kernel.evaluate(graph.species, graph.edges, graph.vectors, graph.local)
