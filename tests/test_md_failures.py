"""MD that goes wrong: what a run tells, and what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import read
from springs import Spoil, Springs, fail, fill_forces, set_energy

from mlff_md.errors import (
    ConfigError,
    MissingDependencyError,
    MlffError,
    SimulationError,
    StructureError,
)
from mlff_md.md import UnstableRunError, evaluate, relax, run_nve, run_nvt
from mlff_md.velocities import thermalize

OVERLAP = StructureError("atoms 1 and 2 overlap; remove the duplicate or mend the structure")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (fill_forces(np.nan), "the forces are not finite"),
        (fill_forces(np.inf), "the forces are not finite"),
        (set_energy(np.nan), "the energy is not finite"),
        (fill_forces(20.0), "more than 10 times 300 K"),
        (fail(RuntimeError("SCF not converged\nlong log")), "the calculator failed (SCF not conv"),
    ],
)
def test_blown_up_run_stops_and_tells_the_step(copper: Atoms, spoil: Spoil, told: str) -> None:
    with pytest.raises(UnstableRunError, match="step") as caught:
        run_nve(copper, Springs(at_call=8, spoil=spoil), steps=200)
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
        run_nve(copper, Springs(at_call=8, spoil=fill_forces(1e5)), steps=200, sample_every=100)
    assert caught.value.step == 9


def test_calculator_that_fails_at_once_is_told_from_a_blow_up() -> None:
    with pytest.raises(UnstableRunError, match="step 0") as caught:
        run_nve(Atoms("U2", positions=[[0, 0, 0], [0, 0, 3]]), EMT(), steps=2)
    assert "smaller timestep" not in str(caught.value)
    assert "knows this chemistry" in str(caught.value)


def test_structure_that_is_refused_at_the_start_keeps_its_own_line(copper: Atoms) -> None:
    for run in (run_nve, run_nvt):
        with pytest.raises(StructureError, match="overlap; remove the duplicate"):
            run(copper, Springs(spoil=fail(OVERLAP)), steps=10)
    for task in (evaluate, relax):
        with pytest.raises(StructureError, match="overlap; remove the duplicate"):
            task(copper, Springs(spoil=fail(OVERLAP)))


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
        run_nve(copper, Springs(at_call=3, spoil=fail(error)), steps=10)
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
        run_nve(copper, Springs(at_call=3, spoil=fail(kind("run: pip install x"))), steps=10)


def test_bug_in_a_calculator_keeps_its_traceback(copper: Atoms) -> None:
    with pytest.raises(AttributeError):
        run_nve(copper, Springs(spoil=fail(AttributeError("x"))), steps=10)


def test_structure_that_is_refused_while_relaxing_tells_so() -> None:
    atoms = molecule("H2O")
    calculator = EMT()
    genuine, calls = calculator.calculate, []

    def calculate(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) > 2:
            raise OVERLAP
        genuine(*arguments, **options)

    calculator.calculate = calculate
    with pytest.raises(SimulationError, match=r"relaxing stopped: .*overlap") as caught:
        relax(atoms, calculator)
    assert "duplicate" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
@pytest.mark.parametrize(
    "spoil", [fail(OVERLAP), fail(RuntimeError("no")), fill_forces(np.nan), set_energy(np.nan)]
)
def test_run_that_cannot_start_leaves_trajectories_alone(
    copper: Atoms, tmp_path: Path, suffix: str, spoil: Spoil
) -> None:
    old, new = tmp_path / f"old{suffix}", tmp_path / f"new{suffix}"
    old.write_bytes(b"worth keeping")
    for path in (old, new):
        with pytest.raises(MlffError):
            run_nve(copper, Springs(spoil=spoil), steps=10, trajectory=path)
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
            Springs(at_call=2, spoil=fill_forces(4000.0)),
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
            Springs(at_call=8, spoil=fill_forces(np.nan)),
            trajectory=path,
            trajectory_every=1,
        )
    assert len(read(path, ":")) == 8


def test_temperature_of_few_degrees_of_freedom_may_swing() -> None:
    atoms = molecule("N2")
    for seed in range(40):
        run_nve(atoms, Springs(0.0), steps=1, seed=seed)


def test_a_name_is_no_calculator() -> None:
    with pytest.raises(ConfigError, match="'tiny' is no ASE calculator; a student's is"):
        run_nve(molecule("H2O"), "tiny", steps=1)
