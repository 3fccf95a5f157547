"""Comparison with a teacher, start to end: equals pass, each fault fails its check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from mlff_md.protocols.compare import analyze, compare, run
from mlff_md.protocols.compare_data import load
from mlff_md.protocols.records import Report
from mlff_md.protocols.thresholds import with_overrides
from mlff_md.report import write_report

from .comparing import SHORT
from .outcome import checks, verdicts
from .toys import ElasticNetwork, NotANumberAfter, Scaled, small_molecule

CHECKS = (
    "survival",
    "on_policy_force_error",
    "on_policy_trend",
    "bonds",
    "angles",
    "dihedrals",
    "pair_distances",
    "rmsf",
    "vibrational_shift",
)


def against(
    model: Any, master: Any, same: Path, folder: Path, **options: Any
) -> tuple[Report, dict[str, str]]:
    """Compare another model, with the teacher's runs of the first comparison."""
    settings = {**SHORT, **options}
    raw = run(small_molecule(), model, master, folder, teacher_runs=str(same), **settings)
    report = analyze(raw)
    return report, verdicts(report)


def test_a_force_field_equals_itself(same: Path) -> None:
    report = analyze(same)
    assert tuple(checks(report)) == CHECKS
    assert report.verdict == "pass", verdicts(report)
    found = checks(report)
    for id in CHECKS[3:]:
        assert found[id].value == 0.0
        assert found[id].details["p_same_holm"] == 1.0
        # Runs from other starts are not the same: the floor is there and above zero.
        assert found[id].details["floor"] > 0.0
    assert found["on_policy_force_error"].value == 0.0
    assert report.title == "ElasticNetwork against ElasticNetwork on CH4O, 300 K"


def test_every_check_says_what_it_rests_on(same: Path) -> None:
    for check in analyze(same).checks:
        assert check.threshold is not None
        assert check.source == check.threshold.source
        assert len(check.source) > 20
        assert len(check.blind_to) > 20
        assert "\n" not in check.summary


def test_analysis_repeats_and_the_report_is_written(same: Path, tmp_path: Path) -> None:
    report = analyze(same)
    assert analyze(same.parent).to_json() == report.to_json()
    assert Report.from_json(report.to_json()).to_json() == report.to_json()
    paths = write_report(report, tmp_path / "report")
    assert paths.html.stat().st_size > 50_000
    assert {"distances", "force_error", "bonds", "divergence", "vibrational_dos"} <= {
        figure.id for figure in report.figures
    }
    assert str(same.parent) not in report.to_json()


def test_kicked_runs_part_slowly(same: Path) -> None:
    report = analyze(same)
    figure = next(figure for figure in report.figures if figure.id == "divergence")
    kicked = next(series for series in figure.series if "itself" in series.label)
    assert kicked.y[0] == pytest.approx(1e-8, rel=1e-3)
    assert max(kicked.y) < 1e-3
    found = {quantity.id: quantity for quantity in report.quantities}
    assert found["horizon_model"].source.startswith("0 of 4 pairs")


# ---- what is wrong fails where it should


def test_a_stiffer_potential_shifts_the_vibrations(
    master: ElasticNetwork, same: Path, tmp_path: Path
) -> None:
    """Conservative and smooth: no check of energy conservation could see it."""
    report, found = against(Scaled(master, 1.2), master, same, tmp_path)
    assert found["vibrational_shift"] == "fail", checks(report)["vibrational_shift"]
    shift = next(q for q in report.quantities if q.id == "band_shift_x-h")
    assert shift.value > 0.0
    assert report.verdict == "fail"


def test_longer_bonds_are_seen(master: ElasticNetwork, same: Path, tmp_path: Path) -> None:
    larger = small_molecule()
    larger.positions *= 1.04
    report, found = against(ElasticNetwork(larger, stiffness=20.0), master, same, tmp_path)
    assert found["bonds"] == "fail"
    # 4 % of 1.43 and of 0.97 to 1.1 Å.
    assert 0.03 < checks(report)["bonds"].value < 0.06
    worst = checks(report)["bonds"].details["worst"][0]
    assert worst["distance"] == pytest.approx(0.055, abs=0.01)


