"""The neighbor list against ASE's, for everything a structure or a trajectory can do."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_md import pairs
from mlff_md.errors import ConfigError, MissingDependencyError, StructureError
from mlff_md.neighbors import NeighborList
from mlff_md.pairs import complete_cell

CUTOFF_A = 3.0
AMBIGUOUS_A = 1e-7

PBC = st.tuples(st.booleans(), st.booleans(), st.booleans())
SEED = st.integers(0, 2**32 - 1)


def random_cell(rng: np.random.Generator, smallest: float = 1.5, largest: float = 9.0):
    """Return a triclinic cell of either handedness that is not too flat."""
    while True:
        cell = np.diag(rng.uniform(smallest, largest, 3)) @ (
            np.eye(3) + rng.uniform(-0.6, 0.6, (3, 3))
        )
        lengths = np.linalg.norm(cell, axis=1)
        if abs(np.linalg.det(cell)) > 0.15 * lengths.prod():
            return cell[rng.permutation(3)]


def reference_edges(positions, cell, pbc, cutoff=CUTOFF_A):
    """Return ASE's list in our order; the open directions get a cell ASE can work with."""
    pbc = np.asarray(pbc, dtype=bool)
    i, j, S, D, d = primitive_neighbor_list(
        "ijSDd", pbc, complete_cell(cell, pbc), positions, cutoff + 2 * AMBIGUOUS_A
    )
    order = np.lexsort((S[:, 2], S[:, 1], S[:, 0], j, i))
    return np.array([i, j])[:, order], D[order], d[order]


def assert_same_list(edges, vectors, positions, cell, pbc, cutoff=CUTOFF_A):
    """Compare with ASE, leaving out pairs whose distance equals the cutoff within rounding."""
    expected, expected_vectors, distances = reference_edges(positions, cell, pbc, cutoff)
    sure = distances < cutoff - AMBIGUOUS_A
    ours = np.linalg.norm(vectors, axis=1)
    assert (ours < cutoff).all()
    ours_sure = ours < cutoff - AMBIGUOUS_A
    np.testing.assert_array_equal(edges[:, ours_sure], expected[:, sure])
    np.testing.assert_allclose(vectors[ours_sure], expected_vectors[sure], rtol=0, atol=1e-9)


@given(seed=SEED, pbc=PBC, n_atoms=st.integers(1, 25), spread=st.sampled_from([1.0, 5.0, -3.0]))
@settings(max_examples=150, deadline=None)
def test_equals_ase_for_any_cell(seed, pbc, n_atoms, spread):
    # Cells from half the cutoff up; atoms inside, across and far outside of the cell.
    rng = np.random.default_rng(seed)
    cell = random_cell(rng)
    positions = rng.random((n_atoms, 3)) * spread @ cell
    edges, vectors = NeighborList(CUTOFF_A, skin_A=0.7).update(positions, cell, pbc)
    assert edges.dtype == np.int32
    assert vectors.dtype == np.float64
    assert_same_list(edges, vectors, positions, cell, pbc)


