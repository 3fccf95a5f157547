"""The MD loop: physics with ASE's own potentials, files, reproducibility, options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.io import read
from ase.md.verlet import VelocityVerlet
from springs import Springs, fill_forces

from mlff_md.errors import ConfigError, SimulationError, StructureError
from mlff_md.md import evaluate, relax, run_nve, run_nvt
from mlff_md.velocities import thermalize


def lennard_jones() -> LennardJones:
    return LennardJones(sigma=3.405, epsilon=0.010323, rc=7.0, smooth=True)


def test_nve_conserves_energy_to_second_order_in_the_time_step(copper: Atoms) -> None:
    copper.rattle(0.02, seed=0)
    spread = []
    for timestep_fs, steps in ((4.0, 150), (2.0, 300)):
        run = run_nve(copper, EMT(), steps=steps, timestep_fs=timestep_fs, seed=1)
        spread.append(np.std(run.total_energy_eV))
    assert spread[1] < 0.002
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.25)


def test_nve_is_ases_velocity_verlet_to_the_last_bit() -> None:
    atoms = molecule("H2O")
    thermalize(atoms, 300.0, np.random.default_rng(5))
    run = run_nve(atoms, EMT(), steps=20, temperature_K=None)
    reference = atoms.copy()
    reference.calc = EMT()
    VelocityVerlet(reference, 0.5 * units.fs).run(20)
    # Time units agree to rounding only: ASE's own is computed in another order.
    assert np.allclose(run.atoms.positions, reference.positions, rtol=0, atol=1e-12)
    assert run.total_energy_eV[-1] == pytest.approx(reference.get_total_energy(), abs=1e-11)


def test_lennard_jones_cluster_keeps_momentum_and_angular_momentum() -> None:
    atoms = bulk("Ar", "fcc", a=5.4, cubic=True)
    atoms.pbc = False
    run = run_nve(atoms, lennard_jones(), steps=150, timestep_fs=5.0, temperature_K=20.0)
    assert np.abs(run.momentum_u_A_per_fs).max() < 1e-14
    assert np.abs(run.angular_momentum_u_A2_per_fs).max() < 1e-12
    assert np.ptp(run.total_energy_eV) < 1e-5
    assert np.ptp(run.kinetic_energy_eV) > 1e-4


def test_angular_momentum_is_about_the_center_of_mass() -> None:
    atoms = molecule("H2O")
    atoms.positions += 50.0
    rng = np.random.default_rng(1)
    atoms.set_momenta(rng.standard_normal((3, 3)))
    run = run_nve(atoms, EMT(), steps=0, temperature_K=None)
    arms = atoms.positions - atoms.get_center_of_mass()
    expected = np.cross(arms, atoms.get_momenta()).sum(axis=0) * units.fs
    assert run.angular_momentum_u_A2_per_fs[0] == pytest.approx(expected, abs=1e-10)


def test_seed_decides_everything(copper: Atoms) -> None:
    runs = [run_nvt(copper, EMT(), steps=10, seed=seed) for seed in (3, 3, 4)]
    assert np.array_equal(runs[0].atoms.positions, runs[1].atoms.positions)
    assert not np.array_equal(runs[0].atoms.positions, runs[2].atoms.positions)


def test_caller_keeps_its_atoms_and_the_global_generator_its_state(copper: Atoms) -> None:
    before = copper.copy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    run_nvt(copper, EMT(), steps=5)
    assert np.array_equal(copper.positions, before.positions)
    assert "momenta" not in copper.arrays
    assert copper.calc is None
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_run_continues_from_its_last_atoms(copper: Atoms) -> None:
    calculator = Springs()
    whole = run_nve(copper, calculator, steps=20, seed=2)
    first = run_nve(copper, calculator, steps=10, seed=2)
    second = run_nve(first.atoms, calculator, steps=10, temperature_K=None)
    assert np.array_equal(whole.atoms.positions, second.atoms.positions)
    assert np.array_equal(whole.atoms.get_momenta(), second.atoms.get_momenta())


def test_langevin_reaches_its_temperature() -> None:
    atoms = Atoms("Ar40", positions=np.random.default_rng(0).random((40, 3)) * 30.0)
    run = run_nvt(
        atoms, Springs(1.0), steps=1500, timestep_fs=4.0, temperature_K=200.0, friction_per_ps=20.0
    )
    assert run.degrees_of_freedom == 120
    # 120 degrees of freedom, some 60 independent samples: the error is 2 %.
    assert run.temperature_K[300:].mean() == pytest.approx(200.0, rel=0.08)


def test_sampling_interval_and_float64(copper: Atoms) -> None:
    copper.rattle(0.02, seed=0)
    fine = run_nve(copper, EMT(), steps=12)
    coarse = run_nve(copper, EMT(), steps=12, sample_every=5)
    assert coarse.time_fs.tolist() == [0.0, 2.5, 5.0]
    assert np.array_equal(coarse.potential_energy_eV, fine.potential_energy_eV[[0, 5, 10]])
    assert fine.potential_energy_eV.dtype == np.float64


def test_force_power_is_that_of_the_forces(copper: Atoms) -> None:
    copper.rattle(0.05, seed=0)
    run = run_nve(copper, EMT(), steps=0)
    _, forces = evaluate(copper, EMT())
    expected = float((forces**2).sum() / copper.get_masses()[0]) * units.fs**2
    assert run.force_power_eV_per_fs2[0] == pytest.approx(expected)


@pytest.mark.parametrize("suffix", [".traj", ".extxyz", ".xyz"])
def test_trajectory_can_be_read_back(copper: Atoms, tmp_path: Path, suffix: str) -> None:
    copper.rattle(0.02, seed=0)
    path = tmp_path / f"run{suffix}"
    run = run_nve(copper, EMT(), steps=10, trajectory=path, trajectory_every=5)
    frames = read(path, ":")
    assert len(frames) == 3
    energies = [frame.get_potential_energy() for frame in frames]
    assert energies == pytest.approx(run.potential_energy_eV[::5], abs=1e-8)
    assert frames[2].positions == pytest.approx(run.atoms.positions, abs=1e-7)
    assert frames[2].get_momenta() == pytest.approx(run.atoms.get_momenta(), abs=1e-6)
    assert frames[1].get_forces().shape == (4, 3)
    assert frames[1].info["step"] == 5
    assert frames[1].info["time_fs"] == 2.5


def test_force_consistent_energy_is_the_one_that_is_kept(copper: Atoms) -> None:
    class Smeared(Springs):
        implemented_properties = ("energy", "free_energy", "forces")

        def calculate(self, *arguments: Any, **options: Any) -> None:
            super().calculate(*arguments, **options)
            self.results["free_energy"] = self.results["energy"]
            self.results["energy"] = 99.0

    assert run_nve(copper, Smeared(), steps=2).potential_energy_eV[0] == 0.0


def test_one_evaluation_per_step(copper: Atoms) -> None:
    calculator = Springs()
    run_nve(copper, calculator, steps=10)
    assert calculator.calls == 11


@pytest.mark.parametrize(
    "options",
    [
        {"steps": -1},
        {"timestep_fs": 0.0},
        {"timestep_fs": float("nan")},
        {"temperature_K": -1.0},
        {"temperature_K": float("nan")},
        {"sample_every": 0},
        {"seed": -1},
        {"trajectory": "run.pdb"},
        {"trajectory": "no/such/folder/run.traj"},
        {"trajectory": "no/such/folder/run.xyz"},
    ],
)
def test_bad_options_are_refused(copper: Atoms, tmp_path: Path, options: dict) -> None:
    if "trajectory" in options:
        options = {"trajectory": tmp_path / options["trajectory"]}
    with pytest.raises(ConfigError) as caught:
        run_nve(copper, EMT(), **options)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_run_is_refused(copper: Atoms) -> None:
    with pytest.raises(ConfigError, match="no calculator"):
        run_nve(copper)
    with pytest.raises(ConfigError, match="friction"):
        run_nvt(copper, EMT(), friction_per_ps=0.0)
    with pytest.raises(ConfigError, match="seed must not be negative, got -3"):
        run_nvt(copper, EMT(), seed=-3)
    with pytest.raises(StructureError, match="no atoms"):
        run_nve(Atoms(), EMT())
    with pytest.raises(StructureError, match="without mass"):
        run_nve(Atoms("Cu", masses=[0.0]), EMT())
    broken = copper.copy()
    broken.positions[0, 0] = np.nan
    with pytest.raises(StructureError, match="not finite"):
        run_nve(broken, EMT())
    with pytest.raises(SimulationError, match="first evaluation stopped"):
        evaluate(Atoms("U"), EMT())


def test_relax_goes_downhill_and_leaves_the_caller_alone() -> None:
    atoms = molecule("H2O")
    atoms.rattle(0.1, seed=0)
    before = atoms.positions.copy()
    relaxed = relax(atoms, EMT(), fmax_eV_per_A=0.01)
    assert np.linalg.norm(evaluate(relaxed, EMT())[1], axis=1).max() <= 0.01
    assert evaluate(relaxed, EMT())[0] < evaluate(atoms, EMT())[0]
    assert np.array_equal(atoms.positions, before)
    with pytest.raises(SimulationError, match="not finite"):
        relax(atoms, Springs(spoil=fill_forces(np.nan)))