def test_a_run_that_blows_up_fails_survival(
    master: ElasticNetwork, same: Path, tmp_path: Path
) -> None:
    dying = NotANumberAfter(small_molecule(), calls=200, stiffness=20.0)
    report, found = against(dying, master, same, tmp_path)
    assert found["survival"] == "fail"
    assert "not finite" in checks(report)["survival"].summary
    assert any(figure.id == "survival" for figure in report.figures)
    assert found["bonds"] == "inconclusive"  # only one or two pairs are left


def test_force_errors_are_those_of_the_forces(
    master: ElasticNetwork, same: Path, tmp_path: Path
) -> None:
    report, _ = against(Scaled(master, 1.05), master, same, tmp_path)
    check = checks(report)["on_policy_force_error"]
    data = load(tmp_path)
    forces = np.concatenate([data.evaluated("labels", k)[1] for k in range(4)])
    assert check.details["mae_eV_per_A"] == pytest.approx(0.05 * np.abs(forces).mean(), rel=1e-3)
    assert check.details["angle_deg"] == pytest.approx(0.0, abs=0.05)
    assert check.details["mean_cosine"] == pytest.approx(1.0)
    assert check.details["frames"] == 24
    assert set(check.details["mae_by_element_eV_per_A"]) == {"H", "C", "O"}
    # Wrong by the same part everywhere: no worse on its own frames than on the teacher's.
    assert check.verdict == "pass"


def test_too_few_pairs_decide_nothing(master: ElasticNetwork, tmp_path: Path) -> None:
    options = {**SHORT, "replicas": 2, "floor_replicas": 0, "kicked_replicas": 0, "steps": 40}
    report = compare(small_molecule(), Scaled(master, 1.5), master, **options)
    found = verdicts(report)
    assert found.pop("survival") == "pass"
    assert set(found.values()) == {"inconclusive"}


# ---- other kinds of runs and structures


def test_a_thermostat_gives_both_the_same_noise(master: ElasticNetwork) -> None:
    model = ElasticNetwork(small_molecule(), stiffness=20.0)
    options = {**SHORT, "steps": 100, "thermostat": True, "replicas": 3, "floor_replicas": 1}
    report = compare(small_molecule(), model, master, **options)
    assert report.verdict == "pass"
    assert all(check.value == 0.0 for check in report.checks[3:])


@pytest.mark.slow
def test_crystals_are_compared_by_g_of_r_and_displacement() -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    options = {**SHORT, "timestep_fs": 5.0, "steps": 60, "replicas": 3, "floor_replicas": 0}
    options |= {"frame_every": 1, "labels": 2, "kicked_replicas": 0}
    report = compare(atoms, Scaled(EMT(), 1.2), EMT(), **options)
    found = verdicts(report)
    assert list(found)[3:] == ["rdf", "msd", "vibrational_scale"]
    scale = checks(report)["vibrational_scale"]
    # The square root of 1.2.
    assert scale.value == pytest.approx(9.5, abs=4.0)
    assert found["vibrational_scale"] == "fail"
    assert found["survival"] == "pass"
    assert {"rdf_Cu_Cu", "msd"} <= {figure.id for figure in report.figures}


def test_a_crystal_that_melts_is_lost() -> None:
    """Argon that forgets its attraction: nothing blows up, but g(r) is no crystal's."""
    atoms = bulk("Ar", cubic=True, a=5.3) * (2, 2, 2)
    crystal = LennardJones(epsilon=0.0103, sigma=3.4, rc=5.2, smooth=True)
    melt = LennardJones(epsilon=0.0103, sigma=2.2, rc=5.2, smooth=True)
    options = {**SHORT, "timestep_fs": 10.0, "temperature_K": 60.0, "steps": 80, "replicas": 2}
    options |= {"floor_replicas": 0, "kicked_replicas": 0, "labels": 2}
    report = compare(atoms, melt, crystal, **options, thresholds=with_overrides({"rdf_window": 4}))
    survival = checks(report)["survival"]
    assert survival.verdict == "fail"
    assert "g(r) has left" in survival.summary
    assert all(run["teacher_lost_by"] is None for run in survival.details["runs"])
