"""The MD loop: physics with ASE's own potentials, guards, files, reproducibility."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.io import read
from ase.md.verlet import VelocityVerlet

from mlff_md.errors import (
    ConfigError,
    MissingDependencyError,
    MlffError,
    SimulationError,
    StructureError,
)
from mlff_md.md import UnstableRunError, evaluate, relax, run_nve, run_nvt
from mlff_md.velocities import degrees_of_freedom, remove_rigid_motion, thermalize


class Springs(Calculator):
    """Every atom on its own spring; anything else on request."""

    implemented_properties = ("energy", "forces")

    def __init__(self, stiffness: float = 1.0, at_call: int = 0, action=None) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.stiffness, self.at_call, self.action = stiffness, at_call, action
        self.home: np.ndarray | None = None
        self.calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        if self.home is None:
            self.home = atoms.positions.copy()
        shift = atoms.positions - self.home
        self.results = {
            "energy": 0.5 * self.stiffness * float((shift**2).sum()),
            "forces": -self.stiffness * shift,
        }
        self.calls += 1
        if self.action is not None and self.calls > self.at_call:
            self.action(self.results)


@pytest.fixture
def copper() -> Atoms:
    return bulk("Cu", cubic=True)


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


@pytest.mark.parametrize(
    ("name", "expected"), [("H2O", 3), ("CO2", 4), ("N2", 1), ("CH3CH2OH", 21)]
)
def test_degrees_of_freedom_of_molecules(name: str, expected: int) -> None:
    atoms = molecule(name)
    thermalize(atoms, 300.0, np.random.default_rng(0))
    assert degrees_of_freedom(atoms) == expected
    assert degrees_of_freedom(atoms, conserves_momentum=False) == 3 * len(atoms)


def test_degrees_of_freedom_of_atoms_crystals_and_kept_motion(copper: Atoms) -> None:
    rng = np.random.default_rng(0)
    atom = Atoms("Ar")
    thermalize(atom, 300.0, rng)
    assert degrees_of_freedom(atom) == 0
    assert run_nve(atom, Springs(), steps=2).temperature_K.tolist() == [0.0, 0.0, 0.0]
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


def fill_forces(value: float):  # type: ignore[no-untyped-def]
    return lambda results: results["forces"].fill(value)


def set_energy(value: float):  # type: ignore[no-untyped-def]
    return lambda results: results.update(energy=value)


def fail(error: Exception):  # type: ignore[no-untyped-def]
    def action(results: object) -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (fill_forces(np.nan), "the forces are not finite"),
        (fill_forces(np.inf), "the forces are not finite"),
        (set_energy(np.nan), "the energy is not finite"),
        (fill_forces(20.0), "more than 10 times 300 K"),
        (fail(RuntimeError("SCF not converged\nlong log")), "the calculator failed (SCF not conv"),
    ],
)
def test_blown_up_run_stops_and_tells_the_step(copper: Atoms, action, told: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnstableRunError, match="step") as caught:
        run_nve(copper, Springs(at_call=8, action=action), steps=200)
    error = caught.value
    assert isinstance(error, SimulationError)
    assert told in str(error)
    assert "\n" not in str(error)
    assert f"at step {error.step} " in str(error)
    assert 8 <= error.step < 200
    assert len(error.run.time_fs) in (error.step, error.step + 1)
    assert np.isfinite(error.run.total_energy_eV).all()


def test_atom_that_jumps_stops_a_run_between_its_samples(copper: Atoms) -> None:
    with pytest.raises(UnstableRunError, match="in one step") as caught:
        run_nve(copper, Springs(at_call=8, action=fill_forces(1e5)), steps=200, sample_every=100)
    assert caught.value.step == 9


def test_calculator_that_fails_at_once_is_told_from_a_blow_up() -> None:
    with pytest.raises(UnstableRunError, match="step 0") as caught:
        run_nve(Atoms("U2", positions=[[0, 0, 0], [0, 0, 3]]), EMT(), steps=2)
    assert "smaller timestep" not in str(caught.value)
    assert "knows this chemistry" in str(caught.value)


OVERLAP = StructureError("atoms 1 and 2 overlap; remove the duplicate or mend the structure")


def test_structure_that_is_refused_at_the_start_keeps_its_own_line(copper: Atoms) -> None:
    for run in (run_nve, run_nvt):
        with pytest.raises(StructureError, match="overlap; remove the duplicate"):
            run(copper, Springs(action=fail(OVERLAP)), steps=10)
    for task in (evaluate, relax):
        with pytest.raises(StructureError, match="overlap; remove the duplicate"):
            task(copper, Springs(action=fail(OVERLAP)))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OVERLAP, "(atoms 1 and 2 overlap);"),
        (SimulationError("SCF not converged"), "(SCF not converged);"),
        (KeyError("charges"), "(KeyError: 'charges');"),
        (AttributeError("no module"), "(AttributeError: no module);"),
        (OSError("pipe closed\nlog"), "(OSError: pipe closed);"),
        (AssertionError(), "(AssertionError);"),
    ],
)
def test_any_failure_on_the_way_keeps_what_was_done(
    copper: Atoms, error: Exception, told: str
) -> None:
    with pytest.raises(UnstableRunError, match="stopped at step 3 ") as caught:
        run_nve(copper, Springs(at_call=3, action=fail(error)), steps=10)
    assert told in str(caught.value)
    assert "duplicate" not in str(caught.value)
    assert caught.value.step == 3
    assert len(caught.value.run.time_fs) == 3
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("kind", [ConfigError, MissingDependencyError])
def test_what_the_user_must_set_up_otherwise_is_no_blow_up(
    copper: Atoms, kind: type[MlffError]
) -> None:
    with pytest.raises(kind, match="run: pip install"):
        run_nve(copper, Springs(at_call=3, action=fail(kind("run: pip install x"))), steps=10)


def test_bug_in_a_calculator_keeps_its_traceback(copper: Atoms) -> None:
    with pytest.raises(AttributeError):
        run_nve(copper, Springs(action=fail(AttributeError("x"))), steps=10)


def test_structure_that_is_refused_while_relaxing_tells_so() -> None:
    atoms = molecule("H2O")
    calculator = EMT()
    genuine, calls = calculator.calculate, []

    def calculate(*args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) > 2:
            raise OVERLAP
        genuine(*args, **kwargs)

    calculator.calculate = calculate
    with pytest.raises(SimulationError, match=r"relaxing stopped: .*overlap") as caught:
        relax(atoms, calculator)
    assert "duplicate" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
@pytest.mark.parametrize(
    "action", [fail(OVERLAP), fail(RuntimeError("no")), fill_forces(np.nan), set_energy(np.nan)]
)
def test_run_that_cannot_start_leaves_trajectories_alone(
    copper: Atoms, tmp_path: Path, suffix: str, action
) -> None:  # type: ignore[no-untyped-def]
    old, new = tmp_path / f"old{suffix}", tmp_path / f"new{suffix}"
    old.write_bytes(b"worth keeping")
    for path in (old, new):
        with pytest.raises(MlffError):
            run_nve(copper, Springs(action=action), steps=10, trajectory=path)
    assert old.read_bytes() == b"worth keeping"
    assert not new.exists()


def test_name_of_a_trajectory_is_checked_before_anything_is_computed(
    copper: Atoms, tmp_path: Path
) -> None:
    calculator = Springs()
    with pytest.raises(ConfigError, match=r"run\.pdb"):
        run_nve(copper, calculator, trajectory=tmp_path / "run.pdb")
    assert calculator.calls == 0


def test_hot_start_may_be_cooled_and_a_cold_one_is_still_guarded(copper: Atoms) -> None:
    thermalize(copper, 3500.0, np.random.default_rng(0))
    run = run_nvt(copper, Springs(), steps=5, temperature_K=300.0, keep_velocities=True)
    assert run.temperature_K[0] > 10 * 150.0
    copper.set_momenta(20.0 * copper.get_momenta())
    with pytest.raises(UnstableRunError, match="more than 10 times") as caught:
        run_nvt(
            copper,
            Springs(at_call=2, action=fill_forces(4000.0)),
            temperature_K=300.0,
            keep_velocities=True,
            timestep_fs=0.05,
        )
    assert caught.value.step > 0


def test_unstable_run_closes_its_trajectory(copper: Atoms, tmp_path: Path) -> None:
    path = tmp_path / "run.traj"
    with pytest.raises(UnstableRunError):
        run_nve(
            copper,
            Springs(at_call=8, action=fill_forces(np.nan)),
            trajectory=path,
            trajectory_every=1,
        )
    assert len(read(path, ":")) == 8


def test_temperature_of_few_degrees_of_freedom_may_swing() -> None:
    atoms = molecule("N2")
    for seed in range(40):
        run_nve(atoms, Springs(0.0), steps=1, seed=seed)


def test_force_consistent_energy_is_the_one_that_is_kept(copper: Atoms) -> None:
    class Smeared(Springs):
        implemented_properties = ("energy", "free_energy", "forces")

        def calculate(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
            super().calculate(*args, **kwargs)
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
        relax(atoms, Springs(action=fill_forces(np.nan)))
