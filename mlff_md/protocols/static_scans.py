"""Static checks that scan a difference step: gradient of the energy, virial, Jacobian."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlff_md.protocols.records import Check
from mlff_md.protocols.static_data import StaticData, Thresholds, make_check, not_measured
from mlff_md.protocols.static_evaluate import Array

_LEVEL_STEPS = 5
_LEVEL_FACTOR = 1.6

GRADIENT_TITLE = "Forces are the gradient of the energy"
GRADIENT_BLIND = (
    "what happens far from this structure; an energy that is wrong together with its forces"
)


def gradient_errors(stage: Mapping[str, Array], step: str, slope: str) -> tuple[Array, Array]:
    """Return steps and relative errors of the slopes, extrapolated from each step and its half."""
    energies, steps = stage["energy_eV"], stage[step]
    central = (energies[..., 0] - energies[..., 1]) / (2.0 * steps)
    better = _extrapolated(central)
    size = float(np.linalg.norm(stage[slope]))
    errors = np.linalg.norm(better - stage[slope][:, None], axis=0)
    return steps[:-1], errors / size if size > 0.0 else np.full(len(errors), np.nan)


def asymmetries(stage: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return steps and the relative asymmetry abs(u.Jw - w.Ju) / (abs(u.Jw) + abs(w.Ju))."""
    projections, steps = stage["projection"], stage["step_A"]
    central = (projections[:, :, 0] - projections[:, :, 1]) / (2.0 * steps[None, :, None])
    jacobian = _extrapolated(central).transpose(1, 0, 2)
    above = np.triu_indices(jacobian.shape[1], 1)
    values = []
    for matrix in jacobian:
        one, other = matrix[above], matrix.T[above]
        size = float(np.linalg.norm(np.abs(one) + np.abs(other)))
        values.append(float(np.linalg.norm(one - other)) / size if size > 0.0 else np.nan)
    return steps[:-1], np.array(values)


def _extrapolated(central: Array) -> Array:
    """Return fourth-order differences from second-order ones of steps h and h/2 (axis 1)."""
    return (4.0 * central[:, 1:] - central[:, :-1]) / 3.0


def force_gradient(data: StaticData, thresholds: Thresholds) -> Check:
    """Whether forces are minus the derivative of the energy, by a scan of difference steps."""
    stage = data.stage_with_forces("differences")
    title, blind = GRADIENT_TITLE, GRADIENT_BLIND
    if stage is None:
        return not_measured(data, thresholds, "force_gradient", "differences", title, blind)
    steps, errors = gradient_errors(stage, "step_A", "slope")
    scan = ("differences", steps, errors, "Å")
    return _scan_check(data, thresholds, "force_gradient", title, blind, scan)


def virial_gradient(data: StaticData, thresholds: Thresholds) -> Check | None:
    """Whether the stress is the derivative of the energy by strain."""
    stage = data.stage("strains")
    title = "Stress is the derivative by strain"
    blind = "the kinetic part of the pressure; large strains"
    if stage is None:
        if "strains" not in data.errors:
            return None
        return not_measured(data, thresholds, "virial_gradient", "strains", title, blind)
    steps, errors = gradient_errors(stage, "strain", "slope_eV")
    scan = ("strains", steps, errors, "")
    return _scan_check(data, thresholds, "virial_gradient", title, blind, scan)


def jacobian_symmetry(data: StaticData, thresholds: Thresholds) -> Check:
    """Whether the derivative of the forces is symmetric, as that of a gradient is."""
    stage = data.stage_with_forces("differences")
    title = "Jacobian of the forces is symmetric"
    blind = "forces that are a gradient, but not of this energy (a wrong unit)"
    if stage is None:
        return not_measured(data, thresholds, "jacobian_symmetry", "differences", title, blind)
    steps, values = asymmetries(stage)
    scan = ("differences", steps, values, "Å")
    return _scan_check(data, thresholds, "jacobian_symmetry", title, blind, scan)


def _scan_check(
    data: StaticData,
    thresholds: Thresholds,
    name: str,
    title: str,
    blind: str,
    scan: tuple[str, Array, Array, str],
) -> Check:
    """Judge the smallest error of a scan: its stage, difference steps, errors, unit of the steps.

    Rounding makes the error grow as the step shrinks. One that stays level over four steps or
    more is no rounding but real, and is held to the limit for such levels, the stricter one.
    """
    stage, steps, errors, unit = scan
    if np.isnan(errors).all():
        return not_measured(data, thresholds, name, stage, title, blind, "nothing to compare: zero")
    best = int(np.nanargmin(errors))
    level = level_of(errors)
    value = float(errors[best]) if level is None else level
    at = f"{steps[best]:.1e} {unit}".strip()
    details = {"steps": steps.tolist(), "relative_errors": errors.tolist(), "level": level}
    summary = f"smallest relative error over the difference steps is {value:.1e} (at {at})"
    if level is not None:
        summary = f"relative error is {value:.1e} whatever the difference step: not rounding"
    limit_name = name if level is None else "level_error"
    return make_check(
        data, thresholds, name, title, blind, value, summary, details, limit_name=limit_name
    )


def level_of(errors: Array) -> float | None:
    """Return the height at which an error stays level, over five steps or more, if it does.

    Rounding doubles from step to step and truncation falls sixteenfold. The smallest error alone
    would be fooled where the truncation of a large step happens to cancel a real error.
    """
    windows = np.lib.stride_tricks.sliding_window_view(errors, _LEVEL_STEPS)
    low, high = windows.min(axis=1), windows.max(axis=1)
    levels = windows.mean(axis=1)[high <= _LEVEL_FACTOR * low]
    return float(levels.min()) if len(levels) else None
