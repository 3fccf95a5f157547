"""Force errors where it counts: on the frames that the model visits, and on the teacher's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.force_errors import ForceErrors, force_errors
from mlff_md.protocols.compare_data import CompareData
from mlff_md.protocols.observables.base import Array
from mlff_md.protocols.records import Check, Quantity, Threshold, Verdict
from mlff_md.statistics import MeanInterval, judge_upper, mean_ci

Thresholds = Mapping[str, Threshold]

_MIN_PAIRS = 3


@dataclass(frozen=True, eq=False)
class Side:
    """Errors on the frames of one set of runs: the model's own, or the teacher's.

    Attributes
    ----------
    times_ps, frame_mae
        For each run (n,): the time of its frames and their mean absolute force error, eV/Å.
    model, teacher
        All forces, (A, 3), eV/Å, and ``numbers`` (A,), atom by atom.
    errors
        Over all frames, ``None`` if there are none.
    """

    times_ps: list[Array] = field(default_factory=list)
    frame_mae: list[Array] = field(default_factory=list)
    model: Array = field(default_factory=lambda: np.zeros((0, 3)))
    teacher: Array = field(default_factory=lambda: np.zeros((0, 3)))
    numbers: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    errors: ForceErrors | None = None

    @property
    def run_mae(self) -> Array:
        """Mean absolute error of each run, eV/Å."""
        return np.array([float(mae.mean()) for mae in self.frame_mae])

    @property
    def p99_eV_per_A(self) -> float:
        """Length of the error that one atom in a hundred exceeds, eV/Å."""
        lengths = np.linalg.norm(self.model - self.teacher, axis=1)
        return float(np.quantile(lengths, 0.99)) if len(lengths) else math.nan

    def by_element(self) -> dict[int, float]:
        """Return the mean absolute error of each atomic number, eV/Å."""
        error = np.abs(self.model - self.teacher).mean(axis=1)
        return {
            int(number): float(error[self.numbers == number].mean())
            for number in np.unique(self.numbers)
        }


@dataclass(frozen=True, eq=False)
class ForceData:
    """Errors on both sets of frames, and what they are measured by."""

    own: Side
    teachers: Side
    held_out: Mapping[str, Any] | None
    length_ps: float


def measure(data: CompareData) -> ForceData:
    """Return the force errors of all pairs."""
    own: list[tuple[Array, Array, Array]] = []
    theirs: list[tuple[Array, Array, Array]] = []
    numbers = np.zeros(0, dtype=np.intp)
    for k, model, teacher in data.pairs():
        numbers = np.asarray(model.atoms.numbers, dtype=np.intp)
        labels, predictions = data.evaluated("labels", k), data.evaluated("predictions", k)
        if labels is not None:
            which, forces = labels
            own.append((model.time_fs[which], model.forces_eV_per_A[which], forces))
        if predictions is not None:
            which, forces = predictions
            theirs.append((teacher.time_fs[which], forces, teacher.forces_eV_per_A[which]))
    held_out = data.record.get("held_out")
    return ForceData(
        own=_side(own, numbers),
        teachers=_side(theirs, numbers),
        held_out=held_out if isinstance(held_out, Mapping) else None,
        length_ps=data.settings.length_ps,
    )


def _side(runs: list[tuple[Array, Array, Array]], numbers: NDArray[np.intp]) -> Side:
    if not runs:
        return Side()
    model = np.concatenate([run[1].reshape(-1, 3) for run in runs])
    teacher = np.concatenate([run[2].reshape(-1, 3) for run in runs])
    frames = sum(len(run[0]) for run in runs)
    return Side(
        times_ps=[1e-3 * run[0] for run in runs],
        frame_mae=[np.abs(run[1] - run[2]).mean(axis=(1, 2)) for run in runs],
        model=model,
        teacher=teacher,
        numbers=np.tile(numbers, frames),
        errors=force_errors(model, teacher, np.full(frames, len(numbers))),
    )


def checks(data: ForceData, thresholds: Thresholds) -> tuple[Check, ...]:
    """Return the checks of the force errors.

    The error on the teacher's frames is judged only against a held-out error; without one it is
    itself what the error on the model's own frames is measured by.
    """
    made = [_level(data, data.own, "on_policy_force_error", thresholds), _trend(data, thresholds)]
    if data.held_out is not None:
        made.append(_level(data, data.teachers, "teacher_frames_force_error", thresholds))
    return tuple(made)


def _level(data: ForceData, side: Side, id: str, thresholds: Thresholds) -> Check:
    limit = thresholds[id]
    whose = "the model's own frames" if side is data.own else "the teacher's frames"
    check: dict[str, Any] = {
        "id": id,
        "title": f"Force error on {whose}",
        "unit": limit.unit,
        "threshold": limit,
        "source": limit.source,
        "blind_to": "forces that are wrong by the same small part everywhere (the observables see "
        "what that does); anything beyond the length of the runs",
    }
    if side.errors is None:
        return Check(verdict="inconclusive", value=None, summary="no frame was labelled", **check)
    ratio, yardstick = _ratio(data, side)
    verdict: Verdict = "inconclusive"
    if ratio.n >= _MIN_PAIRS:
        verdict = judge_upper(ratio.interval, limit.value)
    errors = side.errors
    return Check(
        verdict=verdict,
        value=ratio.mean,
        ci=ratio.interval if ratio.n > 1 else None,
        n_eff=float(ratio.n),
        summary=f"MAE {1e3 * errors.mae_eV_per_A:.1f} meV/Å, {ratio.mean:.2f} times {yardstick}; "
        f"R2 {errors.r2:.4f}, angle {_or_dash(errors.angle_deg)}°",
        details={
            "mae_eV_per_A": errors.mae_eV_per_A,
            "rmse_eV_per_A": errors.rmse_eV_per_A,
            "p99_eV_per_A": side.p99_eV_per_A,
            "max_eV_per_A": errors.max_eV_per_A,
            "r2": errors.r2,
            "angle_deg": errors.angle_deg,
            "mean_cosine": _mean_cosine(side),
            "frames": errors.num_frames,
            "mae_by_element_eV_per_A": _named(side.by_element()),
            "mae_by_run_eV_per_A": side.run_mae.tolist(),
            "measured_by": yardstick,
        },
        **check,
    )


def _ratio(data: ForceData, side: Side) -> tuple[MeanInterval, str]:
    """Return the error over its yardstick, mean over the runs, and the yardstick in words."""
    if data.held_out is not None:
        mae = float(data.held_out["mae_eV_per_A"])
        part = data.held_out["part"]
        words = f"the {1e3 * mae:.1f} meV/Å on held-out molecules ({part})"
        return mean_ci(side.run_mae / mae), words
    theirs = data.teachers.run_mae
    scale = float(theirs.mean()) if len(theirs) else math.nan
    words = f"the {1e3 * scale:.1f} meV/Å on the teacher's frames (no held-out error is known)"
    # Two force fields that are the same have no error on either set: not larger, so a ratio of 0.
    return mean_ci(side.run_mae / max(scale, 1e-12)), words


def _trend(data: ForceData, thresholds: Thresholds) -> Check:
    """Whether the error grows along the model's runs: it leaves what it knows."""
    limit = thresholds["on_policy_trend"]
    growth = [_growth(t, mae, data.length_ps) for t, mae in _long_enough(data.own)]
    check: dict[str, Any] = {
        "id": "on_policy_trend",
        "title": "Force error does not grow along the model's runs",
        "unit": limit.unit,
        "threshold": limit,
        "source": limit.source,
        "blind_to": "a departure that begins after the runs have ended",
    }
    if len(growth) < _MIN_PAIRS:
        return Check(
            verdict="inconclusive",
            value=None,
            summary=f"only {len(growth)} labelled runs are long enough",
            **check,
        )
    mean = mean_ci(growth)
    words = "no trend" if mean.lower <= 0.0 <= mean.upper else "a trend"
    return Check(
        verdict=judge_upper(mean.interval, limit.value),
        value=mean.mean,
        ci=mean.interval,
        n_eff=float(mean.n),
        summary=f"{mean.mean:+.0f} % over the {data.length_ps:g} ps of a run, "
        f"95 % interval {mean.lower:+.0f} to {mean.upper:+.0f} %: {words}",
        details={"growth_by_run_percent": growth},
        **check,
    )


