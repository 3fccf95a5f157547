"""Checks of the NVE protocol on made-up series; the shadow energy; limits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from mlff_md.errors import ConfigError
from mlff_md.md import MdRun, run_nve
from mlff_md.protocols.nve_checks import temperature
from mlff_md.protocols.nve_data import NveData, Replica
from mlff_md.protocols.nve_energy import drift
from mlff_md.protocols.nve_figures import quantities
from mlff_md.protocols.records import Check
from mlff_md.protocols.shadow import shadow_energy
from mlff_md.protocols.thresholds import THRESHOLDS, parse_overrides, with_overrides
from mlff_md.statistics import ols_slope
from mlff_md.units import BOLTZMANN_EV_PER_K, KJ_PER_MOL_PER_EV

from .toys import ElasticNetwork, Heater, small_molecule


def series(slope_meV_per_ps: float, seed: int) -> MdRun:
    """A run of two argon atoms whose energy has this slope (per atom) and a little noise."""
    n = 400
    rng = np.random.default_rng(seed)
    time_fs = 0.5 * np.arange(n)
    potential = 2e-6 * slope_meV_per_ps * time_fs + 1e-6 * rng.standard_normal(n)
    vectors = np.zeros((n, 3))
    kinetic = np.full(n, 0.08)
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 4]])
    return MdRun(time_fs, potential, kinetic, vectors, vectors, np.zeros(n), 1, 0.5, 1, 2, atoms)


@pytest.mark.parametrize("energy", ["pass", "inconclusive"])
def test_trend_of_temperature_fails_only_with_the_energy(energy: Any) -> None:
    rng = np.random.default_rng(0)
    replicas = []
    for k in range(5):
        rising = series(0.0, k)
        kinetic = np.linspace(0.06, 0.10, 400) + 1e-3 * rng.standard_normal(400)
        rising = dataclasses.replace(rising, kinetic_energy_eV=kinetic)
        replicas.append(Replica(k, 400, None, None, rising))
    data = NveData({"settings": {"temperature_K": 300.0}, "calculator": {}}, tuple(replicas))
    assert temperature(data, THRESHOLDS, energy=energy).verdict == "inconclusive"
    assert temperature(data, THRESHOLDS, energy="fail").verdict == "fail"


def judged_drift(slopes: Sequence[float]) -> Check:
    replicas = [Replica(k, 400, None, None, series(s, k)) for k, s in enumerate(slopes)]
    record = {"settings": {"steps": 400}, "calculator": {}}
    return drift(NveData(record, tuple(replicas)), THRESHOLDS)


@pytest.mark.parametrize(
    ("slopes", "verdict", "grade"),
    [
        ((0.0, 1e-4, -1e-4, 5e-5, 0.0), "pass", "A"),
        ((0.01, 0.012, 0.008, 0.011, 0.009), "pass", "B"),
        ((-0.01, -0.012, -0.008, -0.011, -0.009), "pass", "B"),
        ((0.2, 0.21, 0.19, 0.2, 0.2), "fail", None),
        ((-0.2, -0.21, -0.19, -0.2, -0.2), "fail", None),
        ((0.02, 0.06, 0.04, 0.05, 0.03), "inconclusive", None),
        # Each replica alone shows that energy is not conserved, though the mean is near zero.
        ((0.9, -1.0, 1.1, -1.0, 0.2), "fail", None),
        ((0.9, -1.0, 1.1, -1.0, 0.0), "inconclusive", None),
    ],
)
def test_drift_is_judged_by_the_end_of_its_interval(
    slopes: tuple[float, ...], verdict: str, grade: str | None
) -> None:
    check = judged_drift(slopes)
    assert check.verdict == verdict
    assert check.details["class"] == grade
    assert check.value == pytest.approx(np.mean(slopes), abs=2e-4)
    assert [row["slope"] for row in check.details["replicas"]] == pytest.approx(slopes, abs=1e-3)


def test_figures_that_other_packages_report() -> None:
    """20 meV/ps for each of two atoms, over 0.1995 ps, of a kinetic energy of 0.08 +- 0.01 eV."""
    kinetic = 0.08 + 0.01 * np.resize([1.0, 1.0, -1.0, -1.0], 400)
    run = series(20.0, 0)
    potential = run.potential_energy_eV + 0.08 - kinetic
    run = dataclasses.replace(run, kinetic_energy_eV=kinetic, potential_energy_eV=potential)
    record: dict[str, Any] = {"settings": {"steps": 400}, "calculator": {}}
    data = NveData(record, (Replica(0, 400, None, None, run),))
    told = {quantity.id: quantity.value for quantity in quantities(data)}
    thermal_meV = 1000.0 * BOLTZMANN_EV_PER_K * float(run.temperature_K.mean())
    assert told["drift_gromacs"] == pytest.approx(0.02 * KJ_PER_MOL_PER_EV, rel=1e-3)
    assert told["drift_kT"] == pytest.approx(20.0 * 1000.0 / thermal_meV, rel=1e-3)
    assert told["mlipaudit_ratio"] == pytest.approx(20.0 * 0.1995 / 5.0, rel=1e-3)
    # 100 steps, 0.05 ps, later the two atoms together have 2 meV more.
    assert told["mean_percent_of_kinetic"] == pytest.approx(100.0 * 0.002 / 0.08, rel=0.01)
    total = float(np.abs(run.total_energy_eV).mean())
    assert told["mean_percent_of_total"] == pytest.approx(100.0 * 0.002 / total, rel=0.01)


def test_shadow_energy_swings_with_the_fourth_power_of_the_time_step() -> None:
    atoms = small_molecule()
    calculator = ElasticNetwork(atoms)
    spread = []
    for timestep_fs in (1.0, 0.5):
        result = run_nve(atoms, calculator, steps=int(200 / timestep_fs), timestep_fs=timestep_fs)
        shadow = shadow_energy(result)
        assert shadow is not None
        spread.append(np.std(shadow[1]))
        assert np.std(shadow[1]) < 0.1 * np.std(result.total_energy_eV)
    assert spread[0] / spread[1] == pytest.approx(16.0, rel=0.3)


def test_shadow_energy_keeps_the_drift() -> None:
    atoms = small_molecule()
    result = run_nve(atoms, Heater(atoms), steps=1500)
    times, energy = shadow_energy(result)  # type: ignore[misc]
    raw = ols_slope(result.time_fs, result.total_energy_eV)
    shadow = ols_slope(times, energy)
    assert shadow.value == pytest.approx(raw.value, rel=0.02)


def test_no_shadow_energy_without_every_step() -> None:
    atoms = small_molecule()
    calculator = ElasticNetwork(atoms)
    assert shadow_energy(run_nve(atoms, calculator, steps=20, sample_every=2)) is None
    assert shadow_energy(run_nve(atoms, calculator, steps=3)) is None


def test_thresholds_have_citations_and_can_be_overridden() -> None:
    for threshold in THRESHOLDS.values():
        assert threshold.unit
        assert len(threshold.source) > 20
    limits = with_overrides(parse_overrides(["drift=0.01", " temperature = 4 "]))
    assert limits["drift"].value == 0.01
    assert limits["drift"].source.startswith("set by the user (was 0.05 meV/atom/ps: class B")
    assert limits["temperature"].value == 4.0
    assert THRESHOLDS["drift"].value == 0.05
    assert with_overrides(None)["momentum"] == THRESHOLDS["momentum"]


def test_bad_overrides_are_told() -> None:
    with pytest.raises(ConfigError, match="did you mean drift"):
        with_overrides({"drfit": 1.0})
    with pytest.raises(ConfigError, match="zero or more"):
        with_overrides({"drift": math.nan})
    for text in ("drift", "drift=", "=3", "drift=abc", "drift=nan", ""):
        with pytest.raises(ConfigError, match="write it as"):
            parse_overrides([text])
    with pytest.raises(ConfigError, match="twice"):
        parse_overrides(["drift=1", "drift=2"])
