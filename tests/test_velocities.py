"""Velocities: degrees of freedom, Maxwell-Boltzmann draws, rigid motion."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from springs import Springs

from mlff_md.md import run_nve
from mlff_md.velocities import degrees_of_freedom, remove_rigid_motion, thermalize


@pytest.mark.parametrize(
    ("name", "expected"), [("H2O", 3), ("CO2", 4), ("N2", 1), ("CH3CH2OH", 21)]
)
def test_degrees_of_freedom_of_molecules(name: str, expected: int) -> None:
    atoms = molecule(name)
    thermalize(atoms, 300.0, np.random.default_rng(0))
    assert degrees_of_freedom(atoms) == expected
    assert degrees_of_freedom(atoms, conserves_momentum=False) == 3 * len(atoms)


@pytest.mark.parametrize(("moved_A", "expected"), [(1e-4, 4), (1e-3, 4), (0.05, 3)])
def test_a_molecule_is_linear_when_relaxed_and_not_when_it_bends(
    moved_A: float, expected: int
) -> None:
    atoms = molecule("CO2")
    atoms.positions[0, 0] += moved_A
    thermalize(atoms, 300.0, np.random.default_rng(0))
    assert degrees_of_freedom(atoms) == expected


def test_degrees_of_freedom_of_atoms_crystals_and_kept_motion() -> None:
    rng = np.random.default_rng(0)
    atom = Atoms("Ar")
    thermalize(atom, 300.0, rng)
    assert degrees_of_freedom(atom) == 0
    assert run_nve(atom, Springs(), steps=2).temperature_K.tolist() == [0.0, 0.0, 0.0]
    copper = bulk("Cu", cubic=True)
    thermalize(copper, 300.0, rng)
    assert degrees_of_freedom(copper) == 9
    copper.set_momenta(copper.get_momenta() + 1.0)
    assert degrees_of_freedom(copper) == 12
    copper.set_constraint(FixAtoms([0]))
    assert degrees_of_freedom(copper) == 9


def test_thermalize_gives_each_degree_of_freedom_half_kT() -> None:
    rng = np.random.default_rng(0)
    temperatures = []
    for _ in range(400):
        atoms = molecule("CH3OH")
        thermalize(atoms, 300.0, rng)
        temperatures.append(2 * atoms.get_kinetic_energy() / units.kB / degrees_of_freedom(atoms))
    # 12 degrees of freedom: one draw scatters by 41 %, the mean of 400 by 2 %.
    assert np.mean(temperatures) == pytest.approx(300.0, rel=0.06)
    assert np.std(temperatures) == pytest.approx(300.0 * np.sqrt(2 / 12), rel=0.15)


@pytest.mark.parametrize("name", ["CO2", "H2O", "C6H6", "N2"])
def test_rigid_motion_is_removed_also_from_linear_molecules(name: str) -> None:
    atoms = molecule(name)
    atoms.rattle(1e-7, seed=0)
    rng = np.random.default_rng(2)
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)))
    before = atoms.get_kinetic_energy()
    remove_rigid_motion(atoms)
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12
    assert np.abs(atoms.get_angular_momentum()).max() < 1e-5
    assert atoms.get_kinetic_energy() <= before
