from itertools import combinations, pairwise

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from mlff_md.distill import distortions
from mlff_md.distill.forcefield import embed, langevin_frames
from mlff_md.distill.molecules import Molecule
from mlff_md.distill.sampling import (
    Item,
    SamplingSettings,
    dimer_items,
    sample,
    scan_items,
)
from mlff_md.errors import ConfigError, DataError

pytest.importorskip("rdkit")

ETHANOL = Molecule("ethanol", "CCO")
CYCLOHEXANOL = Molecule("cyclohexanol", "OC1CCCCC1")


@pytest.fixture(scope="module")
def ethanol():
    return embed(ETHANOL, 1)


@pytest.fixture(scope="module")
def cyclohexanol():
    return embed(CYCLOHEXANOL, 1)


def distances(positions):
    return np.linalg.norm(positions[:, None] - positions[None], axis=-1)


def bond_lengths(conformer, positions):
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in conformer.mol.GetBonds()]
    return np.array([np.linalg.norm(positions[i] - positions[j]) for i, j in bonds])


@pytest.mark.parametrize("smiles", ["CCO", "CP(C)(C)=O", "C1=CC=CP1"])
def test_forces_are_the_gradient_of_the_force_field(smiles):
    conformer = embed(Molecule("m", smiles), 1)
    positions = distortions.rattle(conformer.positions, 0.1, np.random.default_rng(0))
    forces = conformer.forces(positions)
    step = 1e-5
    for index in [(0, 0), (2, 1), (3, 2)]:
        ends = []
        for sign in (+1, -1):
            moved = positions.copy()
            moved[index] += sign * step
            ends.append(conformer.force_field.CalcEnergy(moved.ravel().tolist()))
        kcal_per_mol_eV = 0.0433641
        numeric = -(ends[0] - ends[1]) / (2 * step) * kcal_per_mol_eV
        assert forces[index] == pytest.approx(numeric, rel=1e-4, abs=1e-5)


def test_forces_do_not_depend_on_what_was_asked_before(ethanol):
    rng = np.random.default_rng(0)
    a, b = (distortions.rattle(ethanol.positions, 0.1, rng) for _ in range(2))
    first = ethanol.forces(a)
    ethanol.forces(b)
    np.testing.assert_array_equal(ethanol.forces(a), first)


def test_langevin_reaches_the_bath_temperature(ethanol):
    # Equipartition of the harmonic energy: mean potential above the minimum is about 3N-6 kT/2.
    rng = np.random.default_rng(0)
    frames = langevin_frames(ethanol, np.full(60, 300.0), rng)
    field = ethanol.force_field
    start = field.CalcEnergy(ethanol.positions.ravel().tolist())
    mean = np.mean([field.CalcEnergy(f.ravel().tolist()) - start for f in frames])
    expected = (3 * 9 - 6) * 0.5 * 0.0019872 * 300.0
    assert mean == pytest.approx(expected, rel=0.25)
    assert min(np.abs(a - b).max() for a, b in pairwise(frames)) > 0.05


def test_embedding_failures_name_the_molecule():
    with pytest.raises(DataError, match="broken: RDKit cannot read"):
        embed(Molecule("broken", "C1CC"), 1)
    with pytest.raises(DataError, match="impossible: RDKit finds no 3D geometry"):
        embed(Molecule("impossible", "C1[C@H]2C[C@@H]1[C@H]3[C@@H]2C#C3"), 1)


def test_molecules_without_force_field_start_from_the_embedding():
    conformer = embed(Molecule("sulfur hexafluoride", "FS(F)(F)(F)(F)F"), 1)
    assert conformer.force_field is None
    item = Item("molecule", "sf6", (Molecule("sf6", "FS(F)(F)(F)(F)F"),), 3)
    kinds = {s.kind for s in sample(item, SamplingSettings(), np.random.default_rng(0))}
    assert kinds == {"tmd"}


def test_branch(ethanol, cyclohexanol):
    # ethanol: C0 C1 O2, then hydrogens; beyond C1-O2 hang the oxygen and its hydrogen.
    assert distortions.branch(ethanol.mol, 1, 2) == [2, 8]
    assert len(distortions.branch(ethanol.mol, 2, 1)) == 7
    # a ring bond moves one ring atom and what hangs on it
    moved = distortions.branch(cyclohexanol.mol, 2, 1)
    symbols = sorted(cyclohexanol.mol.GetAtomWithIdx(i).GetSymbol() for i in moved)
    assert symbols == ["C", "H", "H", "O"]


@given(scale=st.floats(0.75, 1.6), seed=st.integers(0, 1000))
def test_stretch_scales_exactly_one_bond_of_a_chain(ethanol, scale, seed):
    new = distortions.stretch_bond(
        ethanol.mol, ethanol.positions, scale, np.random.default_rng(seed)
    )
    ratio = bond_lengths(ethanol, new) / bond_lengths(ethanol, ethanol.positions)
    changed = np.abs(ratio - scale) < 1e-9
    assert changed.sum() >= 1
    assert np.all(changed | (np.abs(ratio - 1.0) < 1e-9))
    if abs(scale - 1.0) > 1e-6:
        assert changed.sum() == 1


@given(scale=st.floats(0.75, 1.6), seed=st.integers(0, 1000))
def test_bending_keeps_all_bond_lengths(ethanol, scale, seed):
    new = distortions.bend_angle(ethanol.mol, ethanol.positions, scale, np.random.default_rng(seed))
    before, after = (bond_lengths(ethanol, x) for x in (ethanol.positions, new))
    np.testing.assert_allclose(after, before, atol=1e-9)
    if abs(scale - 1.0) > 1e-3:
        assert np.abs(distances(new) - distances(ethanol.positions)).max() > 1e-4


