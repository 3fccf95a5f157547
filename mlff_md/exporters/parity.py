"""The gate that every export passes before it is written: the numbers of torch in float64.

On molecules and random clusters of the student's elements, on every pair of them from close contact
to beyond the cutoff, on a single atom, on atoms without neighbors, on ghosts, and on 2000 atoms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_md.engines import Engine, make_engine
from mlff_md.engines.assemble import forces
from mlff_md.engines.quantization import default_structures
from mlff_md.errors import ConfigError, DataError
from mlff_md.graph import Graph, build_graph
from mlff_md.student import Student

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_md.engines.exported import ExportedStudent

FORCE_TOLERANCE = 5e-5
"""Largest error of a force, in units of the structure's RMS force or 1 eV/Å if that is larger.

Float32 arithmetic alone reaches 2e-5 in liquid water; a student's own errors are a thousand times
that."""

ENERGY_TOLERANCE = 1e-5
"""Largest error of an atomic energy, eV; 5e-7 of what binds or repels it if that is above 20 eV."""

QUANTIZATION_TOLERANCE = 0.05
"""Largest change of the forces by quantising, RMS, in units of the RMS force."""

LARGE = 2000

_CLOSEST = 1.3
"""Distance of random atoms, in units of the end of the short-range prior: that of a short bond."""


@dataclass(frozen=True)
class Parity:
    """How far an engine is from torch in float64.

    Attributes
    ----------
    max_force_error_eV_per_A, max_energy_error_eV
        Of any atom, in structures whose forces are below 100 eV/Å.
    worst, where
        The largest part of its tolerance that an error takes, at most 1 to pass, and in which case.
    cases
        How many were compared.
    """

    max_force_error_eV_per_A: float
    max_energy_error_eV: float
    worst: float
    where: str
    cases: int

    @property
    def passed(self) -> bool:
        """Whether all errors are within their tolerances."""
        return self.worst <= 1.0


def parity(engine: Engine, student: Student) -> Parity:
    """Compare an engine with torch in float64 on the weights of a student."""
    reference = make_engine(student, "torch", dtype="float64")
    shifts = np.array(student.manifest.atomic_energies_eV)
    force_error = energy_error = worst = 0.0
    where, cases = "", 0
    for name, graph in graphs(student):
        cases += 1
        expected, found = reference.evaluate(graph), engine.evaluate(graph)
        right = forces(graph, expected.gradients)
        error = forces(graph, found.gradients) - right
        off, relative = _largest(error), _largest(error / _force_scale(graph, right)[:, None])
        energy_off = _largest(found.energies - expected.energies)
        bound = expected.energies - shifts[graph.species] * graph.local
        energy_scale = max(1.0, float(np.abs(bound).max()) / 20.0)
        if np.abs(right).max() < 100.0:
            force_error, energy_error = max(force_error, off), max(energy_error, energy_off)
        part = max(relative / FORCE_TOLERANCE, energy_off / (ENERGY_TOLERANCE * energy_scale))
        if not part <= worst:
            worst, where = part, name
    return Parity(force_error, energy_error, worst, where, cases)


def force_change(student: Student, other: Student) -> float:
    """Return the RMS difference of two students' forces over the RMS force, on fresh structures."""
    structures = default_structures(student.elements, seed=1)
    graph = Graph.batch([build_graph(a, student.elements, student.cutoff_A) for a in structures])
    one, two = (
        forces(graph, make_engine(which, "torch", dtype="float64").evaluate(graph).gradients)
        for which in (student, other)
    )
    return float(np.sqrt(np.mean((one - two) ** 2) / np.mean(one**2)))


def require(found: Parity, origin: str) -> None:
    """Refuse an export that is not the student.

    Raises
    ------
    DataError
        Saying where and by how much.
    """
    if not found.passed:
        raise DataError(
            f"{origin} was not written: on {found.where} it is {found.worst:.3g} times further "
            "from torch in float64 than allowed; this is a fault of an installed package or of "
            "mlff-md, please report it"
        )


