"""Figures of a comparison as data: forces, divergence, survival, and the list of observables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mlff_md.protocols.compare_divergence import Divergence
from mlff_md.protocols.compare_forces import ForceData, Side
from mlff_md.protocols.compare_observables import Observed
from mlff_md.protocols.compare_stability import Survival
from mlff_md.protocols.observable_figures import curve, of_observable
from mlff_md.protocols.records import Figure, ReferenceLine, Series, Threshold, Tick
from mlff_md.structures import chemical_symbol

_MEV = 1000.0
_PARITY_POINTS = 1500


def of_forces(data: ForceData, thresholds: Mapping[str, Threshold]) -> list[Figure]:
    """Return the force error along the runs, by element, and as a parity plot."""
    if data.own.errors is None:
        return []
    sides = [("model's own frames", data.own)]
    if data.teachers.errors is not None:
        sides.append(("teacher's frames", data.teachers))
    lines: tuple[ReferenceLine, ...] = ()
    if data.held_out is not None:
        held_out = _MEV * float(data.held_out["mae_eV_per_A"])
        factor = thresholds["on_policy_force_error"].value
        lines = (
            ReferenceLine("held-out error", held_out),
            ReferenceLine(f"limit, {factor:g} times", factor * held_out),
        )
    along = Figure(
        id="force_error",
        title="Force error along the runs",
        caption="Mean absolute difference between the forces of model and teacher on frames of "
        "the model's runs and on those of the teacher's, mean over the runs with its 95 % "
        "interval. A line that rises along the model's own runs means that it drifts to where it "
        "is worse; one that lies above the teacher's, that it visits what the teacher would not.",
        x_label="Time (ps)",
        y_label="Force MAE (meV/Å)",
        series=tuple(_error_band(label, side) for label, side in sides),
        lines=lines,
    )
    numbers = sorted({number for _, side in sides for number in side.by_element()})
    by_element = Figure(
        id="force_error_elements",
        title="Force error by element",
        caption="The same error for the atoms of each element.",
        x_label="Element",
        y_label="Force MAE (meV/Å)",
        series=tuple(
            curve(
                label,
                [numbers.index(number) + 1.0 for number in side.by_element()],
                [_MEV * value for value in side.by_element().values()],
                style="bars",
            )
            for label, side in sides
        ),
        x_ticks=tuple(Tick(k + 1.0, chemical_symbol(n)) for k, n in enumerate(numbers)),
    )
    return [along, by_element, _parity(data.own)]


def of_observables(observed: Sequence[Observed]) -> list[Figure]:
    """Return one figure of all distances, then those of each observable."""
    found = [item for item in observed if item.distance is not None]
    return [figure for item in found for figure in of_observable(item)]


def distances(observed: Sequence[Observed], thresholds: Mapping[str, Threshold]) -> list[Figure]:
    """Return the distances of all judged observables, in units of their margins."""
    judged = [item for item in observed if item.distance is not None and item.id in thresholds]
    if not judged:
        return []
    points, floors, ticks = [], [], []
    for place, item in enumerate(judged, start=1):
        assert item.distance is not None
        margin = thresholds[item.id].value
        value, (low, high) = item.distance.value, item.distance.interval
        high = high if math.isfinite(high) else value
        points.append((place, value / margin, low / margin, high / margin))
        ticks.append(Tick(place, item.id.replace("_", " ")))
        if item.floor is not None:
            floors.append((place + 0.25, item.floor / margin))
    places, values, lows, highs = (list(column) for column in zip(*points, strict=True))
    series = [Series("model", places, values, lows, highs, "errorbar")]
    if floors:
        x, y = zip(*floors, strict=True)
        series.append(Series("teacher from itself", list(x), list(y), style="points"))
    return [
        Figure(
            id="distances",
            title="Distance from the teacher, in margins",
            caption="Each observable's distance between model and teacher over its margin, with "
            "the 95 % interval over the pairs. An interval below 1 is equivalence. Beside it, "
            "the distance of the teacher from itself in runs from other starts: what runs of this "
            "length can tell at all. Pairs share their starts, so they can lie below it.",
            x_label="Observable",
            y_label="Distance / margin",
            series=tuple(series),
            lines=(ReferenceLine("margin", 1.0),),
            y_scale="log",
            x_ticks=tuple(ticks),
        )
    ]


def of_divergence(found: Divergence) -> list[Figure]:
    """Return the distance between the two runs of the pairs over time."""
    if not len(found.model):
        return []
    series = []
    for label, rows in (
        ("model from teacher", found.model),
        ("teacher from itself, moved by 10⁻⁸ Å", found.kicked),
    ):
        # At the start the two runs of a pair are in one place, which has no logarithm.
        alive = (rows > 0.0).any(axis=0)
        if len(rows):
            x, part = found.times_ps[alive], rows[:, alive]
            low, high = (np.nanmin(part, axis=0), np.nanmax(part, axis=0))
            series.append(curve(label, x, np.nanmedian(part, axis=0), low, high))
    return [
        Figure(
            id="divergence",
            title="Divergence of runs from the same start",
            caption="Root mean square distance between the atoms of two runs that began in the "
            "same state: median and range over the pairs. Chaos parts any two runs; the teacher's "
            "own line says how fast. A model must leave the teacher: that is no error by itself.",
            x_label="Time (ps)",
            y_label="Distance (Å)",
            series=tuple(series),
            lines=(ReferenceLine("horizon", found.horizon_A),),
            y_scale="log",
        )
    ]


def of_survival(survival: Survival) -> list[Figure]:
    """Return the share of runs that are still sound over time, if any was lost."""
    sides = (("model", survival.model), ("teacher", survival.teacher))
    if not any(fate.why for _, fates in sides for fate in fates.values()):
        return []
    series = []
    for label, fates in sides:
        if fates:
            ends = sorted(fate.time_ps for fate in fates.values() if fate.why is not None)
            x, y = [0.0], [100.0]
            for rank, end in enumerate(ends, start=1):
                x += [end, end]
                y += [y[-1], 100.0 * (1.0 - rank / len(fates))]
            series.append(curve(label, [*x, survival.length_ps], [*y, y[-1]]))
    return [
        Figure(
            id="survival",
            title="Survival",
            caption="Share of the runs that are still sound: no blow-up, no bond of a molecule "
            "more than 0.5 Å off its length, g(r) of a liquid or crystal still the teacher's.",
            x_label="Time (ps)",
            y_label="Sound runs (%)",
            series=tuple(series),
        )
    ]


def _error_band(label: str, side: Side) -> Series:
    longest = max(side.times_ps, key=len)
    values = np.full((len(side.frame_mae), len(longest)), np.nan)
    for row, mae in zip(values, side.frame_mae, strict=True):
        row[: len(mae)] = _MEV * mae
    count = np.isfinite(values).sum(axis=0)
    mean = np.nanmean(values, axis=0)
    if count.min() < 2:
        return curve(label, longest, mean)
    from scipy.special import stdtrit

    error = np.nanstd(values, axis=0, ddof=1) / np.sqrt(count) * stdtrit(count - 1, 0.975)
    return curve(label, longest, mean, np.maximum(mean - error, 0.0), mean + error)


def _parity(side: Side) -> Figure:
    teacher, model = side.teacher.ravel(), side.model.ravel()
    keep = np.arange(len(teacher))
    if len(keep) > _PARITY_POINTS:
        keep = np.random.default_rng(0).choice(keep, _PARITY_POINTS, replace=False)
    ends = [float(teacher[keep].min()), float(teacher[keep].max())]
    return Figure(
        id="force_parity",
        title="Forces on the model's own frames",
        caption="Components of the forces of both force fields on the frames that the model visits "
        f"({len(keep)} of {len(teacher)}, drawn by chance).",
        x_label="Teacher (eV/Å)",
        y_label="Model (eV/Å)",
        series=(
            curve("components", teacher[keep], model[keep], style="points"),
            curve("equal", ends, ends),
        ),
    )
