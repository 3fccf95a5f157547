"""The student network: budgets, the short-range prior, the two arrangements of pairs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mlff_md import read_structure
from mlff_md.errors import StructureError, StudentFileError
from mlff_md.graph import build_graph
from mlff_md.student import ORGANIC_ELEMENTS, SIZES, Architecture
from mlff_md.student.network import (
    DensePairs,
    EdgeList,
    StudentForceField,
    envelope,
    seen_distance,
)
from mlff_md.student.prior import (
    ZBL_COEFFICIENTS,
    ZBL_EXPONENTS,
    atomic_numbers,
    pair_tables,
    prior_radii,
)

STRUCTURES = Path(__file__).parents[2] / "inputs" / "structures"
BUDGETS = {"original": 427_292, "tiny": 77_203, "ultra-tiny": 21_459}


def zbl_energy(r_A: float, strength: float, inverse_length: float, cutoff_A: float) -> float:
    """Energy (eV) of one pair at distance ``r_A``, in plain Python."""
    if r_A >= cutoff_A:
        return 0.0
    x = r_A / cutoff_A
    switch = 1.0 - 28.0 * x**6 + 48.0 * x**7 - 21.0 * x**8
    screening = sum(
        c * math.exp(-b * r_A * inverse_length)
        for c, b in zip(ZBL_COEFFICIENTS, ZBL_EXPONENTS, strict=True)
    )
    return strength / r_A * screening * switch


@pytest.mark.parametrize("size", SIZES)
def test_budgets(size: str) -> None:
    shape = SIZES[size]
    network = StudentForceField.from_architecture(shape)
    assert network.num_parameters == shape.num_parameters <= BUDGETS[size]
    weights = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert weights == dict(shape.weight_shapes())


@pytest.mark.parametrize(("hidden", "layers", "rbf"), [(128, 3, 20), (64, 2, 12), (32, 2, 10)])
def test_default_width_keeps_the_budgets(hidden: int, layers: int, rbf: int) -> None:
    budget = {128: 427_292, 64: 77_203, 32: 21_459}[hidden]
    assert StudentForceField(hidden, layers, rbf).num_parameters <= budget


def test_envelope_is_twice_differentiable_at_the_cutoff() -> None:
    x = torch.tensor([1.0 - 1e-9, 1.0, 1.5], dtype=torch.float64, requires_grad=True)
    value = envelope(x)
    (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    for derivative in (value, first, second):
        assert derivative.abs().max() < 1e-5
    assert envelope(torch.tensor([0.0])) == 1.0
    assert envelope(torch.tensor([0.5])) > 0.7


def test_the_network_is_shown_a_distance_with_a_floor() -> None:
    end = torch.tensor([1.0, 1.4], dtype=torch.float64)
    distance = torch.linspace(0.01, 3.0, 3001, dtype=torch.float64)[:, None].requires_grad_(True)
    seen = seen_distance(distance, end)
    (slope,) = torch.autograd.grad(seen[:, 0].sum(), distance, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), distance)
    beyond = distance[:, 0] >= 0.66 / 0.7
    assert torch.allclose(seen[beyond, 0], distance[beyond, 0], rtol=1e-14)
    assert seen[0, 0].item() == pytest.approx(0.60 / 0.7)
    assert seen[0, 1].item() == pytest.approx(1.4 * 0.60 / 0.7)
    assert (slope >= 0.0).all()
    assert (slope <= 1.0 + 1e-12).all()
    # Twice continuously differentiable: the curvature has no step anywhere.
    assert curvature.diff(dim=0).abs().max() < 0.6
    assert curvature.max() > 5.0


def test_dense_and_edge_list_are_one_network() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = StudentForceField(16, 2, 6).double()
        positions = 3.0 * torch.rand(7, 3, dtype=torch.float64)
        species = torch.randint(0, 8, (7,))
    center, neighbor = torch.where(~torch.eye(7, dtype=torch.bool))
    edges = EdgeList(torch.stack([center, neighbor]), 7)
    sparse = network.reduced_energies(species, positions[neighbor] - positions[center], edges)
    vectors = positions[None, None] - positions[None, :, None]
    vectors[:, range(7), range(7)] = torch.tensor([7.5, 0.0, 0.0], dtype=torch.float64)
    dense = network.reduced_energies(species[None], vectors, DensePairs())[0]
    assert (sparse - dense).abs().max() < 1e-12


@pytest.mark.parametrize("pair", [("H", "H"), ("C", "O"), ("S", "Cl")])
def test_prior_is_the_screened_nuclear_repulsion(pair: tuple[str, str]) -> None:
    network = StudentForceField(8, 1, 4)
    numbers, radii = atomic_numbers(pair), prior_radii(pair)
    strength, inverse_length, cutoff = pair_tables(numbers, radii)[:, 1]
    species = torch.tensor([ORGANIC_ELEMENTS.index(symbol) for symbol in pair])
    edges = EdgeList(torch.tensor([[0, 1], [1, 0]]), 2)
    energies = []
    for distance in np.linspace(0.2, 1.1 * cutoff, 60):
        vectors = torch.tensor([[0, 0, distance], [0, 0, -distance]], dtype=torch.float64)
        found = float(network.prior_energies(species, vectors, edges).sum())
        expected = zbl_energy(float(distance), strength, inverse_length, cutoff)
        assert found == pytest.approx(expected, rel=1e-10, abs=1e-12)
        energies.append(found)
    assert all(np.diff(energies) <= 0.0)
    assert energies[0] > 10.0
    assert energies[-1] == 0.0


@pytest.mark.parametrize("path", sorted(STRUCTURES.glob("*.xyz")), ids=lambda path: path.stem)
def test_prior_leaves_bonds_alone(path: Path) -> None:
    """A prior that reaches into the bonds roughens them, and the energy of a run then wanders."""
    atoms = read_structure(path)
    if not set(atoms.symbols) <= set(ORGANIC_ELEMENTS):
        pytest.skip("not for this student")
    network = StudentForceField(8, 1, 4)
    # A tenth shorter than at rest: further than bonds swing at 1000 K.
    atoms.set_cell(atoms.cell * 0.9)
    atoms.positions *= 0.9
    graph = build_graph(atoms, ORGANIC_ELEMENTS, 5.0)
    energies = network.prior_energies(
        torch.from_numpy(graph.species).long(),
        torch.from_numpy(graph.vectors),
        EdgeList(torch.from_numpy(graph.edges).long(), graph.n_atoms),
    )
    assert not energies.any()


def test_initialisation_uses_torchs_seed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        one = StudentForceField(8, 1, 4).readout_in.weight
        torch.manual_seed(1)
        two = StudentForceField(8, 1, 4).readout_in.weight
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_dim": 0},
        {"num_interactions": -1},
        {"cutoff_A": 0.0},
        {"cutoff_A": float("nan")},
        {"elements": ()},
        {"elements": ("H", "H")},
        {"neighbor_norm": 0.0},
        {"hidden_dim": 2.5},
    ],
)
def test_impossible_sizes(sizes: dict) -> None:
    with pytest.raises(StudentFileError):
        Architecture(**sizes)


def test_unknown_element() -> None:
    with pytest.raises(StructureError, match="Xx"):
        StudentForceField(8, 1, 4, elements=("H", "Xx"))
