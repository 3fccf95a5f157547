"""Checks of the NVE protocol: stability, momentum and temperature. Each takes the raw data."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mlff_md.md import MdRun
from mlff_md.protocols.nve_data import NveData
from mlff_md.protocols.records import Check, Threshold, Verdict
from mlff_md.statistics import gaussian_sigmas, statistical_inefficiency
from mlff_md.units import ASE_TIME_UNIT_FS

Thresholds = Mapping[str, Threshold]

_MIN_N_EFF = 10.0
_MIN_REPLICAS = 3
NOT_LONG_ENOUGH = "no replica ran long enough to judge this"


def stability(data: NveData, thresholds: Thresholds) -> Check:
    """Whether every replica reached its last step."""
    limit = thresholds["stability"]
    planned = int(data.settings["steps"])
    wanted = int(data.settings["replicas"])
    # Without NVE steps to make, a replica that got that far has done all of them.
    percent = [
        100.0 if r.error is None else 100.0 * r.steps_done / max(planned, 1) for r in data.replicas
    ]
    worst = min(percent, default=math.nan)
    failed = [r for r in data.replicas if r.error is not None]
    died = ""
    if failed:
        first = failed[0]
        died = (
            f"{len(failed)} of {wanted} replicas did not reach the end; replica {first.index}, "
            f"{first.stage}: {first.error}"
        )
    verdict: Verdict
    if failed and worst < limit.value:
        verdict = "fail"
        summary = died
    elif len(data.replicas) < wanted:
        verdict = "inconclusive"
        summary = f"only {len(data.replicas)} of {wanted} replicas are there: the run was cut off"
        if failed:
            summary += f"; {died}"
    elif failed:
        verdict = "pass"
        summary = f"the worst replica made {worst:.3g} %, the limit is {limit.value:g} %; {died}"
    else:
        verdict = "pass"
        length_ps = planned * float(data.settings["timestep_fs"]) / 1000.0
        summary = f"all {wanted} replicas ran {planned} steps ({length_ps:g} ps)"
    return Check(
        id="stability",
        title="Every replica runs to its end",
        verdict=verdict,
        value=worst,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to="what happens after the last step, and at a higher temperature; a bond that "
        "breaks quietly (compare with the teacher for that)",
        summary=summary,
        details={
            "planned_steps": planned,
            "replicas": [
                {"index": r.index, "steps_done": r.steps_done, "stage": r.stage, "error": r.error}
                for r in data.replicas
            ],
        },
    )


def momentum(data: NveData, thresholds: Thresholds) -> Check:
    """Change of total momentum and (non-periodic) of angular momentum, in thermal units."""
    exact = data.dtype is not None and data.dtype.removeprefix("torch.") == "float64"
    limit = thresholds["momentum_float64" if exact else "momentum"]
    title = "Momentum is conserved"
    blind_to = "forces that sum to zero but are not a gradient; errors in the energy alone"
    replicas = data.usable
    if not replicas:
        return not_judged("momentum", title, limit, blind_to)
    changes = [_momentum_change(replica.run) for replica in replicas if replica.run is not None]
    linear = max(change[0] for change in changes)
    angular = [change[1] for change in changes if change[1] is not None]
    worst = max([linear, *angular])
    kinds = "momentum and angular momentum" if angular else "momentum (periodic: no angular)"
    dtype = data.dtype or "unknown arithmetic, judged as float32"
    return Check(
        id="momentum",
        title=title,
        verdict="pass" if worst <= limit.value else "fail",
        value=worst,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to=blind_to,
        summary=f"largest change of {kinds} is {worst:.1e} of its thermal size ({dtype})",
        details={
            "relative_to": "sqrt(2 E_kin M) and sqrt(2 E_kin I_max)",
            "momentum": linear,
            "angular_momentum": max(angular) if angular else None,
        },
    )


def temperature(data: NveData, thresholds: Thresholds, energy: Verdict) -> Check:
    """Whether the temperature is stationary: second half against first half of each replica.

    The two block means of each replica differ by chance; over three replicas or more the
    scatter of that difference is its own error, and Student's t is told as the number of
    Gaussian standard errors that is as unlikely. One or two replicas take the error from the
    statistical inefficiency within each run.

    Parameters
    ----------
    data, thresholds
        Raw data and limits.
    energy
        Verdict of the drift. A trend fails only where energy is known not to be conserved;
        otherwise it may come from a start that had not settled, which is no fault of the
        calculator, and the check is inconclusive.
    """
    limit = thresholds["temperature"]
    title = "Temperature is stationary"
    blind_to = (
        "a wrong temperature that stays: NVE keeps whatever energy the start has; modes that do "
        "not exchange energy (only a thermostat tests equipartition)"
    )
    runs = [r.run for r in data.usable if r.run is not None and r.run.degrees_of_freedom > 0]
    if not runs:
        return not_judged("temperature", title, limit, blind_to)
    halves = [_half_change(run.temperature_K) for run in runs]
    changes = [change for change, _, _ in halves]
    n_eff = sum(size for _, _, size in halves)
    change = float(np.mean(changes))
    if len(changes) >= _MIN_REPLICAS:
        error = float(np.std(changes, ddof=1)) / math.sqrt(len(changes))
        sigma = gaussian_sigmas(_ratio(change, error), len(changes) - 1)
        enough = True
    else:
        error = math.sqrt(sum(value**2 for _, value, _ in halves)) / len(halves)
        sigma = abs(_ratio(change, error))
        enough = n_eff >= _MIN_N_EFF
    mean = float(np.mean([run.temperature_K.mean() for run in runs]))
    summary = (
        f"second half minus first half: {change:+.3g} K, {sigma:.2g} standard errors; "
        f"mean {mean:.4g} K"
    )
    verdict: Verdict = "pass"
    if not enough:
        verdict = "inconclusive"
        summary += f"; only {n_eff:.0f} independent samples"
    elif sigma > limit.value and energy == "pass":
        verdict = "inconclusive"
        summary += (
            "; energy is conserved, so the start had not settled: a longer equilibration can tell"
        )
    elif sigma > limit.value and energy == "fail":
        verdict = "fail"
        summary += "; the energy changes too: the forces heat or cool"
    elif sigma > limit.value:
        verdict = "inconclusive"
        summary += (
            "; whether energy is conserved is not known, so the start may not have settled: "
            "longer or more runs can tell"
        )
    return Check(
        id="temperature",
        title=title,
        verdict=verdict,
        value=sigma,
        unit=limit.unit,
        n_eff=n_eff,
        threshold=limit,
        source=limit.source,
        blind_to=blind_to,
        summary=summary,
        details={
            "change_K": change,
            "standard_error_K": error,
            "error_from": "replicas" if len(changes) >= _MIN_REPLICAS else "within the runs",
            "target_K": data.settings["temperature_K"],
            "replicas": [
                {
                    "mean_K": float(run.temperature_K.mean()),
                    "change_K": half[0],
                    "standard_error_K": half[1],
                    "n_eff": half[2],
                }
                for run, half in zip(runs, halves, strict=True)
            ],
        },
    )


def _ratio(value: float, error: float) -> float:
    if error > 0.0:
        return value / error
    return 0.0 if value == 0.0 else math.inf


def _momentum_change(run: MdRun) -> tuple[float, float | None]:
    """Return the largest change of momentum and angular momentum over their thermal size."""
    masses = run.atoms.get_masses()
    kinetic = float(run.kinetic_energy_eV.mean())
    if kinetic <= 0.0:
        return 0.0, None
    # One eV is u Å^2 per squared ASE time unit; the momenta are per fs.
    thermal = math.sqrt(2.0 * kinetic * masses.sum()) / ASE_TIME_UNIT_FS
    linear = _largest_change(run.momentum_u_A_per_fs) / thermal
    arms = run.atoms.positions - run.atoms.get_center_of_mass()
    second = (masses[:, None] * arms).T @ arms
    inertia = float(np.trace(second) - np.linalg.eigvalsh(second)[0])
    if run.atoms.pbc.any() or inertia <= 0.0:
        return linear, None
    spinning = math.sqrt(2.0 * kinetic * inertia) / ASE_TIME_UNIT_FS
    return linear, _largest_change(run.angular_momentum_u_A2_per_fs) / spinning


def _largest_change(vectors: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(vectors - vectors[0], axis=1).max())


def _half_change(series: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return mean of the second half minus that of the first, its error, and n_eff."""
    half = len(series) // 2
    first, second = series[:half], series[half : 2 * half]
    deviation = np.concatenate([first - first.mean(), second - second.mean()])
    g = statistical_inefficiency(deviation)
    variance = float(np.mean(deviation**2))
    error = math.sqrt(2.0 * variance * g / half)
    return float(second.mean() - first.mean()), error, len(series) / g


def not_judged(
    check_id: str, title: str, limit: Threshold, blind_to: str, why: str = NOT_LONG_ENOUGH
) -> Check:
    """Return a check without a value: inconclusive, and why."""
    return Check(
        id=check_id,
        title=title,
        verdict="inconclusive",
        value=None,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to=blind_to,
        summary=why,
    )
