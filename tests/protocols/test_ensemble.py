"""The ensemble protocol: right on what is canonical, and each check on what it is for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from springs import Springs

from mlff_md.errors import ConfigError, DataError
from mlff_md.protocols import ensemble
from mlff_md.protocols.ensemble import analyze, run, validate_nvt
from mlff_md.protocols.ensemble_data import KIND
from mlff_md.protocols.raw import ENSEMBLE_FILE, write_arrays
from mlff_md.protocols.records import Report
from mlff_md.structures import read_structure
from mlff_md.units import BOLTZMANN_EV_PER_K

ETHANOL = Path(__file__).parents[2] / "inputs" / "structures" / "ethanol.xyz"
ELEMENTS = {"H": 6, "C": 2, "O": 1}
TEMPERATURES = (300.0, 400.0)
N = 20_000


def made(folder: Path, change: str = "") -> Report:
    """Judge samples of harmonic atoms, drawn from their distributions, with one thing wrong."""
    rng, arrays, runs = np.random.default_rng(5), {}, []
    for k, temperature in enumerate(TEMPERATURES):
        thermal = BOLTZMANN_EV_PER_K * temperature
        kinetic = np.stack(
            [rng.gamma(1.5 * count, thermal, N) for count in ELEMENTS.values()], axis=1
        )
        potential = rng.gamma(1.5 * 9, thermal, N) - 300.0
        if change == "too hot":
            kinetic *= 1.08
        if change == "one element cold":
            kinetic *= np.array([1.0, 0.9, 1.3])
        if change == "held too tightly":
            total = kinetic.sum(axis=1, keepdims=True)
            kinetic *= np.sqrt(total.mean() / total)
        if change == "another energy":
            potential *= 1.4
        if change.startswith("each held for "):
            held = int(change.split()[3])
            kinetic, potential = (x[: N // held].repeat(held, 0) for x in (kinetic, potential))
        arrays |= {f"kinetic_eV.{k}": kinetic, f"potential_eV.{k}": potential}
        runs.append({"temperature_K": temperature, "error": None})
    if change == "blown up":
        runs[1]["error"] = "the run stopped at step 3"
    record = {
        "kind": KIND,
        "settings": {"temperatures_K": TEMPERATURES, "steps": N},
        "structure": {"name": "nine springs"},
        "elements": ELEMENTS,
        "calculator": {"calculator": "Springs"},
        "units": {},
        "environment": {},
        "runs": runs,
        "file": ENSEMBLE_FILE,
    }
    raw = folder / "raw"
    raw.mkdir(exist_ok=True)
    write_arrays(raw / ENSEMBLE_FILE, arrays)
    (raw / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return analyze(folder)


def test_canonical_samples_pass(tmp_path: Path) -> None:
    report = made(tmp_path)
    assert {check.id: check.verdict for check in report.checks} == dict.fromkeys(
        ("stability", "kinetic_temperature", "kinetic_spread", "equipartition", "two_temperatures"),
        "pass",
    )
    assert [figure.id for figure in report.figures] == ["kinetic", "potential", "ratio"]
    assert Report.from_json(report.to_json()).to_json() == report.to_json()
    assert analyze(tmp_path / "raw").to_json() == report.to_json()


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ("too hot", {"kinetic_temperature", "equipartition"}),
        ("one element cold", {"equipartition"}),
        ("held too tightly", {"kinetic_spread"}),
        ("another energy", {"two_temperatures"}),
        ("blown up", {"stability"}),
    ],
)
def test_each_check_sees_what_it_is_for(tmp_path: Path, change: str, failing: set[str]) -> None:
    report = made(tmp_path, change)
    assert {check.id for check in report.checks if check.verdict == "fail"} == failing
    assert report.verdict == "fail"


def test_samples_that_hang_together_count_as_few(tmp_path: Path) -> None:
    """Each of 200 independent samples is seen a hundred times in a row."""
    alone, repeated = made(tmp_path), made(tmp_path, "each held for 100 steps")
    for before, after in zip(alone.checks[1:], repeated.checks[1:], strict=True):
        assert before.ci is not None
        assert after.ci is not None
        assert np.ptp(after.ci) == pytest.approx(10.0 * np.ptp(before.ci), rel=0.3)


def test_a_handful_of_samples_decides_nothing(tmp_path: Path) -> None:
    report = made(tmp_path, "each held for 2000 steps")
    assert {check.verdict for check in report.checks[1:]} == {"inconclusive"}


@pytest.mark.parametrize(("n_eff", "verdict"), [(12.0, "inconclusive"), (40.0, "pass")])
def test_an_interval_of_few_samples_decides_nothing(n_eff: float, verdict: str) -> None:
    """However narrow it is: its width is itself not known."""
    from mlff_md.protocols import ensemble_checks
    from mlff_md.protocols.thresholds import THRESHOLDS

    estimate = (0.1, (0.0, 0.2), n_eff)
    check = ensemble_checks._judged("equipartition", "title", [("O", estimate)], THRESHOLDS, "")
    assert check.verdict == verdict


def test_intervals_hold_the_truth(tmp_path: Path) -> None:
    """Of the slope, over many sets of samples: about one in twenty leaves it outside."""
    from mlff_md.protocols.ensemble_checks import slope_of_ratio
    from mlff_md.protocols.ensemble_data import Samples

    rng, outside = np.random.default_rng(1), 0
    for _ in range(200):
        pair = [
            Samples(t, rng.gamma(13.5, BOLTZMANN_EV_PER_K * t, 300), np.empty((300, 0)))
            for t in TEMPERATURES
        ]
        slope, error, wanted = slope_of_ratio(*pair)
        outside += abs(slope - wanted) > 1.96 * error
    assert 2 <= outside <= 22


def test_a_run(tmp_path: Path) -> None:
    atoms = read_structure(ETHANOL)
    options = {"steps": 6000, "timestep_fs": 1.0, "friction_per_ps": 100.0, "sample_every": 5}
    report = validate_nvt(
        atoms, Springs(stiffness=10.0), out=tmp_path, second_temperature_K=450.0, **options
    )
    assert not [check.summary for check in report.checks if check.verdict == "fail"]
    assert report.title.endswith("Langevin, 300 and 450 K")
    with pytest.raises(ConfigError, match="already holds a run"):
        run(atoms, Springs(stiffness=10.0), tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"mode": "fast"}, "mode must be one of quick"),
        ({"steps": 50}, "at least 100 times sample_every"),
        ({"second_temperature_K": 200.0}, "must be above temperature_K"),
        ({"second_temperature_K": 0.0}, "must be above temperature_K"),
        ({"seed": -1}, "seed must not be negative"),
        ({"friction_per_ps": 0.0}, "friction_per_ps must be above zero"),
    ],
)
def test_what_it_refuses(tmp_path: Path, options: dict[str, object], word: str) -> None:
    atoms = read_structure(ETHANOL)
    with pytest.raises(ConfigError, match=word):
        run(atoms, Springs(stiffness=10.0), tmp_path, **options)
    assert not (tmp_path / "raw").exists()


def test_a_run_that_was_cut_off(tmp_path: Path) -> None:
    made(tmp_path)
    record = json.loads((tmp_path / "raw" / "run.json").read_text(encoding="utf-8"))
    del record["file"]
    (tmp_path / "raw" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DataError, match="was cut off"):
        analyze(tmp_path)


def test_the_second_temperature_depends_on_the_size() -> None:
    assert ensemble._hotter(300.0, 27) == 450.0
    assert 300.0 < ensemble._hotter(300.0, 3000) < 320.0
