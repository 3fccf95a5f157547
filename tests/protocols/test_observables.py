"""Observables against closed forms, scipy, and structures whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from mlff_md.errors import DataError
from mlff_md.protocols.observables.bands import BandShift
from mlff_md.protocols.observables.distributions import (
    Internal,
    PairDistances,
    internal_coordinates,
    jensen_shannon,
)
from mlff_md.protocols.observables.frames import Frames, read_frames, write_frames
from mlff_md.protocols.observables.motion import Displacement, Fluctuations
from mlff_md.protocols.observables.radial import RadialDistribution
from mlff_md.protocols.observables.selection import observables_for
from mlff_md.protocols.observables.spectra import VelocityCorrelation, VibrationalSpectrum
from mlff_md.protocols.observables.topology import find_topology
from mlff_md.structures import read_structure
from mlff_md.units import LIGHT_SPEED_CM_PER_FS

STRUCTURES = Path(__file__).parents[2] / "inputs" / "structures"


def frames_of(atoms: Atoms, positions: np.ndarray, velocities: np.ndarray | None = None) -> Frames:
    count = len(positions)
    still = np.zeros_like(positions)
    return Frames(
        atoms=atoms,
        time_fs=2.0 * np.arange(count),
        positions_A=positions,
        velocities_A_per_fs=still if velocities is None else velocities,
        forces_eV_per_A=still,
        potential_energy_eV=np.zeros(count),
        steps_planned=2 * (count - 1),
        steps_done=2 * (count - 1),
    )


def noisy(atoms: Atoms, count: int, width: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return atoms.positions + width * rng.normal(size=(count, len(atoms), 3))


# ---- topology


def test_internal_coordinates_of_ethanol() -> None:
    atoms = molecule("CH3CH2OH")
    found = find_topology(atoms)
    assert len(found.bonds) == 8
    assert len(found.angles) == 13
    assert len(found.dihedrals) == 12
    # The three hydrogens of the methyl group are alike, and so are the two beside the oxygen.
    hydrogens = [found.kinds[k] for k in range(9) if atoms.symbols[k] == "H"]
    assert sorted(np.unique(hydrogens, return_counts=True)[1]) == [1, 2, 3]
    assert len(found.groups(found.bonds)) == 5
    assert len(found.groups(found.dihedrals)) == 2
    assert not found.offsets_A.any()


def test_molecules_are_made_whole_across_the_cell() -> None:
    water = read_structure(STRUCTURES / "water-box-64.xyz")
    water.wrap()
    found = find_topology(water)
    assert len(found.bonds) == 128
    assert len(found.angles) == 64
    whole = water.positions + found.offsets_A
    lengths = np.linalg.norm(whole[found.bonds[:, 0]] - whole[found.bonds[:, 1]], axis=1)
    assert 0.85 < lengths.min() < lengths.max() < 1.15
    assert found.offsets_A.any()
    assert len(found.groups(found.bonds)) == 1


@pytest.mark.parametrize(
    "atoms",
    [bulk("Si", cubic=True), bulk("Cu", cubic=True) * (2, 2, 2), bulk("NaCl", "rocksalt", a=5.64)],
    ids=["network", "metal", "salt"],
)
def test_crystals_have_no_bonds_that_could_break(atoms: Atoms) -> None:
    found = find_topology(atoms)
    assert len(found.bonds) == len(found.angles) == len(found.dihedrals) == 0


def test_metal_clusters_and_noble_gases_have_no_bonds() -> None:
    cluster = Atoms("Cu4", [[0, 0, 0], [2.3, 0, 0], [0, 2.3, 0], [0, 0, 2.3]])
    assert len(find_topology(cluster).bonds) == 0
    assert len(find_topology(read_structure(STRUCTURES / "argon-liquid-108.xyz")).bonds) == 0


def test_no_torsion_about_a_straight_angle() -> None:
    assert len(find_topology(molecule("C2H2")).dihedrals) == 0
    assert len(find_topology(molecule("C2H4")).dihedrals) == 4
    for bend, torsions in ((10.0, 0), (20.0, 1)):
        bent = molecule("C2H2")
        for center, hydrogen in ((0, 2), (1, 3)):
            if bent.get_distance(center, hydrogen) > 1.3:
                center = 1 - center
            turned = bent[[center, hydrogen]]
            turned.rotate(bend, "x", center=turned.positions[0])
            bent.positions[hydrogen] = turned.positions[1]
        assert len(find_topology(bent).dihedrals) == torsions


# ---- distributions


def internal(atoms: Atoms, id: str) -> Internal:
    return next(item for item in internal_coordinates(atoms) if item.id == id)


def test_bond_distance_is_scipys() -> None:
    atoms = Atoms("N2", [[0, 0, 0], [1.1, 0, 0]])
    bonds = internal(atoms, "bonds")
    first, second = noisy(atoms, 4000, 0.02, 0), noisy(atoms, 4000, 0.03, 1)
    second[:, 1, 0] += 0.05
    lengths = [np.linalg.norm(x[:, 0] - x[:, 1], axis=1) for x in (first, second)]
    arrays = [bonds.measure(frames_of(atoms, x)) for x in (first, second)]
    expected = wasserstein_distance(*lengths)
    assert bonds.size(arrays[0] - arrays[1]) == pytest.approx(expected, abs=1e-4)
    counts = [np.histogram(x, bonds.edges[:: bonds.merge] + 1.1)[0] for x in lengths]
    divergence = jensen_shannon(arrays[0], arrays[1], bonds.merge)
    assert divergence[0] == pytest.approx(jensenshannon(*counts, base=2) ** 2, abs=1e-3)


def test_dihedrals_are_compared_on_the_circle() -> None:
    """Turning a group from 175 to -175 degrees is a turn by 10 degrees, not by 350."""
    atoms = molecule("H2O2")
    dihedrals = internal(atoms, "dihedrals")
    first, last = (int(k) for k in dihedrals.groups[0][0][[0, 3]])
    order = [int(k) for k in dihedrals.groups[0][0]]

    def turned(angle: float) -> np.ndarray:
        copy = atoms.copy()
        copy.set_dihedral(*order, angle, indices=[last])
        return dihedrals.measure(frames_of(atoms, copy.positions[None]))

    for one, two, expected in ((175.4, 185.4, 10.0), (20.2, 110.2, 90.0), (0.5, 180.4, 180.0)):
        assert dihedrals.size(turned(one) - turned(two)) == pytest.approx(expected, abs=1.5)
    assert first != last


def test_a_methyl_group_may_jump() -> None:
    """Exchanging atoms that are alike changes no distribution."""
    atoms = molecule("CH3CH2OH")
    positions = noisy(atoms, 50, 0.05, 2)
    kinds = find_topology(atoms).kinds
    methyl = [k for k in range(9) if np.sum(kinds == kinds[k]) == 3]
    jumped = positions.copy()
    jumped[:, methyl] = positions[:, [methyl[1], methyl[2], methyl[0]]]
    for item in internal_coordinates(atoms):
        before, after = (item.measure(frames_of(atoms, x)) for x in (positions, jumped))
        assert np.allclose(before, after, atol=1e-12), item.id


def test_pair_distances() -> None:
    atoms = molecule("CH4")
    distances = PairDistances(atoms)
    one = distances.measure(frames_of(atoms, noisy(atoms, 300, 0.02, 3)))
    assert np.sum(one) * 0.05 == pytest.approx(1.0)
    far = atoms.positions * 1.9
    two = distances.measure(frames_of(atoms, np.repeat(far[None], 10, axis=0)))
    assert distances.size(one - two) == pytest.approx(2.0, abs=0.02)
    assert distances.size(one - one) == 0.0


# ---- periodic


def test_neighbors_of_a_crystal_are_counted() -> None:
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    radial = RadialDistribution(atoms)
    g = radial.measure(frames_of(atoms, noisy(atoms, 20, 0.03, 4)))
    density = len(atoms) / atoms.get_volume()
    shell = (radial.centers > 2.2) & (radial.centers < 3.0)
    neighbors = np.sum(4.0 * np.pi * radial.centers**2 * density * g[0] * 0.05 * shell)
    assert neighbors == pytest.approx(12.0, rel=0.01)
    assert g[0][radial.centers < 2.0].max() == 0.0


def test_distances_go_up_to_half_the_thinnest_part_of_a_skewed_cell() -> None:
    """Four layers of the close-packed planes of copper, each a / sqrt(3) apart."""
    assert RadialDistribution(bulk("Cu", a=3.6) * 4).reach_A == pytest.approx(7.2 / np.sqrt(3.0))
    assert RadialDistribution(bulk("Cu", a=3.6, cubic=True) * 9).reach_A == 8.0


@pytest.mark.parametrize("left_handed", [False, True])
def test_radial_distribution_does_not_depend_on_how_the_cell_stands(left_handed: bool) -> None:
    atoms = bulk("Cu") * (4, 4, 4)
    positions = noisy(atoms, 3, 0.05, 5)
    turned = atoms.copy()
    turn = np.linalg.qr(np.random.default_rng(6).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn)) * (-1.0 if left_handed else 1.0)
    turned.set_cell(atoms.cell.array @ turn, scale_atoms=False)
    radial = RadialDistribution(atoms)
    one = radial.measure(frames_of(atoms, positions))
    two = RadialDistribution(turned).measure(frames_of(turned, positions @ turn))
    # Single precision moves a distance from one bin to the next now and then.
    assert radial.size(one - two) < 2e-3 * one.mean()
    assert radial.integral(one - two) < 0.02


def test_displacement_of_a_walk_gives_its_diffusion() -> None:
    rng = np.random.default_rng(7)
    atoms = bulk("Ar", cubic=True, a=5.3) * (3, 3, 3)
    step = 0.05
    walk = atoms.positions + np.cumsum(step * rng.normal(size=(400, len(atoms), 3)), axis=0)
    displacement = Displacement(400, 2.0)
    msd = displacement.measure(frames_of(atoms, walk))
    assert msd[0] == 0.0
    # 3 step^2 per frame; 2 fs a frame.
    expected = step**2 / 2.0 * 1e3 / 2.0
    assert displacement.diffusion_A2_per_ps(msd) == pytest.approx(expected, rel=0.1)
    short = displacement.measure(frames_of(atoms, walk[:100]))
    assert short.shape == msd.shape


# ---- molecules in motion


def test_turning_is_no_fluctuation() -> None:
    atoms = molecule("CH3CH2OH")
    turned = []
    for angle in np.linspace(0.0, 300.0, 40):
        copy = atoms.copy()
        copy.rotate(angle, (1, 2, 3), center="COM")
        copy.translate((0.01 * angle, 0, 0))
        turned.append(copy.positions)
    found = Fluctuations(atoms).measure(frames_of(atoms, np.array(turned)))
    assert found.max() < 1e-4
    shaken = Fluctuations(atoms).measure(frames_of(atoms, noisy(atoms, 500, 0.05, 8)))
    # Superposition takes six of 27 degrees of freedom away.
    assert np.sqrt(np.mean(shaken**2)) == pytest.approx(0.05 * np.sqrt(3 * 21 / 27), rel=0.03)


def verlet(wavenumbers: list[float], dt: float, every: int, count: int) -> np.ndarray:
    """Velocities of independent oscillators, integrated with velocity Verlet."""
    omega = 2.0 * np.pi * LIGHT_SPEED_CM_PER_FS * np.array(wavenumbers)
    x, v = np.ones(len(omega)), np.zeros(len(omega))
    rows = []
    for step in range(count * every):
        if step % every == 0:
            rows.append(v.copy())
        v = v - 0.5 * dt * omega**2 * x
        x = x + dt * v
        v = v - 0.5 * dt * omega**2 * x
    return np.array(rows)


def spectrum_of(wavenumbers: list[float], dt: float) -> tuple[VibrationalSpectrum, np.ndarray]:
    every, count = 2, 400
    velocities = verlet(wavenumbers, dt, every, count) / np.array(wavenumbers)
    atoms = Atoms(f"H{len(wavenumbers)}", np.eye(3)[: len(wavenumbers)])
    full = np.zeros((count, len(atoms), 3))
    full[:, :, 0] = velocities
    spectrum = VibrationalSpectrum(count, every * dt, dt)
    return spectrum, spectrum.measure(frames_of(atoms, np.zeros_like(full), full))


@pytest.mark.parametrize("dt", [0.25, 1.0])
def test_bands_stand_where_they_are_whatever_the_time_step(dt: float) -> None:
    for wavenumber in (1200.0, 3200.0):
        spectrum, cumulative = spectrum_of([wavenumber], dt)
        density = spectrum.density(cumulative)
        assert spectrum.wavenumbers[density.argmax()] == pytest.approx(wavenumber, abs=12)
        assert np.sum(density * spectrum.spacing) == pytest.approx(1.0)
        assert cumulative[-1] == pytest.approx(1.0)


def test_shift_of_bands_does_not_see_heights() -> None:
    spectrum, shared = spectrum_of([1000.0, 3000.0], 1.0)
    _, stiffer = spectrum_of([1010.0, 3030.0], 1.0)
    shift = BandShift(spectrum, shared)
    assert list(shift.bands) == ["fingerprint (600 to 2000)", "X-H stretch (2000 to 4500)"]
    # Other heights in the same places, as other starts give them.
    _, one = spectrum_of([1000.0], 1.0)
    _, other = spectrum_of([3000.0], 1.0)
    mixed = 0.2 * one + 0.8 * other
    rows = shift.measure_spectra(np.array([shared, stiffer, mixed]))
    assert rows[0] == pytest.approx([0.0, 0.0], abs=0.2)
    assert rows[1] == pytest.approx([10.0, 30.0], rel=0.1)
    assert rows[2] == pytest.approx([0.0, 0.0], abs=0.5)
    assert shift.size(rows[1] - rows[0]) == pytest.approx(30.0, rel=0.1)
    # Far less than a step of the grid of scales.
    _, hardly = spectrum_of([1000.0, 3000.25], 1.0)
    assert shift.measure_spectra(hardly[None])[0, 1] == pytest.approx(0.25, rel=0.2)
    assert spectrum.overlap(shared, shared) == pytest.approx(1.0)
    assert spectrum.size(stiffer - shared) == pytest.approx(20.0, rel=0.3)


def test_soft_spectra_are_shifted_in_percent() -> None:
    spectrum, shared = spectrum_of([200.0, 400.0], 1.0)
    shift = BandShift(spectrum, shared)
    assert shift.soft
    _, stiffer = spectrum_of([206.0, 412.0], 1.0)
    assert shift.measure_spectra(stiffer[None])[0] == pytest.approx([3.0], abs=0.3)


def test_velocity_autocorrelation_is_a_cosine() -> None:
    velocities = np.zeros((2000, 1, 3))
    velocities[:, 0, 0] = np.cos(2.0 * np.pi * np.arange(2000) / 20.0)
    atoms = Atoms("H", [[0, 0, 0]])
    found = VelocityCorrelation(2000, 2.0)
    series = found.measure(frames_of(atoms, np.zeros_like(velocities), velocities))
    assert found.times_fs[-1] <= 200.0
    assert series == pytest.approx(np.cos(2.0 * np.pi * found.times_fs / 40.0), abs=0.02)


# ---- the list, and the files


def test_which_observables_a_structure_has() -> None:
    def ids(atoms: Atoms) -> list[str]:
        return [item.id for item in observables_for(atoms, 100, 2.0, 1.0)]

    vibrations = ["vibrational_dos", "vacf"]
    shape = ["pair_distances", "rmsf"]
    assert ids(molecule("CH3CH2OH")) == ["bonds", "angles", "dihedrals", *shape, *vibrations]
    assert ids(molecule("N2")) == ["bonds", *shape, *vibrations]
    assert ids(bulk("Cu", cubic=True)) == ["rdf", *vibrations, "msd"]
    water = read_structure(STRUCTURES / "water-box-64.xyz")
    assert ids(water) == ["bonds", "angles", "rdf", *vibrations, "msd"]
    slab = bulk("Cu", cubic=True)
    slab.pbc = (True, True, False)
    assert ids(slab) == [*vibrations, "msd"]


def test_frames_come_back_from_their_file(tmp_path: Path) -> None:
    atoms = molecule("CH4")
    frames = frames_of(atoms, noisy(atoms, 7, 0.1, 9), 1e-2 * noisy(atoms, 7, 0.1, 10))
    write_frames(tmp_path / "a.npz", frames)
    back = read_frames(tmp_path / "a.npz")
    assert np.array_equal(back.positions_A, frames.positions_A)
    assert np.allclose(back.velocities_A_per_fs, frames.velocities_A_per_fs, rtol=1e-6)
    assert back.error is None
    assert len(back.select(slice(0, 3))) == 3
    structure = back.structure(2)
    assert structure.get_kinetic_energy() > 0.0
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:500])
    with pytest.raises(DataError, match="damaged"):
        read_frames(tmp_path / "a.npz")
    with pytest.raises(DataError, match="missing"):
        read_frames(tmp_path / "b.npz")
