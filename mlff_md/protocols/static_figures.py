"""Figures of the static protocol as data: scans of the difference step, and of the cutoff."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlff_md.protocols.records import Figure, ReferenceLine, Series, Threshold
from mlff_md.protocols.static_data import StaticData
from mlff_md.protocols.static_evaluate import Array
from mlff_md.protocols.static_scans import asymmetries, gradient_errors

_SMALLEST = 1e-16


def figures(data: StaticData, thresholds: Mapping[str, Threshold]) -> tuple[Figure, ...]:
    """Return the figures for whatever stages were made."""
    made = [_differences(data, thresholds), _copy_drawn_away(data)]
    return tuple(figure for figure in made if figure is not None)


def _differences(data: StaticData, thresholds: Mapping[str, Threshold]) -> Figure | None:
    stage = data.stage_with_forces("differences")
    if stage is None:
        return None
    series = [
        _curve("forces against energy", *gradient_errors(stage, "step_A", "slope")),
        _curve("asymmetry of the Jacobian", *asymmetries(stage)),
    ]
    return Figure(
        id="differences",
        title="Errors against the difference step",
        caption="Relative error of forces as the derivative of the energy, and asymmetry of their "
        "own derivative. Correct forces give a V: the error falls with the step until rounding "
        "lifts it again. A curve that levels off at a step-independent value shows a real error.",
        x_label="Difference step (Å)",
        y_label="Relative error",
        series=tuple(series),
        lines=(ReferenceLine("limit", data.limit(thresholds, "force_gradient").value),),
        x_scale="log",
        y_scale="log",
    )


def _copy_drawn_away(data: StaticData) -> Figure | None:
    stage = data.stage("cutoff")
    if stage is None or "copy_x" not in stage:
        return None
    x, energy = stage["copy_x"], stage["copy_energy_eV"]
    return Figure(
        id="copy",
        title="A second copy drawn away",
        caption="Energy of two copies of the structure against how far one is moved from the "
        "other, relative to the end. Pairs of atoms cross the cutoff all along the way, so a "
        "truncated potential shows steps here; the checks magnify the most suspicious places.",
        x_label="Displacement (Å)",
        y_label="Energy (eV)",
        series=(Series("two copies", x.tolist(), (energy - energy[-1]).tolist()),),
    )


def _curve(label: str, steps: Array, errors: Array) -> Series:
    return Series(label, steps.tolist(), np.maximum(errors, _SMALLEST).tolist(), style="line")
