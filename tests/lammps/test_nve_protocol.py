"""The NVE protocol with LAMMPS as the integrator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlff_md import MlffError, StudentForceFieldCalculator, read_structure, run_nve, validate_nve
from mlff_md.errors import ConfigError, SimulationError
from mlff_md.lammps.launcher import choose_build
from mlff_md.protocols.nve_lammps import lammps_runs
from mlff_md.teachers import teacher
from mlff_md.velocities import thermalize

pytestmark = pytest.mark.lammps

INPUTS = Path(__file__).parents[2] / "inputs" / "structures"
SERIES = {
    "potential_energy_eV": 1e-5,
    "kinetic_energy_eV": 1e-5,
    "momentum_u_A_per_fs": 1e-12,
    "force_power_eV_per_fs2": 1e-5,
}


@pytest.fixture(params=["lammps:mlff", "lammps:python"])
def md(request: pytest.FixtureRequest) -> str:
    try:
        choose_build(frozenset({request.param.partition(":")[2]}))
    except MlffError as error:
        pytest.skip(str(error))
    return str(request.param)


def test_runs_like_ase(md: str) -> None:
    atoms = read_structure(INPUTS / "ethanol.xyz")
    thermalize(atoms, 300.0, np.random.default_rng(0))
    calculator = StudentForceFieldCalculator("ultra-tiny")
    options = {"steps": 100, "timestep_fs": 0.5, "temperature_K": None}
    ours = lammps_runs(calculator, md)(atoms, **options)
    ase = run_nve(atoms, calculator, **options)
    assert np.array_equal(ours.time_fs, ase.time_fs)
    for name, tolerance in SERIES.items():
        assert np.abs(getattr(ours, name) - getattr(ase, name)).max() < tolerance, name
    angular = ours.angular_momentum_u_A2_per_fs - ase.angular_momentum_u_A2_per_fs
    assert np.abs(angular).max() < 1e-6
    assert np.abs(ours.atoms.positions - ase.atoms.positions).max() < 1e-5
    assert np.abs(ours.atoms.get_velocities() - ase.atoms.get_velocities()).max() < 1e-5
    assert ours.degrees_of_freedom == ase.degrees_of_freedom


def test_comes_back_in_the_frame_of_the_structure(md: str) -> None:
    """LAMMPS turns the cell; a second run starts from what the first one gives back."""
    atoms = read_structure(INPUTS / "water-box-64.xyz")
    rng = np.random.default_rng(1)
    atoms.set_cell(atoms.cell.array + rng.normal(size=(3, 3)) * 0.3, scale_atoms=True)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    atoms.set_cell(atoms.cell.array @ turn, scale_atoms=True)
    thermalize(atoms, 300.0, rng)
    calculator = StudentForceFieldCalculator("ultra-tiny")
    options = {"steps": 20, "timestep_fs": 0.5, "temperature_K": None}
    runs = lammps_runs(calculator, md)
    ours = runs(runs(atoms, **options).atoms, **options)
    ase = run_nve(run_nve(atoms, calculator, **options).atoms, calculator, **options)
    assert np.abs(ours.atoms.positions - ase.atoms.positions).max() < 1e-5
    assert abs(ours.total_energy_eV[-1] - ase.total_energy_eV[-1]) < 1e-3


def test_the_protocol(md: str, tmp_path: Path) -> None:
    atoms = read_structure(INPUTS / "ethanol.xyz")
    report = validate_nve(
        atoms,
        StudentForceFieldCalculator("ultra-tiny"),
        out=tmp_path,
        mode="quick",
        md=md,
        static=False,
    )
    assert "LAMMPS" in report.title
    verdicts = {check.id: check.verdict for check in report.checks}
    assert {"drift", "dt_order", "reversibility", "momentum"} < verdicts.keys()
    assert set(verdicts.values()) == {"pass"}


def test_a_run_that_lammps_stops(md: str) -> None:
    atoms = read_structure(INPUTS / "water.xyz")
    velocities = np.zeros((3, 3))
    velocities[0] = 1e30
    atoms.set_velocities(velocities)
    with pytest.raises(SimulationError, match="LAMMPS stopped at step 0: ERROR"):
        lammps_runs(StudentForceFieldCalculator("ultra-tiny"), md)(atoms, steps=5, timestep_fs=0.5)


def test_what_it_refuses() -> None:
    with pytest.raises(ConfigError, match="LAMMPS runs students"):
        lammps_runs(teacher("emt"), "lammps")
    with pytest.raises(ConfigError, match="md must be one of ase, lammps, "):
        lammps_runs(StudentForceFieldCalculator("ultra-tiny"), "gromacs")
