"""Checks of the NVE protocol on the energy: drift, and change in 100 steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mlff_md.md import MdRun
from mlff_md.protocols.nve_checks import Thresholds, not_judged
from mlff_md.protocols.nve_data import NveData, Replica
from mlff_md.protocols.records import Check
from mlff_md.statistics import (
    MeanInterval,
    abs_interval,
    judge_upper,
    mean_ci,
    statistical_inefficiency,
)

_WINDOW_STEPS = 100
_MIN_STEPS = 1000
_MIN_REPLICAS = 3


def drift(data: NveData, thresholds: Thresholds) -> Check:
    """Secular change of the conserved energy: one slope per replica, t interval over them."""
    limit, class_a = thresholds["drift"], thresholds["drift_class_a"]
    replicas = data.usable
    blind_to = (
        "most defects: noise, truncation at the cutoff, rounded or directly predicted forces and "
        "quantised weights can all leave the slope flat (the order of the integrator sees them)"
    )
    if not replicas:
        return not_judged("drift", "Energy drift", limit, blind_to)
    slopes = [replica.drift for replica in replicas]
    mean = replica_mean([slope.value for slope in slopes])
    interval = mean.interval
    if mean.n == 1:
        interval = slopes[0].interval()
    magnitude = abs_interval(interval)
    verdict = judge_upper(magnitude, limit.value)
    # Replicas that gain and lose energy in turn have a mean with a wide interval, yet each of
    # them may show on its own that energy is not conserved. All must: one interval is weak.
    beyond = sum(judge_upper(abs_interval(s.interval()), limit.value) == "fail" for s in slopes)
    if verdict == "inconclusive" and beyond == len(slopes) >= _MIN_REPLICAS:
        verdict = "fail"
    grade = "B" if verdict == "pass" else None
    if magnitude[1] <= class_a.value and verdict == "pass":
        grade = "A"
    basis = "shadow energy" if _has_shadow(replicas) else "total energy"
    outcome = {
        "pass": f"class {grade}",
        "fail": f"beyond the limit ({beyond} of {mean.n} are so by themselves)",
        "inconclusive": "the interval is too wide for a verdict: longer runs or more replicas",
    }[verdict]
    return Check(
        id="drift",
        title="Energy drift",
        verdict=verdict,
        value=mean.mean,
        unit=limit.unit,
        ci=interval,
        n_eff=float(sum(slope.n_eff for slope in slopes)),
        threshold=limit,
        source=limit.source,
        blind_to=blind_to,
        summary=(
            f"{mean.mean:.2g} (95 % CI {interval[0]:.2g} to {interval[1]:.2g}) {limit.unit} over "
            f"{mean.n} {'replica' if mean.n == 1 else 'replicas'}: {outcome}"
        ),
        details={
            "class": grade,
            "class_a_limit": class_a.value,
            "class_a_source": class_a.source,
            "energy": basis,
            "replicas_beyond_limit": beyond,
            "interval_from": "replicas" if mean.n > 1 else "within the run",
            "replicas": [
                {
                    "index": replica.index,
                    "slope": slope.value,
                    "standard_error": slope.standard_error,
                    "g": slope.g,
                    "n_eff": slope.n_eff,
                    "total_energy_slope": replica.raw_drift.value,
                    "total_energy_standard_error": replica.raw_drift.standard_error,
                }
                for replica, slope in zip(replicas, slopes, strict=True)
            ],
        },
    )


def drift_per_100_steps(data: NveData, thresholds: Thresholds) -> Check:
    """Change of the conserved energy in 100 steps, in percent of the mean kinetic energy.

    The criterion speaks of drift, so it is applied to the energy that the integrator conserves:
    the total energy itself swings by 0.1 to 0.2 % of the kinetic energy for a molecule with
    hydrogens at 0.5 fs, drift or not. That literal reading is kept in the details. Without a
    shadow energy the slope stands in for it.
    """
    limit = thresholds["drift_per_100_steps"]
    title = "Energy change in 100 steps"
    blind_to = (
        "slow drift over longer times, and errors that cancel within 100 steps; in percent of "
        "the kinetic energy it is 15 times laxer than the drift limit at 0.5 fs and 300 K"
    )
    replicas = [r for r in data.usable if r.run is not None and r.mean_kinetic_energy_meV > 0.0]
    if not replicas:
        return not_judged("drift_per_100_steps", title, limit, blind_to)
    shadow = _has_shadow(replicas)
    values, errors = [], []
    for replica in replicas:
        value, error = _change_per_window(replica, shadow)
        values.append(value)
        errors.append(error)
    mean = replica_mean(values)
    interval = mean.interval
    if mean.n == 1:
        interval = (values[0] - 2.0 * errors[0], values[0] + 2.0 * errors[0])
    interval = (max(0.0, interval[0]), interval[1])
    steps = int(data.settings["steps"])
    enough = steps >= _MIN_STEPS
    verdict = judge_upper(interval, limit.value) if enough else "inconclusive"
    summary = f"{mean.mean:.2g} % of the mean kinetic energy (95 % CI up to {interval[1]:.2g} %)"
    if not enough:
        summary += f"; {steps} steps are too few, it takes {_MIN_STEPS}"
    return Check(
        id="drift_per_100_steps",
        title=title,
        verdict=verdict,
        value=mean.mean,
        unit=limit.unit,
        ci=interval,
        n_eff=float(mean.n),
        threshold=limit,
        source=limit.source,
        blind_to=blind_to,
        summary=summary,
        details={
            "judged": "mean absolute change of the shadow energy in 100 steps / mean kinetic energy"
            if shadow
            else "abs(slope) x 100 steps / mean kinetic energy",
            "timestep_fs": data.settings["timestep_fs"],
            "total_energy": literal_change(replicas),
        },
    )


def literal_change(replicas: Sequence[Replica]) -> dict[str, float]:
    """Return the change of the total energy in 100 steps read literally, in percent.

    Mean and root mean square are averages over replicas, the worst is that of all.
    """
    rows = []
    for replica in replicas:
        run = replica.run
        if run is None or len(run.time_fs) <= _window(run):
            continue
        change = np.abs(run.total_energy_eV[_window(run) :] - run.total_energy_eV[: -_window(run)])
        scale = 100.0 / float(run.kinetic_energy_eV.mean())
        total = float(np.abs(run.total_energy_eV.mean()))
        mean = float(change.mean())
        rms = math.sqrt(float(np.mean(change**2)))
        of_total = 100.0 * mean / total if total > 0.0 else math.nan
        rows.append((scale * mean, scale * rms, scale * float(change.max()), of_total))
    if not rows:
        return {}
    mean_row, worst_row = np.mean(rows, axis=0), np.max(rows, axis=0)
    return {
        "mean_percent_of_kinetic": float(mean_row[0]),
        "rms_percent_of_kinetic": float(mean_row[1]),
        "worst_percent_of_kinetic": float(worst_row[2]),
        "mean_percent_of_total": float(mean_row[3]),
    }


def replica_mean(values: Sequence[float]) -> MeanInterval:
    """Return mean and 95 % interval over replicas."""
    return mean_ci(np.asarray(values, dtype=np.float64))


def _change_per_window(replica: Replica, shadow: bool) -> tuple[float, float]:
    """Return the change in 100 steps and its standard error, percent of the kinetic energy."""
    assert replica.run is not None
    scale = 100.0 / replica.mean_kinetic_energy_meV
    _, energy = replica.conserved
    window = _window(replica.run)
    if not shadow or len(energy) <= window:
        per_window = _WINDOW_STEPS * replica.run.timestep_fs / 1000.0 * scale
        return abs(replica.drift.value) * per_window, replica.drift.standard_error * per_window
    change = np.abs(energy[window:] - energy[:-window])
    g = statistical_inefficiency(change)
    return scale * float(change.mean()), scale * float(change.std()) * math.sqrt(g / len(change))


def _window(run: MdRun) -> int:
    return max(1, _WINDOW_STEPS // run.sample_every)


def _has_shadow(replicas: Sequence[Replica]) -> bool:
    return all(len(r.conserved[0]) < len(r.run.time_fs) for r in replicas if r.run is not None)