def graphs(student: Student) -> Iterator[tuple[str, Graph]]:
    """Return what is compared: name, graph."""
    elements, cutoff = student.elements, student.cutoff_A
    rng = np.random.default_rng(0)

    def joined(structures: list) -> Graph:
        return Graph.batch([build_graph(atoms, elements, cutoff) for atoms in structures])

    try:
        real = default_structures(elements)
    except ConfigError:
        real = []
    for first in range(0, len(real), 60):
        yield f"structures {first} to {first + 59}", joined(real[first : first + 60])
    cluster = random_cluster(student, 40, rng)
    yield "a random cluster", cluster
    local = rng.random(cluster.n_atoms) < 0.5
    yield "ghost atoms", _with(cluster, local)
    yield "single atoms", _pairs(student, [])
    yield "pairs of atoms", _pairs(student, list(np.linspace(0.3, cutoff + 0.2, 40)))
    yield "two atoms", random_cluster(student, 2, rng)
    many = [random_cluster(student, 20, rng) for _ in range(LARGE // 20)]
    yield f"{LARGE} atoms", Graph.batch(many)


def random_structure(
    student: Student | ExportedStudent, count: int, rng: np.random.Generator
) -> Atoms:
    """Return atoms of random elements at random, as dense as their covalent radii allow."""
    from ase import Atoms

    radii = np.array(student.manifest.prior_radii_A)
    species = rng.integers(len(radii), size=count)
    side = 3.2 * float(radii.mean()) * count ** (1 / 3) + 1.0
    positions = np.empty((count, 3))
    for index in range(count):
        reach, tries = side, 0
        while True:
            place = rng.uniform(0.0, reach, 3)
            distance = np.linalg.norm(positions[:index] - place, axis=1)
            if (distance > _CLOSEST * (radii[species[:index]] + radii[species[index]])).all():
                break
            tries += 1
            if tries > 100:  # the box is full: let it grow
                reach *= 1.02
        positions[index] = place
    return Atoms([student.elements[kind] for kind in species], positions)


def random_cluster(student: Student, count: int, rng: np.random.Generator) -> Graph:
    """Return the graph of a :func:`random_structure`."""
    atoms = random_structure(student, count, rng)
    return build_graph(atoms, student.elements, student.cutoff_A)


def _pairs(student: Student, distances: list[float]) -> Graph:
    """Return every pair of elements at these distances, or each alone if there are none."""
    count = len(student.elements)
    if not distances:
        empty = np.empty((2, 0), dtype=np.int32)
        return Graph.single(np.arange(count, dtype=np.int32), empty, np.empty((0, 3)))
    first, second, distance = (
        axis.ravel() for axis in np.meshgrid(range(count), range(count), distances, indexing="ij")
    )
    species = np.stack([first, second], 1).ravel().astype(np.int32)
    edges = np.arange(len(species), dtype=np.int32).reshape(-1, 2)
    inside = distance < student.cutoff_A
    edges, distance = edges[inside], distance[inside]
    direction = np.array([0.48, -0.6, 0.64])
    vectors = distance[:, None] * direction
    return Graph.single(
        species,
        np.stack([edges, edges[:, ::-1]], 1).reshape(-1, 2).T.copy(),
        np.stack([vectors, -vectors], 1).reshape(-1, 3),
    )


def _with(graph: Graph, local: np.ndarray) -> Graph:
    return Graph.single(graph.species, graph.edges, graph.vectors, local=local)


def _force_scale(graph: Graph, right: np.ndarray) -> np.ndarray:
    """Return for each atom the RMS force of its structure, or 1 eV/Å if that is larger."""
    counts = np.bincount(graph.structure, minlength=graph.n_structures)
    squares = np.bincount(graph.structure, (right**2).mean(1), graph.n_structures)
    scale: np.ndarray = np.maximum(1.0, np.sqrt(squares / np.maximum(counts, 1)))[graph.structure]
    return scale


def _largest(error: np.ndarray) -> float:
    """Return the largest error; infinite if any is not a number."""
    size = np.abs(error)
    return float(size.max(initial=0.0)) if np.isfinite(size).all() else float("inf")