class Trajectory:
    """A structure that moves, wraps, strains, grows, shrinks and changes its boundaries."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.cell = random_cell(self.rng, smallest=2.5)
        self.pbc = self.rng.random(3) < 0.7
        self.positions = self.rng.random((int(self.rng.integers(1, 20)), 3)) @ self.cell

    def step(self) -> None:
        rng = self.rng
        kind = rng.choice(
            ["vibrate", "drift", "wrap", "unwrap", "strain", "hop", "count", "pbc"],
            p=[0.4, 0.1, 0.1, 0.05, 0.2, 0.05, 0.05, 0.05],
        )
        if kind == "vibrate":
            self.positions = self.positions + rng.normal(0.0, 0.08, self.positions.shape)
        elif kind == "drift":
            self.positions = self.positions + rng.normal(0.0, 2.0, 3)
        elif kind == "wrap":
            fractional = self.positions @ np.linalg.inv(self.cell)
            fractional[:, self.pbc] %= 1.0
            self.positions = fractional @ self.cell
        elif kind == "unwrap":
            images = rng.integers(-30, 31, self.positions.shape) * self.pbc
            self.positions = self.positions + images @ self.cell
        elif kind == "strain":
            strain = np.eye(3) + rng.normal(0.0, 0.02, (3, 3))
            self.cell = self.cell @ strain
            if rng.random() < 0.7:
                self.positions = self.positions @ strain
        elif kind == "hop":
            atom = rng.integers(len(self.positions))
            self.positions = self.positions.copy()
            self.positions[atom] += rng.normal(0.0, 1.0, 3)
        elif kind == "count":
            self.positions = rng.random((int(rng.integers(1, 20)), 3)) @ self.cell
        else:
            self.pbc = rng.random(3) < 0.5
            self.positions = rng.random(self.positions.shape) @ self.cell


@given(seed=SEED)
@settings(max_examples=50, deadline=None)
def test_one_list_follows_any_trajectory(seed):
    trajectory = Trajectory(seed)
    kept = NeighborList(CUTOFF_A, skin_A=1.0)
    fresh = NeighborList(CUTOFF_A, skin_A=0.0)
    for _ in range(25):
        arguments = trajectory.positions, trajectory.cell, trajectory.pbc
        edges, vectors = kept.update(*arguments)
        assert_same_list(edges, vectors, *arguments)
        fresh_edges, fresh_vectors = fresh.update(*arguments)
        # Bit for bit: what comes out does not depend on when the list was built.
        assert edges.tobytes() == fresh_edges.tobytes()
        assert vectors.tobytes() == fresh_vectors.tobytes()
        trajectory.step()
    assert fresh.n_builds == 25


@pytest.mark.parametrize("n_atoms", [99, 100, 101, 150])
def test_small_and_large_molecules(n_atoms):
    # Different roads to the same list.
    positions = np.random.default_rng(0).random((n_atoms, 3)) * 12.0
    cell, pbc = np.zeros((3, 3)), np.zeros(3, dtype=bool)
    edges, vectors = NeighborList(CUTOFF_A).update(positions, cell, pbc)
    assert_same_list(edges, vectors, positions, cell, pbc)


@given(seed=SEED)
@settings(max_examples=25, deadline=None)
def test_criterion_is_safe_at_its_edge(seed):
    # Pairs just outside of the stored list that head straight for each other while the cell
    # shrinks: the least favourable motion there is, up to and beyond what the list can bear.
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    start = np.array([np.zeros(3), direction * (CUTOFF_A + 1.0 + 1e-5)])
    cell, pbc = np.eye(3) * 14.0, np.ones(3, dtype=bool)
    shrink = rng.choice([0.0, 0.1])
    kept = NeighborList(CUTOFF_A, skin_A=1.0)
    for approach in np.linspace(0.0, 0.8, 25):
        scale = 1.0 - shrink * approach
        positions = (start + approach * np.array([direction, -direction])) * scale
        edges, vectors = kept.update(positions, cell * scale, pbc)
        assert_same_list(edges, vectors, positions, cell * scale, pbc)
    assert 2 <= kept.n_builds <= 4
    assert edges.shape == (2, 2)


def test_small_moves_and_strains_do_not_rebuild():
    rng = np.random.default_rng(1)
    cell, pbc = np.eye(3) * 9.0, np.ones(3, dtype=bool)
    positions = rng.random((40, 3)) * 9.0
    kept = NeighborList(CUTOFF_A, skin_A=1.0)
    for step in range(20):
        scale = 1.0 + 0.0005 * step
        # A common drift of 0.5 Å a step does not count as motion.
        moved = positions * scale + 0.5 * step + rng.normal(0.0, 0.02, positions.shape)
        assert_same_list(*kept.update(moved, cell * scale, pbc), moved, cell * scale, pbc)
    assert kept.n_builds == 1


def test_edges_are_the_same_array_while_pairs_stay_the_same():
    positions = np.array([[0.0, 0, 0], [1.0, 0, 0], [0, 3.5, 0]])
    kept = NeighborList(CUTOFF_A)
    first, vectors = kept.update(positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    before = vectors.copy()
    second, _ = kept.update(positions * 1.01, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    assert first is second
    np.testing.assert_array_equal(vectors, before)
    third, _ = kept.update(positions * 0.8, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    assert third.shape == (2, 6)
    assert kept.shortest_A == pytest.approx(0.8)


@pytest.mark.parametrize("pbc", [(False, False, False), (True, True, False)])
def test_an_atom_that_flew_off_is_only_far(pbc):
    # vesin itself divides by zero here and ends the process.
    positions = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1e8, 3e8], [1, 1e8, 3e8 + 2], [0, 0, -1e8]])
    cell = np.eye(3) * 20.0
    edges, vectors = NeighborList(CUTOFF_A).update(positions, cell, pbc)
    assert edges.tolist() == [[0, 1, 2, 3], [1, 0, 3, 2]]
    np.testing.assert_array_equal(np.abs(vectors).sum(axis=1), [1, 1, 2, 2])


@pytest.mark.parametrize("pbc", [(False, False, False), (True, True, True), (True, False, True)])
@pytest.mark.parametrize("lengths_A", [(2e4, 2e4, 2e4), (1e4, 20.0, 1e4), (50.0, 1e6, 1e3)])
def test_a_thin_gas_in_a_huge_box(pbc, lengths_A):
    rng = np.random.default_rng(0)
    positions = rng.random((2000, 3)) * lengths_A
    positions[::2] = positions[1::2] + rng.normal(0.0, 1.0, (1000, 3))
    edges, vectors = NeighborList(CUTOFF_A).update(positions, np.diag(lengths_A), pbc)
    assert (np.linalg.norm(vectors, axis=1) < CUTOFF_A).all()
    twins = edges[0] // 2 == edges[1] // 2
    bound = np.linalg.norm(positions[::2] - positions[1::2], axis=1) < CUTOFF_A
    assert twins.sum() == 2 * bound.sum()
    assert (~twins).sum() < 30


def test_lone_atoms_and_tiny_cells():
    nobody = NeighborList(CUTOFF_A).update(np.zeros((1, 3)), np.zeros((3, 3)), [False] * 3)
    assert nobody[0].shape == (2, 0)
    assert nobody[1].shape == (0, 3)
    images, vectors = NeighborList(2.5).update(np.zeros((1, 3)), np.eye(3), [True] * 3)
    lattice = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3)
    assert images.shape[1] == int(((lattice**2).sum(axis=1) < 2.5**2).sum()) - 1
    np.testing.assert_allclose(vectors.sum(axis=0), 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_positions_and_cells_are_named(bad):
    kept = NeighborList(CUTOFF_A)
    positions, cell, pbc = np.eye(3), np.eye(3) * 8.0, [True] * 3
    kept.update(positions, cell, pbc)
    broken = positions.copy()
    broken[1, 2] = bad
    with pytest.raises(StructureError, match="atom 1 is not finite"):
        kept.update(broken, cell, pbc)
    with pytest.raises(StructureError, match="cell is not finite"):
        kept.update(positions, np.where(cell == 0.0, 0.0, bad), pbc)
    with pytest.raises(StructureError, match="no volume"):
        kept.update(positions, np.diag([8.0, 8.0, 0.0]), pbc)
    with pytest.raises(StructureError, match="blown up"):
        kept.update(positions * 1e12, cell, pbc)
    with pytest.raises(StructureError, match="no atoms"):
        kept.update(np.zeros((0, 3)), cell, pbc)
    assert_same_list(*kept.update(positions, cell, pbc), positions, cell, pbc)


def test_arguments_are_checked():
    with pytest.raises(ConfigError, match="cutoff"):
        NeighborList(0.0)
    with pytest.raises(ConfigError, match="cutoff"):
        NeighborList(float("nan"))
    with pytest.raises(ConfigError, match="skin"):
        NeighborList(5.0, skin_A=-1.0)


def test_pickling_keeps_the_list():
    positions, cell, pbc = np.eye(3), np.eye(3) * 5.0, [True] * 3
    kept = NeighborList(CUTOFF_A)
    edges, vectors = kept.update(positions, cell, pbc)
    copy = pickle.loads(pickle.dumps(kept))
    copy_edges, copy_vectors = copy.update(positions, cell, pbc)
    assert copy.n_builds == 1
    np.testing.assert_array_equal(copy_edges, edges)
    np.testing.assert_array_equal(copy_vectors, vectors)


def test_vesin_is_imported_without_a_trace_for_others():
    # While vesin is being imported, another thread may import torch: nothing may be in its way.
    code = (
        "import sys, numpy as np\n"
        "from mlff_md.neighbors import NeighborList\n"
        "seen = []\n"
        "class Watch:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if 'vesin' in name:\n"
        "            seen.append((name, 'torch' in sys.modules, 'cupy' in sys.modules))\n"
        "before, builtin = set(sys.modules), __builtins__.__import__\n"
        "sys.meta_path.insert(0, Watch)\n"
        "NeighborList(5.0).update(np.zeros((1, 3)), np.eye(3), [True] * 3)\n"
        "assert len(seen) > 1, seen\n"
        "assert not any(torch or cupy for _, torch, cupy in seen), seen\n"
        "assert __builtins__.__import__ is builtin\n"
        "assert sys.meta_path[0] is Watch\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "assert not new & {'torch', 'cupy', 'vesin'}, new\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_vesin_is_told_with_the_line_that_installs_it(monkeypatch):
    pairs._import_vesin.cache_clear()
    monkeypatch.setattr(pairs.importlib.util, "find_spec", lambda name: None)
    try:
        with pytest.raises(MissingDependencyError, match="pip install vesin"):
            pairs._import_vesin()
    finally:
        pairs._import_vesin.cache_clear()


def test_no_torch_and_vesin_stays_usable():
    code = (
        "import sys, numpy as np\n"
        "from mlff_md.neighbors import NeighborList\n"
        "NeighborList(5.0).update(np.zeros((1, 3)), np.eye(3), [True] * 3)\n"
        "assert 'torch' not in sys.modules and 'vesin' not in sys.modules\n"
        "import torch\n"
        "import vesin._neighbors\n"
        "assert vesin._neighbors.HAS_TORCH\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
