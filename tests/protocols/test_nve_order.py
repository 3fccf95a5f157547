"""Order of the integrator and time reversal: on series made up, and in the whole protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlff_md.errors import ConfigError, DataError
from mlff_md.protocols.defects import with_defect
from mlff_md.protocols.nve import analyze, run, validate_nve
from mlff_md.protocols.nve_data import MODES
from mlff_md.protocols.nve_order import detrended_rms, fitted_order, white_noise
from mlff_md.protocols.nve_order_checks import _judge
from mlff_md.protocols.thresholds import THRESHOLDS

from .outcome import checks
from .toys import ElasticNetwork, NotANumberAfter, small_molecule

ORDER: dict[str, Any] = {
    "replicas": 3,
    "steps": 20,
    "equilibration_fs": 25.0,
    "order_steps": 100,
    "static": False,
}


def test_fit_takes_the_noise_out() -> None:
    steps = [1.0, 0.5, 0.25]
    swings = [(float(np.hypot(3.0 * h**2, 0.1)), 0.1) for h in steps]
    fit = fitted_order(steps, swings)
    assert fit is not None
    assert fit[0] == pytest.approx(2.0)
    assert fit[1] == pytest.approx([2.0, 2.0])
    assert fitted_order(steps, [(0.11, 0.1)] * 3) is None


def test_noise_is_measured_beside_a_smooth_swing_and_rare_steps() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(2000)
    smooth = np.sin(t / 15.0) + 1e-3 * t
    assert white_noise(smooth) < 1e-4
    noisy = smooth + 0.01 * rng.standard_normal(2000)
    assert white_noise(noisy) == pytest.approx(0.01, rel=0.1)
    assert white_noise(smooth + (t > 1000)) < 1e-4
    assert detrended_rms(smooth) == pytest.approx(np.sqrt(0.5), rel=0.02)


@pytest.mark.parametrize(
    ("orders", "interval", "verdict"),
    [
        ([2.0, 2.01], (1.95, 2.05), "pass"),
        ([0.1, -0.2], (-0.5, 0.6), "fail"),
        # Each start fails, though they scatter too much for the interval.
        ([1.2, -3.0, 0.0], (-5.0, 4.0), "fail"),
        ([1.7, 1.75], (1.6, 1.8), "inconclusive"),
        ([2.0, 1.0], (-4.0, 7.0), "inconclusive"),
        ([2.4, 2.5], (2.3, 2.6), "inconclusive"),
    ],
)
def test_order_is_judged_by_its_interval(
    orders: list[float], interval: tuple[float, float], verdict: str
) -> None:
    assert _judge(orders, interval, THRESHOLDS)[0] == verdict


def test_sound_forces_have_order_two_and_come_back() -> None:
    atoms = small_molecule()
    found = checks(validate_nve(atoms, ElasticNetwork(atoms), **ORDER))
    assert found["dt_order"].verdict == "pass"
    assert found["dt_order"].value == pytest.approx(2.0, abs=0.05)
    assert found["reversibility"].verdict == "pass"
    assert found["reversibility"].value < 1e-10


@pytest.mark.parametrize(
    ("defect", "check"),
    [("direct_head", "dt_order"), ("force_unit", "dt_order"), ("random_noise", "reversibility")],
)
def test_defect_fails_its_dynamic_check(defect: str, check: str) -> None:
    atoms = small_molecule()
    calculator = with_defect(defect, ElasticNetwork(atoms))
    assert checks(validate_nve(atoms, calculator, **ORDER))[check].verdict == "fail"


def test_figure_and_raw_data(tmp_path: Path) -> None:
    atoms = small_molecule()
    raw = run(atoms, ElasticNetwork(atoms), tmp_path, **ORDER)
    report = analyze(raw)
    assert analyze(raw).to_json() == report.to_json()
    figure = {figure.id: figure for figure in report.figures}["dt_order"]
    assert [series.label for series in figure.series][-1] == "slope two"
    assert figure.series[0].x == [0.5, 0.25, 0.125]
    record = json.loads((raw / "run.json").read_text())
    del record["order"]["starts"]
    (raw / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="damaged"):
        analyze(raw)
    # A run that was cut off before: the check is there, and undecided.
    del record["order"]
    (raw / "run.json").write_text(json.dumps(record))
    assert checks(analyze(raw))["dt_order"].verdict == "inconclusive"


def test_starts_that_blow_up_are_told() -> None:
    atoms = small_molecule()
    # One evaluation, the relaxation, then three replicas of 50 + 20 steps; the order comes next.
    calculator = NotANumberAfter(atoms, calls=1 + 3 * 71 + 50)
    found = checks(validate_nve(atoms, calculator, **ORDER))
    assert found["stability"].verdict == "pass"
    assert found["dt_order"].verdict == "inconclusive"
    assert "not finite" in found["dt_order"].summary


def test_modes_set_what_is_not_asked_for(tmp_path: Path) -> None:
    atoms = small_molecule()
    raw = run(
        atoms, ElasticNetwork(atoms), tmp_path, mode="quick", steps=20, static=False, order_steps=0
    )
    settings = json.loads((raw / "run.json").read_text())["settings"]
    assert settings["mode"] == "quick"
    assert settings["steps"] == 20
    assert settings["replicas"] == MODES["quick"]["replicas"]
    with pytest.raises(ConfigError, match="mode must be one of quick, standard, full"):
        run(atoms, ElasticNetwork(atoms), tmp_path / "b", mode="fast")
    with pytest.raises(ConfigError, match="order_steps"):
        run(atoms, ElasticNetwork(atoms), tmp_path / "b", order_steps=5)
