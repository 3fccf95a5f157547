"""How fast two runs from the same state part, and how fast the teacher parts from itself.

Molecular dynamics is chaotic: a difference of 1e-8 Å grows as exp(lambda t). So the model's run
must leave the teacher's, and when it does is worth knowing only beside the time at which the
teacher leaves itself. Reported, not judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mlff_md.protocols.compare_data import KICK_A, CompareData
from mlff_md.protocols.observables.base import Array
from mlff_md.protocols.observables.frames import Frames
from mlff_md.protocols.records import Quantity, Threshold
from mlff_md.statistics import mean_ci

# The first part of the curve is the kick turning into the direction that grows.
_TRANSIENT = 0.2
# Above this the two runs are no longer close, and the growth is no longer that of chaos.
_CLOSE_A = 1e-2
# Two rates have an interval that says nothing.
_MIN_RATES = 3


@dataclass(frozen=True, eq=False)
class Divergence:
    """Distance between the two runs of each pair over time.

    Attributes
    ----------
    times_ps
        (F,).
    model
        (K, F) RMSD between model and teacher, Å; not-a-number after a run has ended.
    kicked
        (L, F) the same between the teacher and itself, moved by :data:`KICK_A`.
    lyapunov_per_ps
        Growth rate of each kicked pair.
    horizon_A
        Distance at which a run counts as lost.
    """

    times_ps: Array
    model: Array
    kicked: Array
    lyapunov_per_ps: tuple[float, ...]
    horizon_A: float

    def horizons_ps(self) -> list[float]:
        """Return the time at which each pair passes the horizon; infinite if it does not."""
        found = []
        for row in self.model:
            beyond = np.flatnonzero(row > self.horizon_A)
            found.append(float(self.times_ps[beyond[0]]) if len(beyond) else math.inf)
        return found


def measure(data: CompareData, thresholds: Mapping[str, Threshold]) -> Divergence:
    """Return the distances of all pairs."""
    s = data.settings
    times = 1e-3 * s.interval_fs * np.arange(s.n_frames)
    model, kicked = [], []
    for k, of_model, of_teacher in data.pairs():
        model.append(_distance(of_model, of_teacher, s.n_frames))
        again = data.run("kicked", k)
        if again is not None and len(again):
            kicked.append(_distance(again, of_teacher, s.n_frames))
    rates = [rate for rate in (_growth(times, row) for row in kicked) if rate is not None]
    return Divergence(
        times_ps=times,
        model=np.array(model).reshape(-1, s.n_frames),
        kicked=np.array(kicked).reshape(-1, s.n_frames),
        lyapunov_per_ps=tuple(rates),
        horizon_A=thresholds["horizon"].value,
    )


def quantities(found: Divergence) -> tuple[Quantity, ...]:
    """Return the model's horizon and, where it was measured, the teacher's."""
    made = []
    horizons = found.horizons_ps()
    if horizons:
        median = float(np.median(horizons))
        reached = sum(math.isfinite(t) for t in horizons)
        length = float(found.times_ps[-1])
        made.append(
            Quantity(
                "horizon_model",
                f"Time until the model is {found.horizon_A:g} Å from the teacher (median)",
                min(median, length),
                "ps",
                f"{reached} of {len(horizons)} pairs part so far within {length:g} ps"
                + ("" if math.isfinite(median) else "; the value is the length of the runs"),
            )
        )
    if found.lyapunov_per_ps:
        rate = mean_ci(found.lyapunov_per_ps)
        made.append(
            Quantity(
                "lyapunov_teacher",
                "Rate at which the teacher's own runs part (largest Lyapunov exponent)",
                rate.mean,
                "1/ps",
                f"teacher against itself, moved by {KICK_A:g} Å",
                rate.interval if rate.n >= _MIN_RATES else None,
            )
        )
        if rate.mean > 0.0:
            horizon_ps = math.log(found.horizon_A / KICK_A) / rate.mean
            made.append(
                Quantity(
                    "horizon_teacher",
                    f"Time until the teacher is {found.horizon_A:g} Å from itself",
                    horizon_ps,
                    "ps",
                    f"by that rate, from {KICK_A:g} Å; longer than the runs, so an estimate"
                    if horizon_ps > found.times_ps[-1]
                    else f"by that rate, from {KICK_A:g} Å",
                )
            )
    return tuple(made)


def _distance(first: Frames, second: Frames, n_frames: int) -> Array:
    """Return the RMSD (Å) over time, without superposition: both began in the same place."""
    n = min(len(first), len(second))
    moved = first.positions_A[:n] - second.positions_A[:n]
    distance = np.full(n_frames, np.nan)
    distance[:n] = np.sqrt((moved**2).sum(axis=2).mean(axis=1))
    return distance


def _growth(times_ps: Array, distance: Array) -> float | None:
    """Return the slope of ln(distance) while the runs are close, 1/ps."""
    use = (times_ps >= _TRANSIENT * times_ps[-1]) & (distance > 0.0) & (distance < _CLOSE_A)
    if np.count_nonzero(use) < 10:
        return None
    return float(np.polyfit(times_ps[use], np.log(distance[use]), 1)[0])