@pytest.mark.parametrize("seed", range(5))
def test_no_angle_is_bent_beyond_a_line(ethanol, seed):
    new = distortions.bend_angle(ethanol.mol, ethanol.positions, 1.8, np.random.default_rng(seed))
    widest = max(
        Atoms(positions=new).get_angle(a.GetIdx(), center.GetIdx(), b.GetIdx())
        for center in ethanol.mol.GetAtoms()
        for a, b in combinations(center.GetNeighbors(), 2)
    )
    assert widest == pytest.approx(178.0, abs=1e-6)


def test_nothing_to_distort():
    rng = np.random.default_rng(0)
    hydrogen = embed(Molecule("hydrogen", "[H][H]"), 1)
    assert distortions.bend_angle(hydrogen.mol, hydrogen.positions, 1.1, rng) is None
    assert distortions.folded_contact(hydrogen.mol, hydrogen.positions, 1.0, 2.0, rng) is None
    methane = embed(Molecule("methane", "C"), 1)
    placed = distortions.hydrogen_bond(
        methane.numbers, methane.positions, methane.numbers, methane.positions, 2.0, rng
    )
    assert placed is None


@given(seed=st.integers(0, 1000))
def test_random_rotations_are_proper(seed):
    q = distortions.random_rotation(np.random.default_rng(seed))
    np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(q) == pytest.approx(1.0)


@given(distance=st.floats(0.9, 4.0), seed=st.integers(0, 1000))
def test_approach_reaches_the_distance_and_keeps_the_shape(ethanol, distance, seed):
    a = ethanol.positions
    b = distortions.approach(a, a, distance, np.random.default_rng(seed))
    assert distortions.min_distance(a, b) == pytest.approx(distance, abs=1e-3)
    np.testing.assert_allclose(distances(b), distances(a), atol=1e-9)


def test_hydrogen_bonds_have_donor_hydrogen_and_acceptor(ethanol):
    water = embed(Molecule("water", "O"), 1)
    rng = np.random.default_rng(0)
    placed = distortions.hydrogen_bond(
        ethanol.numbers, ethanol.positions, water.numbers, water.positions, 1.9, rng
    )
    contacts = np.linalg.norm(ethanol.positions[:, None] - placed[None], axis=-1)
    hydroxyl, oxygen = 8, 0
    assert contacts[hydroxyl, oxygen] == pytest.approx(1.9)
    contacts[hydroxyl, oxygen] = np.inf
    assert contacts.min() > 1.6


def test_folded_contacts_are_close_but_not_bonded():
    chain = embed(Molecule("glycol ether", "COCCOCCO"), 1)
    rng = np.random.default_rng(1)
    new = distortions.folded_contact(chain.mol, chain.positions, 1.0, 2.0, rng)
    np.testing.assert_allclose(
        bond_lengths(chain, new), bond_lengths(chain, chain.positions), atol=1e-9
    )
    from rdkit.Chem import GetDistanceMatrix

    far = GetDistanceMatrix(chain.mol) >= 4
    assert 1.0 <= distances(new)[far].min() <= 2.0


def test_all_kinds_appear_and_the_seed_decides():
    item = Item("molecule", "cyclohexanol", (CYCLOHEXANOL,), 60)
    first = list(sample(item, SamplingSettings(), np.random.default_rng(5)))
    again = list(sample(item, SamplingSettings(), np.random.default_rng(5)))
    other = list(sample(item, SamplingSettings(), np.random.default_rng(6)))
    assert len(first) == 60
    assert {s.kind for s in first} == {"md", "tmd", "rattle", "bond", "angle", "contact"}
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
        assert (a.kind, a.temperature_K) == (b.kind, b.temperature_K)
    assert not np.array_equal(first[0].positions, other[0].positions)
    assert all(len(s.numbers) == len(s.positions) for s in first)
    assert {s.temperature_K for s in first} == {0.0, 300.0, 500.0, 800.0, 1200.0}


def test_scans_cover_all_pairs_from_the_wall_outwards():
    settings = SamplingSettings()
    items = scan_items(settings, orientations=1)
    assert len({i.name for i in items if i.kind == "scan"}) == 36
    assert len({i.name for i in items if i.kind == "pair"}) == 36
    by_name = {i.name: i for i in items}
    rng = np.random.default_rng(0)
    scan = list(sample(by_name["scan:C-O"], settings, rng))
    r = [np.linalg.norm(s.positions[5] - s.positions[0]) for s in scan]
    assert [len(s.numbers) for s in scan] == [8] * settings.scan_points
    assert [(s.numbers[0], s.numbers[5]) for s in scan] == [(6, 8)] * settings.scan_points
    assert min(r) < 0.95
    assert max(r) > 4.8
    pair = list(sample(by_name["pair:H-H"], settings, rng))
    r = [np.linalg.norm(s.positions[1] - s.positions[0]) for s in pair]
    assert min(r) < 0.47
    assert max(r) < 2.6


def test_dimers_are_small_and_apart():
    rng = np.random.default_rng(0)
    pool = [ETHANOL, Molecule("water", "O"), Molecule("decane", "CCCCCCCCCC")]
    items = dimer_items(pool, 10, 4, rng)
    assert len(items) == 10
    assert not any("decane" in item.name for item in items)
    for item in items[:3]:
        for s in sample(item, SamplingSettings(), rng):
            assert s.kind == "dimer"
            assert len(s.numbers) == len(s.positions) <= 26
    assert dimer_items([Molecule("decane", "CCCCCCCCCC")], 5, 4, rng) == []


def test_weights_must_match_the_kinds():
    with pytest.raises(ConfigError, match="kind_weights needs one weight"):
        SamplingSettings(kind_weights=(1.0,))
