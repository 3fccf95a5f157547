"""Checks of the order of the integrator and of time reversal, and their figure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlff_md.protocols.nve_checks import not_judged
from mlff_md.protocols.nve_order import OrderData, fitted_order
from mlff_md.protocols.records import Check, Figure, Series, Threshold, Verdict
from mlff_md.statistics import mean_ci

Thresholds = Mapping[str, Threshold]

_ORDER_TITLE = "Energy swing falls with the square of the time step"
_ORDER_BLIND = (
    "a potential that is wrong but smooth and consistent (quantised weights, a poor fit: compare "
    "with the teacher); defects that need a longer run to show"
)
_REVERSAL_TITLE = "Time reversal leads back"
_REVERSAL_BLIND = (
    "forces that belong to no energy: velocity Verlet is reversible for any function of the "
    "positions"
)


def dt_order(data: OrderData | None, thresholds: Thresholds) -> Check:
    """Exponent p with which the swing of the total energy falls with the time step."""
    limit, high = thresholds["dt_order"], thresholds["dt_order_high"]
    if data is None or not data.energies_eV:
        why = data.errors[0] if data and data.errors else "it was not measured"
        return not_judged("dt_order", _ORDER_TITLE, limit, _ORDER_BLIND, why)
    swings = data.swings()
    fits = [fitted_order(data.timesteps_fs, start) for start in swings]
    found = [fit for fit in fits if fit is not None]
    if len(found) < len(fits):
        why = "the noise of the energies hides their swing; energies need more digits"
        return not_judged("dt_order", _ORDER_TITLE, limit, _ORDER_BLIND, why)
    orders = [order for order, _ in found]
    mean = mean_ci(orders)
    interval = mean.interval if mean.n > 1 else (min(found[0][1]), max(found[0][1]))
    verdict, meaning = _judge(orders, interval, thresholds)
    ends = f"{interval[0]:.3g} to {interval[1]:.3g}"
    local = "; ".join(", ".join(f"{value:.2f}" for value in pair) for _, pair in found)
    return Check(
        id="dt_order",
        title=_ORDER_TITLE,
        verdict=verdict,
        value=mean.mean,
        unit=limit.unit,
        ci=interval,
        n_eff=float(mean.n),
        threshold=limit,
        source=limit.source,
        blind_to=_ORDER_BLIND,
        summary=f"order {mean.mean:.3g} (95 % CI {ends}): {meaning}",
        details={
            "timesteps_fs": data.timesteps_fs,
            "highest_order_that_passes": high.value,
            "fails_below": thresholds["dt_order_fail"].value,
            "orders_of_neighboring_steps": local,
            "swing_meV_per_atom": [[swing for swing, _ in start] for start in swings],
            "white_noise_meV_per_atom": [[noise for _, noise in start] for start in swings],
            "errors": data.errors,
        },
    )


def _judge(
    orders: list[float], interval: tuple[float, float], thresholds: Thresholds
) -> tuple[Verdict, str]:
    """Judge by the interval; starts that all fail by themselves make a failure of any interval."""
    low, high = thresholds["dt_order"].value, thresholds["dt_order_high"].value
    floor = thresholds["dt_order_fail"].value
    if low <= interval[0] and interval[1] <= high:
        return "pass", "two, as it must be"
    if interval[1] < floor or max(orders) < floor:
        return "fail", "forces and energy do not belong together, or are not smooth"
    if min(orders) > high:
        return "inconclusive", "more than two: the time step is too long to judge by"
    return "inconclusive", "neither clearly two nor clearly less: longer runs, more replicas"


def reversibility(data: OrderData | None, thresholds: Thresholds, precision: str | None) -> Check:
    """How far from its start a trajectory ends after n steps there and n steps back."""
    limit = thresholds["reversibility_float64" if precision == "float64" else "reversibility"]
    if data is None or not data.returns_A:
        why = data.errors[0] if data and data.errors else "it was not measured"
        return not_judged("reversibility", _REVERSAL_TITLE, limit, _REVERSAL_BLIND, why)
    worst = max(data.returns_A)
    verdict: Verdict = "inconclusive"
    if math.isfinite(worst):
        verdict = "pass" if worst <= limit.value else "fail"
    return Check(
        id="reversibility",
        title=_REVERSAL_TITLE,
        verdict=verdict,
        value=worst,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to=_REVERSAL_BLIND,
        summary=f"atoms end {worst:.1e} Å (rms) from where they began",
        details={"each_start_A": data.returns_A, "judged_as": precision or "float32"},
    )


def order_figure(data: OrderData | None) -> Figure | None:
    """Return swing against time step, log-log, with a line of slope two."""
    if data is None or not data.energies_eV:
        return None
    swings = data.swings()
    series = [
        Series(f"start {k}", data.timesteps_fs, [swing for swing, _ in start], style="line")
        for k, start in enumerate(swings)
    ]
    first = max(start[0][0] for start in swings)
    guide = [first * (step / data.timesteps_fs[0]) ** 2 for step in data.timesteps_fs]
    return Figure(
        id="dt_order",
        title="Swing of the total energy against the time step",
        caption="Root mean square of the detrended total energy of the same starts, run for the "
        "same time at three time steps. Consistent, smooth forces give lines parallel to the "
        "guide of slope two; a line that levels off shows noise, steps or forces without energy.",
        x_label="Time step (fs)",
        y_label="rms of E (meV/atom)",
        series=(*series, Series("slope two", data.timesteps_fs, guide)),
        x_scale="log",
        y_scale="log",
    )
