"""Checks and figures of the ensemble protocol. Each takes the raw data."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mlff_md.protocols.ensemble_data import EnsembleData, Samples
from mlff_md.protocols.records import Check, Figure, Series, Threshold, Verdict
from mlff_md.statistics import abs_interval, judge_upper, statistical_inefficiency, student_t
from mlff_md.units import BOLTZMANN_EV_PER_K

Thresholds = Mapping[str, Threshold]
Estimate = tuple[float, tuple[float, float], float]
"""Deviation in percent, its 95 % interval, effective number of samples."""

_MIN_N_EFF = 20.0
_BINS = 40


def checks(data: EnsembleData, thresholds: Thresholds) -> tuple[Check, ...]:
    """Return all checks; those that lack a run are inconclusive."""
    return (
        _stability(data, thresholds),
        _kinetic_temperature(data, thresholds),
        _kinetic_spread(data, thresholds),
        _equipartition(data, thresholds),
        _two_temperatures(data, thresholds),
    )


def figures(data: EnsembleData) -> tuple[Figure, ...]:
    """Return the distributions, and the logarithm of the ratio of those of the energy."""
    if len(data.runs) < 2:
        return ()
    return (_kinetic_figure(data), _potential_figure(data), _ratio_figure(data))


def slope_of_ratio(cold: Samples, hot: Samples) -> tuple[float, float, float]:
    """Return the slope of ln(P_hot/P_cold) against the energy, its error, and what it should be.

    Maximum likelihood for independent samples (Shirts 2013, eq. 14): samples are thinned by their
    statistical inefficiency. Energies in eV, slopes in 1/eV.
    """
    thinned = [_independent(run.potential_eV) for run in (cold, hot)]
    center = float(np.concatenate(thinned).mean())
    x = np.concatenate(thinned) - center
    label = np.repeat([0.0, 1.0], [len(part) for part in thinned])
    design = np.stack([np.ones_like(x), x], axis=1)
    guess = np.zeros(2)
    information = np.eye(2)
    for _ in range(50):  # Newton's method; the likelihood has one maximum
        probability = 1.0 / (1.0 + np.exp(-np.clip(design @ guess, -500.0, 500.0)))
        information = (design * (probability * (1.0 - probability))[:, None]).T @ design
        try:
            step = np.linalg.solve(information, design.T @ (label - probability))
        except np.linalg.LinAlgError:
            return math.nan, math.inf, math.nan
        guess = guess + step
        if float(np.abs(step).max()) < 1e-10 * max(1.0, float(np.abs(guess).max())):
            break
    error = math.sqrt(float(np.linalg.pinv(information)[1, 1]))
    betas = [1.0 / (BOLTZMANN_EV_PER_K * run.temperature_K) for run in (cold, hot)]
    return float(guess[1]), error, betas[0] - betas[1]


def _stability(data: EnsembleData, thresholds: Thresholds) -> Check:
    limit = thresholds["stability"]
    wanted = len(data.record["runs"])
    errors = [entry["error"] for entry in data.record["runs"] if entry["error"] is not None]
    percent = 100.0 * len(data.runs) / max(wanted, 1)
    steps = int(data.record["settings"]["steps"])
    return Check(
        id="stability",
        title="Both runs reach their end",
        verdict="fail" if percent < limit.value else "pass",
        value=percent,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to="what happens after the last step; a bond that breaks quietly",
        summary=errors[0] if errors else f"both runs made {steps} steps",
    )


def _kinetic_temperature(data: EnsembleData, thresholds: Thresholds) -> Check:
    found = []
    for run in data.runs:
        wanted = 1.5 * sum(data.counts) * BOLTZMANN_EV_PER_K * run.temperature_K
        label = f"{run.temperature_K:g} K"
        found.append((label, _mean_deviation(run.kinetic_eV.sum(axis=1), wanted, 0.95)))
    return _judged(
        "kinetic_temperature",
        "The mean kinetic energy is that of the bath",
        found,
        thresholds,
        "a force field that is wrong: any that is stable takes the temperature of the bath",
    )


def _kinetic_spread(data: EnsembleData, thresholds: Thresholds) -> Check:
    found = []
    for run in data.runs:
        kinetic = run.kinetic_eV.sum(axis=1)
        wanted = math.sqrt(1.5 * sum(data.counts)) * BOLTZMANN_EV_PER_K * run.temperature_K
        # The deviations' squares forget twice as fast as the deviations.
        n_eff = len(kinetic) / statistical_inefficiency((kinetic - kinetic.mean()) ** 2)
        value = 100.0 * (float(kinetic.std(ddof=1)) / wanted - 1.0)
        half = 100.0 * student_t(max(n_eff - 1.0, 1.0)) / math.sqrt(2.0 * max(n_eff, 1.0))
        found.append((f"{run.temperature_K:g} K", (value, (value - half, value + half), n_eff)))
    return _judged(
        "kinetic_spread",
        "The kinetic energy fluctuates as Maxwell and Boltzmann have it",
        found,
        thresholds,
        "a force field that is wrong; it sees thermostats that hold the temperature too tightly",
    )


def _equipartition(data: EnsembleData, thresholds: Thresholds) -> Check:
    found = []
    confidence = 1.0 - 0.05 / max(1, len(data.runs) * len(data.counts))
    for run in data.runs:
        for e, (symbol, count) in enumerate(zip(data.symbols, data.counts, strict=True)):
            wanted = 1.5 * count * BOLTZMANN_EV_PER_K * run.temperature_K
            deviation = _mean_deviation(run.kinetic_eV[:, e], wanted, confidence)
            found.append((f"{symbol} at {run.temperature_K:g} K", deviation))
    return _judged(
        "equipartition",
        "All elements have the same temperature",
        found,
        thresholds,
        "an uneven temperature within an element; intervals are Bonferroni's",
    )


def _two_temperatures(data: EnsembleData, thresholds: Thresholds) -> Check:
    found = []
    if len(data.runs) == 2:
        slope, error, wanted = slope_of_ratio(*data.runs)
        value, half = 100.0 * (slope / wanted - 1.0), 100.0 * 1.96 * error / wanted
        n_eff = min(
            len(run.potential_eV) / statistical_inefficiency(run.potential_eV) for run in data.runs
        )
        found.append(("slope", (value, (value - half, value + half), n_eff)))
    return _judged(
        "two_temperatures",
        "Energies at two temperatures are in Boltzmann's ratio",
        found,
        thresholds,
        "an energy that is wrong but whose gradient the forces are; forces off by less than the "
        "interval",
    )


def _judged(
    id: str,
    title: str,
    found: list[tuple[str, Estimate]],
    thresholds: Thresholds,
    blind_to: str,
) -> Check:
    """Judge the estimate that is furthest off by its interval."""
    limit = thresholds[id]
    found = [entry for entry in found if math.isfinite(entry[1][0])]
    verdict: Verdict = "inconclusive"
    if not found:
        return Check(
            id=id,
            title=title,
            verdict=verdict,
            value=None,
            unit=limit.unit,
            threshold=limit,
            source=limit.source,
            blind_to=blind_to,
            summary="there are not two runs to judge this by",
        )
    outcomes = {label: judge_upper(abs_interval(ci), limit.value) for label, (_, ci, _) in found}
    order = ("fail", "inconclusive", "pass")
    label, (value, ci, n_eff) = min(
        found, key=lambda entry: (order.index(outcomes[entry[0]]), -abs(entry[1][0]))
    )
    verdict = outcomes[label]
    if n_eff < _MIN_N_EFF:
        verdict = "inconclusive"
    words = {
        "pass": "within the limit",
        "fail": "beyond the limit",
        "inconclusive": "longer runs are needed to tell",
    }[verdict]
    return Check(
        id=id,
        title=title,
        verdict=verdict,
        value=value,
        unit=limit.unit,
        ci=ci,
        n_eff=n_eff,
        threshold=limit,
        source=limit.source,
        blind_to=blind_to,
        summary=f"{label}: {value:+.2g} % (95 % CI {ci[0]:+.2g} to {ci[1]:+.2g}): {words}",
        details={
            "deviations_percent": {
                name: {"value": one, "low": interval[0], "high": interval[1], "n_eff": count}
                for name, (one, interval, count) in found
            }
        },
    )


def _mean_deviation(series: NDArray[np.float64], wanted: float, confidence: float) -> Estimate:
    n_eff = len(series) / statistical_inefficiency(series)
    error = float(series.std(ddof=1)) / math.sqrt(max(n_eff, 1.0))
    half = 100.0 * student_t(max(n_eff - 1.0, 1.0), confidence) * error / wanted
    value = 100.0 * (float(series.mean()) / wanted - 1.0)
    return value, (value - half, value + half), n_eff


def _independent(series: NDArray[np.float64]) -> NDArray[np.float64]:
    return series[:: max(1, math.ceil(statistical_inefficiency(series)))]


def _kinetic_figure(data: EnsembleData) -> Figure:
    from scipy.stats import gamma

    series = []
    for run in data.runs:
        kinetic = run.kinetic_eV.sum(axis=1)
        x, density = _density(kinetic)
        scale = BOLTZMANN_EV_PER_K * run.temperature_K
        theory = gamma.pdf(x, 1.5 * sum(data.counts), scale=scale)
        label = f"{run.temperature_K:g} K"
        series.append(Series(f"{label}, run", x.tolist(), density.tolist(), style="points"))
        series.append(Series(f"{label}, Maxwell-Boltzmann", x.tolist(), theory.tolist()))
    return Figure(
        "kinetic",
        "Kinetic energy",
        "Distribution of the kinetic energy, and that of Maxwell and Boltzmann at the temperature "
        "of the bath.",
        "Kinetic energy (eV)",
        "Density (1/eV)",
        series,
    )


def _potential_figure(data: EnsembleData) -> Figure:
    lowest = min(float(run.potential_eV.min()) for run in data.runs)
    series = []
    for run in data.runs:
        x, density = _density(run.potential_eV - lowest)
        series.append(Series(f"{run.temperature_K:g} K", x.tolist(), density.tolist()))
    return Figure(
        "potential",
        "Potential energy",
        "Distribution of the potential energy above the lowest one met, at both temperatures. "
        "They have to overlap for the check that compares them.",
        "Potential energy (eV)",
        "Density (1/eV)",
        series,
    )


def _ratio_figure(data: EnsembleData) -> Figure:
    cold, hot = data.runs
    both = np.concatenate([cold.potential_eV, hot.potential_eV])
    edges = np.histogram_bin_edges(both, _BINS)
    counts = [np.histogram(run.potential_eV, edges)[0] for run in data.runs]
    enough = (counts[0] >= 10) & (counts[1] >= 10)
    middle = 0.5 * (edges[1:] + edges[:-1]) - edges[0]
    ratio = np.log(
        np.where(enough, counts[1], 1)
        * len(cold.potential_eV)
        / (np.where(enough, counts[0], 1) * len(hot.potential_eV))
    )
    slope, _, wanted = slope_of_ratio(cold, hot)
    x = middle[enough]
    anchor = float((ratio[enough] - slope * x).mean()) if len(x) else 0.0
    level = float((ratio[enough] - wanted * x).mean()) if len(x) else 0.0
    return Figure(
        "ratio",
        "Ratio of the two distributions",
        "Logarithm of the ratio of the distributions of the potential energy. Boltzmann's slope "
        "is the difference of 1/kT; it needs no reference.",
        "Potential energy (eV)",
        "ln(P_hot / P_cold)",
        [
            Series("runs", x.tolist(), ratio[enough].tolist(), style="points"),
            Series("maximum likelihood", x.tolist(), (anchor + slope * x).tolist()),
            Series("Boltzmann", x.tolist(), (level + wanted * x).tolist()),
        ],
    )


def _density(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    density, edges = np.histogram(values, _BINS, density=True)
    return 0.5 * (edges[1:] + edges[:-1]), density