def _long_enough(side: Side) -> list[tuple[Array, Array]]:
    runs = zip(side.times_ps, side.frame_mae, strict=True)
    return [(t, mae) for t, mae in runs if len(t) >= 4]


def _growth(times_ps: Array, mae: Array, length_ps: float) -> float:
    """Return the change of the error over a whole run by its fitted line, percent of its mean."""
    if not mae.mean() > 0.0:
        return 0.0
    slope = float(np.polyfit(times_ps, mae, 1)[0])
    return 100.0 * slope * length_ps / float(mae.mean())


def quantities(data: ForceData) -> tuple[Quantity, ...]:
    """Return the errors in the usual figures, for both sets of frames."""
    made = []
    for name, side in (("own", data.own), ("teacher", data.teachers)):
        if side.errors is None:
            continue
        where = "the model's own frames" if name == "own" else "the teacher's frames"
        source = "both force fields on the same frames"
        interval = mean_ci(side.run_mae)
        rows: list[tuple[str, str, float | None, str]] = [
            ("mae", "Force MAE", side.errors.mae_eV_per_A, "eV/Å"),
            ("rmse", "Force RMSE", side.errors.rmse_eV_per_A, "eV/Å"),
            ("p99", "Force error that 1 atom in 100 exceeds (p99)", side.p99_eV_per_A, "eV/Å"),
            ("r2", "Force R2", side.errors.r2, "1"),
            ("angle", "Mean angle between forces", side.errors.angle_deg, "degree"),
        ]
        made += [
            Quantity(
                f"force_{id}_{name}_frames",
                f"{title} on {where}",
                value,
                unit,
                source,
                interval.interval if id == "mae" and interval.n > 1 else None,
            )
            for id, title, value, unit in rows
            if value is not None
        ]
    return tuple(made)


def _mean_cosine(side: Side) -> float | None:
    sizes = np.linalg.norm(side.model, axis=1) * np.linalg.norm(side.teacher, axis=1)
    seen = sizes > 0.0
    if not seen.any():
        return None
    return float(((side.model * side.teacher).sum(axis=1)[seen] / sizes[seen]).mean())


def _named(by_number: Mapping[int, float]) -> dict[str, float]:
    from mlff_md.structures import chemical_symbol

    return {chemical_symbol(number): value for number, value in by_number.items()}


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
