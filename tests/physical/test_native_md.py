"""MD with the native engine: second-order energy conservation, the same drift as torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from mlff_md import StudentForceFieldCalculator, native, read_structure, relax, validate_nve
from mlff_md.velocities import thermalize

STRUCTURES = Path(__file__).parents[2] / "inputs" / "structures"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not native.available(), reason="the native engine was not built"),
]


@pytest.fixture(scope="module")
def aspirin() -> Atoms:
    atoms = read_structure(STRUCTURES / "aspirin.xyz")
    atoms.calc = StudentForceFieldCalculator("tiny", engine="native", dtype="float64")
    relax(atoms)
    thermalize(atoms, 600.0, np.random.default_rng(1))
    return atoms


def energy_swing(start: Atoms, timestep_fs: float, dtype: str) -> float:
    """RMS of the total energy about its mean over 100 fs, meV."""
    atoms = start.copy()
    atoms.calc = StudentForceFieldCalculator("tiny", engine="native", dtype=dtype)
    energies: list[float] = []
    dynamics = VelocityVerlet(atoms, timestep=timestep_fs * units.fs)
    every = round(1.0 / timestep_fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()), interval=every)
    dynamics.run(round(100.0 / timestep_fs))
    return 1e3 * float(np.std(energies))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_energy_error_is_of_second_order_in_the_time_step(aspirin: Atoms, dtype: str) -> None:
    steps = np.array([0.25, 0.5, 1.0])
    swings = [energy_swing(aspirin, step, dtype) for step in steps]
    order = np.polyfit(np.log(steps), np.log(swings), 1)[0]
    assert 1.85 <= order <= 2.15


def test_drift_is_that_of_the_torch_engine(aspirin: Atoms) -> None:
    drifts = {}
    for engine in ("native", "torchscript"):
        calculator = StudentForceFieldCalculator("tiny", engine=engine)
        report = validate_nve(aspirin.copy(), calculator)
        drifts[engine] = next(check for check in report.checks if check.id == "drift")
    low = max(check.ci[0] for check in drifts.values())
    high = min(check.ci[1] for check in drifts.values())
    assert low <= high  # the intervals overlap
    assert all(check.verdict == "pass" for check in drifts.values())
