"""The verdicts of a comparison, on data that are made for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT

from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.force_errors import force_errors
from mlff_md.paired import compare_pairs
from mlff_md.protocols import compare_forces, compare_observables, compare_stability
from mlff_md.protocols.compare_data import load
from mlff_md.protocols.compare_observables import Observed
from mlff_md.protocols.held_out import held_out_error
from mlff_md.protocols.observables.distributions import PairDistances
from mlff_md.protocols.thresholds import THRESHOLDS
from mlff_md.student import Student
from mlff_md.teachers import teacher


def test_a_broken_bond_is_found(same: Path) -> None:
    data = load(same)
    survival = compare_stability.measure(data, THRESHOLDS)
    assert compare_stability.check(survival, THRESHOLDS).verdict == "pass"
    frames = data.run("model", 0)
    assert frames is not None
    topology = compare_stability.find_topology(data.reference)
    lengths = compare_stability._lengths(data.reference.positions[None], topology)[0]
    torn = frames.positions_A.copy()
    torn[30:, topology.bonds[0, 0]] += 2.0
    fate = compare_stability._broken(
        dataclasses.replace(frames, positions_A=torn), topology, lengths
    )
    assert fate.time_ps == pytest.approx(0.06)
    assert "Å off its length" in fate.why


def test_the_teacher_is_not_blamed_on_the_model() -> None:
    """Where the teacher loses the same run, nothing is shown against the model."""
    lost, sound = compare_stability.Fate(0.1, "gone"), compare_stability.Fate(1.0, None)
    both = compare_stability.Survival({0: lost, 1: sound}, {0: lost, 1: sound}, 2, 1.0)
    alone = compare_stability.Survival({0: lost, 1: sound}, {0: sound, 1: sound}, 2, 1.0)
    short = compare_stability.Survival({0: sound}, {0: sound, 1: lost}, 2, 1.0)
    judged = [compare_stability.check(item, THRESHOLDS).verdict for item in (both, alone, short)]
    assert judged == ["inconclusive", "fail", "inconclusive"]


def force_data(frame_mae: list[np.ndarray], held_out: float | None) -> compare_forces.ForceData:
    rng = np.random.default_rng(0)
    forces = rng.normal(size=(100, 3))
    times = [np.linspace(0.0, 1.0, len(mae)) for mae in frame_mae]
    side = compare_forces.Side(
        times_ps=times,
        frame_mae=frame_mae,
        model=forces + 0.01,
        teacher=forces,
        numbers=np.ones(100, dtype=np.intp),
        errors=force_errors(forces + 0.01, forces, np.full(10, 10)),
    )
    yardstick = {"mae_eV_per_A": held_out, "part": "all"} if held_out else None
    return compare_forces.ForceData(side, side, yardstick, 1.0)


@pytest.mark.parametrize(
    ("mean", "scatter", "expected"),
    [(0.04, 0.002, "pass"), (0.08, 0.002, "fail"), (0.046, 0.03, "inconclusive")],
)
def test_force_error_is_judged_by_the_held_out_one(
    mean: float, scatter: float, expected: str
) -> None:
    rng = np.random.default_rng(1)
    rows = [np.abs(mean + scatter * rng.normal() + np.zeros(20)) for _ in range(5)]
    found = compare_forces.checks(force_data(rows, held_out=0.03), THRESHOLDS)
    assert found[0].verdict == expected
    assert [check.id for check in found][-1] == "teacher_frames_force_error"


@pytest.mark.parametrize(
    ("growth", "scatter", "expected"),
    [(0.0, 0.1, "pass"), (2.0, 0.1, "fail"), (0.5, 0.8, "inconclusive")],
)
def test_trend(growth: float, scatter: float, expected: str) -> None:
    rng = np.random.default_rng(2)
    line = 1.0 + growth * np.linspace(-0.5, 0.5, 20)
    rows = [np.abs(line + scatter * rng.normal(size=20)) for _ in range(5)]
    trend = compare_forces.checks(force_data(rows, None), THRESHOLDS)[1]
    assert trend.id == "on_policy_trend"
    assert trend.verdict == expected, trend.summary


def test_held_out_error_is_that_of_the_temperature(random_student: Student) -> None:
    rows = {"all": {"mae_eV_per_A": 0.05}, "300 K": {"mae_eV_per_A": 0.03}}
    manifest = dataclasses.replace(
        random_student.manifest, teacher={"name": "emt?x=1"}, accuracy={"test": rows}
    )
    model = StudentForceFieldCalculator(dataclasses.replace(random_student, manifest=manifest))
    assert held_out_error(model, teacher("emt"), 310.0)["part"] == "300 K"
    assert held_out_error(model, teacher("emt"), 600.0)["mae_eV_per_A"] == 0.05
    assert held_out_error(model, teacher("lj"), 300.0) is None  # another teacher
    assert held_out_error(EMT(), teacher("emt"), 300.0) is None
    assert held_out_error(model, EMT(), 300.0) is None


def observed(shift: float, scatter: float, floor: float | None) -> Observed:
    """h(r) whose mean differs by ``shift`` in size."""
    about = PairDistances(molecule("CH4"))
    rng = np.random.default_rng(3)
    base = np.ones((6, len(about.centers)))
    change = np.zeros_like(base)
    change[:, 0] = (shift + scatter * rng.normal(size=6)) / 0.05
    distance = compare_pairs(base + change, base, about.size)
    return Observed(about, base + change, base, base[:0], distance, floor)


@pytest.mark.parametrize(
    ("shift", "scatter", "floor", "expected"),
    [
        (0.02, 0.001, 0.01, "pass"),  # small and sure
        (0.02, 0.001, 5.0, "pass"),  # pairs can be closer than runs from other starts
        (0.3, 0.01, 0.01, "fail"),  # large and sure
        (0.3, 0.01, 0.5, "inconclusive"),  # large, but the teacher is no closer to itself
        (0.11, 0.05, 0.01, "inconclusive"),  # across the margin
        (0.3, 0.01, None, "fail"),  # no floor was measured
    ],
)
def test_verdict_on_an_observable(
    shift: float, scatter: float, floor: float | None, expected: str
) -> None:
    check = compare_observables.checks([observed(shift, scatter, floor)], THRESHOLDS)[0]
    assert check.verdict == expected, check.summary
