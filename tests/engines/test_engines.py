"""The engines against autograd, finite differences and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from mlff_md.engines import ENGINES, Properties, assemble, make_engine
from mlff_md.engines.base import Engine
from mlff_md.errors import ConfigError
from mlff_md.graph import Graph, build_graph
from mlff_md.student import Student
from mlff_md.student.network import StudentForceField

# onnx-int8 has weights of its own, and aoti takes minutes to compile: see test_exported_engines.py.
SAME = tuple(name for name in ENGINES if name not in ("onnx-int8", "aoti"))


def graph_of(atoms: Atoms, engine: Engine) -> Graph:
    return build_graph(atoms, engine.elements, engine.cutoff_A)


def properties(atoms: Atoms, engine: Engine) -> Properties:
    graph = graph_of(atoms, engine)
    return assemble(graph, engine.evaluate(graph))[0]


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_hand_written_gradient_equals_autograd(layers: int, crystal: Atoms) -> None:
    from mlff_md.engines.gradient import EdgeGradientNetwork

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(layers)
        network = StudentForceField(16, layers, 6, energy_scale_eV=2.0).double()
    graph = build_graph(crystal, network.architecture.elements, 5.0)
    local = torch.arange(graph.n_atoms) % 4 != 0
    species = torch.from_numpy(graph.species).long()
    edges = torch.from_numpy(graph.edges).long()
    vectors = torch.from_numpy(graph.vectors).requires_grad_(True)
    energies = network(species, edges, vectors)
    (expected,) = torch.autograd.grad(energies[local].sum(), vectors)

    with torch.no_grad():
        found, gradients = EdgeGradientNetwork(network)(species, edges, vectors, local.double())
    scale = expected.abs().max()
    assert scale > 0.1
    assert (gradients - expected).abs().max() < 1e-12 * scale
    assert (found - energies * local).abs().max() < 1e-11


@pytest.mark.parametrize("engine", SAME)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_engines_agree(engine: str, dtype: str, random_student: Student, crystal: Atoms) -> None:
    reference = make_engine(random_student, "torch", dtype="float64")
    tested = make_engine(random_student, engine, dtype=dtype)
    graph = graph_of(crystal, reference)
    (expected,) = assemble(graph, reference.evaluate(graph))
    (found,) = assemble(graph, tested.evaluate(graph))
    force_rms = np.sqrt(np.mean(expected.forces**2))
    tolerance = 1e-11 if dtype == "float64" else 1e-5
    assert force_rms > 0.5
    assert np.abs(found.forces - expected.forces).max() <= tolerance * max(1.0, force_rms)
    assert abs(found.energy - expected.energy) <= tolerance * len(crystal)


@pytest.mark.parametrize("engine", SAME)
def test_forces_are_the_gradient_of_the_energy(
    engine: str, random_student: Student, crystal: Atoms
) -> None:
    tested = make_engine(random_student, engine, dtype="float64")

    def energy(atoms: Atoms) -> float:
        graph = graph_of(atoms, tested)
        return assemble(graph, tested.evaluate(graph))[0].energy

    graph = graph_of(crystal, tested)
    forces = assemble(graph, tested.evaluate(graph))[0].forces
    rng = np.random.default_rng(0)
    step = 1e-5
    for _ in range(5):
        direction = rng.normal(size=forces.shape)
        plus, minus = crystal.copy(), crystal.copy()
        plus.positions += step * direction
        minus.positions -= step * direction
        numerical = -(energy(plus) - energy(minus)) / (2 * step)
        assert abs(numerical - np.sum(forces * direction)) < 1e-6 * abs(numerical) + 1e-7


def test_stress_is_the_strain_derivative(random_student: Student, crystal: Atoms) -> None:
    engine = make_engine(random_student, "torch", dtype="float64")

    stress = properties(crystal, engine).stress
    assert stress is not None
    step = 1e-5
    voigt = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    for component, (row, column) in enumerate(voigt):
        energies = []
        for sign in (1.0, -1.0):
            strain = np.zeros((3, 3))
            strain[row, column] += 0.5 * sign * step
            strain[column, row] += 0.5 * sign * step
            strained = crystal.copy()
            strained.set_cell(crystal.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            energies.append(properties(strained, engine).energy)
        numerical = (energies[0] - energies[1]) / (2 * step) / crystal.get_volume()
        assert abs(stress[component] - numerical) < 1e-7 * max(1.0, np.abs(stress).max())


@pytest.mark.parametrize("engine", SAME)
def test_invariances(engine: str, random_student: Student, ethanol: Atoms) -> None:
    tested = make_engine(random_student, engine, dtype="float64")

    before = properties(ethanol, tested)
    rng = np.random.default_rng(3)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))  # may include a reflection: also exact
    order = rng.permutation(len(ethanol))
    moved = ethanol[order]
    moved.positions = moved.positions @ rotation.T + [3.0, -2.0, 11.0]
    after = properties(moved, tested)
    assert abs(after.energy - before.energy) < 1e-9
    assert np.abs(after.forces - before.forces[order] @ rotation.T).max() < 1e-9
    assert np.abs(after.forces.sum(0)).max() < 1e-10
    torque = np.cross(moved.positions - moved.positions.mean(0), after.forces).sum(0)
    assert np.abs(torque).max() < 1e-9


def test_supercell_is_extensive(random_student: Student, crystal: Atoms) -> None:
    engine = make_engine(random_student, "torch", dtype="float64")
    graphs = [graph_of(atoms, engine) for atoms in (crystal, crystal * (2, 1, 1))]
    small, large = assemble(Graph.batch(graphs), engine.evaluate(Graph.batch(graphs)))
    assert abs(large.energy - 2 * small.energy) < 1e-9
    assert np.abs(large.forces[: len(crystal)] - small.forces).max() < 1e-10
    assert small.stress is not None
    assert large.stress is not None
    assert np.abs(large.stress - small.stress).max() < 1e-12


@pytest.mark.parametrize("engine", SAME)
def test_batch_equals_one_by_one(
    engine: str, random_student: Student, ethanol: Atoms, crystal: Atoms
) -> None:
    tested = make_engine(random_student, engine)
    structures = [ethanol, crystal, molecule("H2O"), Atoms("O")]
    graphs = [graph_of(atoms, tested) for atoms in structures]
    together = assemble(Graph.batch(graphs), tested.evaluate(Graph.batch(graphs)))
    for graph, one in zip(graphs, together, strict=True):
        (alone,) = assemble(graph, tested.evaluate(graph))
        assert np.abs(one.forces - alone.forces).max() < 2e-5
        assert abs(one.energy - alone.energy) < 1e-5 * graph.n_atoms
        assert (one.stress is None) == (alone.stress is None)


@pytest.mark.parametrize("engine", SAME)
def test_atom_without_neighbors(engine: str, random_student: Student) -> None:
    tested = make_engine(random_student, engine)
    graph = graph_of(Atoms("OH", [[0, 0, 0], [50.0, 0, 0]]), tested)
    assert graph.n_edges == 0
    (result,) = assemble(graph, tested.evaluate(graph))
    assert np.isfinite(result.energy)
    assert not result.forces.any()


@pytest.mark.parametrize("engine", SAME)
def test_ghosts_do_not_count_but_feel_forces(
    engine: str, random_student: Student, ethanol: Atoms
) -> None:
    tested = make_engine(random_student, engine, dtype="float64")
    graph = graph_of(ethanol, tested)
    local = np.arange(len(ethanol)) < 5
    parts = []
    for mask in (local, ~local):
        part = Graph.single(graph.species, graph.edges, graph.vectors, local=mask)
        (result,) = assemble(part, tested.evaluate(part))
        assert not result.energies[~mask].any()
        parts.append(result)
    (whole,) = assemble(graph, tested.evaluate(graph))
    assert abs(sum(part.energy for part in parts) - whole.energy) < 1e-10
    assert np.abs(sum(part.forces for part in parts) - whole.forces).max() < 1e-10


def test_smooth_at_the_cutoff(random_student: Student) -> None:
    engine = make_engine(random_student, "torch", dtype="float64")

    def pair(distance: float) -> tuple[float, float]:
        graph = graph_of(Atoms("OCH", [[0, 0, 0], [distance, 0, 0], [-1.0, 0.2, 0]]), engine)
        (result,) = assemble(graph, engine.evaluate(graph))
        return result.energy, result.forces[1, 0]

    below, above = pair(5.0 - 1e-4), pair(5.0 + 1e-4)
    inside = pair(3.5)
    assert abs(inside[1]) > 1e-4
    assert abs(below[0] - above[0]) < 1e-9
    assert abs(below[1] - above[1]) < 1e-6


def test_repeatable_to_the_bit(random_student: Student, crystal: Atoms) -> None:
    for name in SAME:
        engine = make_engine(random_student, name)
        graph = graph_of(crystal, engine)
        first = engine.evaluate(graph)
        for _ in range(5):
            again = engine.evaluate(graph)
            assert np.array_equal(first.gradients, again.gradients)
            assert np.array_equal(first.energies, again.energies)


def test_torch_state_is_left_alone(random_student: Student, ethanol: Atoms) -> None:
    threads = torch.get_num_threads()
    state = torch.random.get_rng_state()
    wanted = 2 if threads == 1 else 1
    engine = make_engine(random_student, "torchscript", threads=wanted)
    engine.evaluate(graph_of(ethanol, engine))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "torchscrpt"}, "did you mean torchscript"),
        ({"engine": "magic"}, "there are auto"),
        ({"dtype": "float16"}, "float32 or float64"),
        ({"device": "cuda:99"}, "CUDA"),
        ({"device": "quantum"}, "no device is called"),
        ({"threads": 0}, "at least 1"),
    ],
)
def test_impossible_options(options: dict, message: str, random_student: Student) -> None:
    with pytest.raises(ConfigError, match=message):
        make_engine(random_student, **options)
