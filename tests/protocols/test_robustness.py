"""Pair scans and hot runs: sound force fields pass, holes and broken bonds are found."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.morse import MorsePotential

from mlff_md.errors import ConfigError
from mlff_md.protocols.bonds import find_bonds, stretches
from mlff_md.protocols.pair_scans import scan_pairs
from mlff_md.protocols.robustness import short_range_check, stability, stability_check
from tests.protocols.toys import ElasticNetwork


class Pairwise(Calculator):
    """A Morse well at the bond length, and what is added to it at a distance."""

    implemented_properties = ("energy", "forces")
    center_A, depth_eV, width_A = 0.0, 0.0, 0.05

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        morse = MorsePotential(epsilon=4.0, r0=1.5, rho0=3.0)
        copy = self.atoms.copy()
        energy = morse.get_potential_energy(copy)
        forces = morse.get_forces(copy)
        for i in range(len(copy)):
            for j in range(i + 1, len(copy)):
                vector = copy.positions[j] - copy.positions[i]
                distance = np.linalg.norm(vector)
                x = (distance - self.center_A) / self.width_A
                well = -self.depth_eV * np.exp(-0.5 * x**2)
                energy += well
                pull = well * x / self.width_A * vector / distance
                forces[j] += pull
                forces[i] -= pull
        self.results = {"energy": energy, "forces": forces}


class Hole(Pairwise):
    center_A, depth_eV = 0.7, 60.0


class LowWall(Calculator):
    """A parabola: no hole, but two atoms reach 0.4 Å for 1 eV."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        vector = self.atoms.positions[1] - self.atoms.positions[0]
        distance = np.linalg.norm(vector)
        forces = np.zeros((len(self.atoms), 3))
        forces[1] = -2.0 * (distance - 1.4) * vector / distance
        forces[0] = -forces[1]
        self.results = {"energy": (distance - 1.4) ** 2, "forces": forces}


def scan(calculator: Calculator, **options):
    return scan_pairs(calculator, ["C"], stop_A=4.0, step_A=0.02, molecules=False, **options)


def test_a_sound_pair() -> None:
    (found,) = scan(Pairwise())
    assert found.sound
    assert found.pair == "C-C"
    assert found.first_minimum_A == pytest.approx(1.5, abs=0.03)
    assert found.hole_A is None
    assert found.roughness_eV_per_A < 1e-2
    check = short_range_check([found])
    assert (check.verdict, check.value) == ("pass", 0.0)


def test_a_hole_is_found_and_named() -> None:
    (found,) = scan(Hole())
    assert not found.sound
    assert found.hole_A == pytest.approx(0.7, abs=0.05)
    check = short_range_check([found])
    assert check.verdict == "fail"
    assert "C-C (diatomic): hole at 0." in check.summary


def test_a_low_wall_is_found() -> None:
    (found,) = scan(LowWall())
    assert found.hole_A is None
    assert found.wall_eV == pytest.approx(1.0, abs=0.05)
    assert "wall 1" in short_range_check([found]).summary
    assert not found.sound


def test_a_step_in_the_energy_is_rough() -> None:
    class Step(Pairwise):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            apart = np.linalg.norm(self.atoms.positions[1] - self.atoms.positions[0])
            self.results["energy"] += 0.01 * (apart > 3.001)

    smooth, rough = scan(Pairwise())[0], scan(Step())[0]
    # 0.01 eV over two steps of 0.02 Å.
    assert rough.roughness_eV_per_A == pytest.approx(0.25, abs=0.02)
    assert smooth.roughness_eV_per_A < 0.01


def test_molecules_of_the_scans_are_closed_shells() -> None:
    scans = scan_pairs(LowWall(), ["H", "C", "N", "Cl"], stop_A=1.0, step_A=0.3)
    contexts = {scan.pair: scan.context for scan in scans if scan.context != "diatomic"}
    assert contexts == {
        "H-C": "CH4",
        "H-N": "H3N",
        "C-C": "C2H6",
        "C-N": "CH5N",
        "C-Cl": "CH3Cl",
        "N-N": "H4N2",
        "N-Cl": "H2ClN",
    }
    assert len(scans) == 10 + 7


def test_bad_distances_are_refused() -> None:
    with pytest.raises(ConfigError, match="a scan needs"):
        scan_pairs(LowWall(), ["C"], start_A=2.0, stop_A=1.0)


def test_bonds_and_stretches() -> None:
    ethanol = molecule("CH3CH2OH")
    bonds = find_bonds(ethanol)
    assert len(bonds.pairs) == 8
    moved = ethanol.positions.copy()
    moved[8] += 3.0
    longer = stretches(bonds, [ethanol.positions, moved])
    assert longer.shape == (2, 8)
    assert np.abs(longer[0]).max() == 0.0
    assert (longer[1] > 0.5).sum() == 1


HOT = {"steps": 200, "timestep_fs": 0.5, "temperature_K": 600.0}


def test_a_molecule_that_stays_whole() -> None:
    ethanol = molecule("CH3CH2OH")
    ethanol.info["name"] = "ethanol"
    (run,) = stability([ethanol], ElasticNetwork(ethanol), **HOT)
    assert run.survived
    assert (run.name, run.steps_done, run.broken, run.frame) == ("ethanol", 200, None, None)
    assert 0.0 < run.longest_stretch_A < 0.5
    check = stability_check([run])
    assert (check.verdict, check.value) == ("pass", 100.0)


class Weak(Calculator):
    """A bond of 0.02 eV: gone at 600 K."""

    implemented_properties = ("energy", "forces")
    depth_eV = 0.02

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        morse = MorsePotential(epsilon=self.depth_eV, r0=0.75, rho0=3.0)
        copy = self.atoms.copy()
        self.results = {
            "energy": morse.get_potential_energy(copy),
            "forces": morse.get_forces(copy),
        }


class Strong(Weak):
    depth_eV = 4.0


def test_a_broken_bond_is_named_and_the_teacher_is_asked() -> None:
    hydrogen = Atoms("H2", [[0, 0, 0], [0, 0, 0.75]])
    (run,) = stability([hydrogen], Weak(), steps=1000, teacher=Strong())
    assert run.broken is not None
    assert run.broken.startswith("H0-H1 at step ")
    assert len(run.frame) == 2
    assert run.student_cost_eV < 0.03
    assert run.teacher_cost_eV > 2.0
    assert not run.survived
    check = stability_check([run])
    assert check.verdict == "fail"
    assert "H0-H1" in check.summary
    (same,) = stability([hydrogen], Weak(), steps=1000, teacher=Weak())
    assert same.broken == run.broken
    assert same.survived
    assert "1 broke as the teacher would have it" in stability_check([same]).summary


class Explodes(Strong):
    calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        type(self).calls += 1
        if type(self).calls > 100:
            self.results["forces"] = np.full((2, 3), np.nan)


def test_a_run_that_blows_up_is_a_result() -> None:
    hydrogen = Atoms("H2", [[0, 0, 0], [0, 0, 0.75]])
    (run,) = stability([hydrogen], Explodes(), steps=500)
    assert run.steps_done < 500
    assert "not finite" in run.error
    assert not run.survived
    assert stability_check([run]).verdict == "fail"
