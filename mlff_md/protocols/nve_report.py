"""The report of the NVE protocol: which checks and figures its raw data allow, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlff_md.protocols import nve_checks, nve_energy, nve_order, nve_restart
from mlff_md.protocols.nve_data import NveData, load
from mlff_md.protocols.nve_figures import figures, quantities
from mlff_md.protocols.nve_order import OrderData
from mlff_md.protocols.nve_order_checks import dt_order, order_figure, reversibility
from mlff_md.protocols.provenance import calculator_name
from mlff_md.protocols.records import Check, Figure, Report, Threshold, overall_verdict
from mlff_md.protocols.static import load as load_static
from mlff_md.protocols.static_checks import checks as static_checks
from mlff_md.protocols.static_data import StaticData
from mlff_md.protocols.static_figures import figures as static_figures
from mlff_md.protocols.static_scans import GRADIENT_BLIND, GRADIENT_TITLE

Thresholds = Mapping[str, Threshold]

COMMAND = "validate-nve"


def report(folder: Path, thresholds: Thresholds) -> Report:
    """Judge the raw data in a folder.

    Parameters
    ----------
    folder
        The raw folder itself.
    thresholds
        Limits, see :func:`mlff_md.protocols.thresholds.with_overrides`.

    Raises
    ------
    DataError
        If the raw data are missing or damaged.
    """
    data = load(folder)
    order = nve_order.load(folder, data.record)
    static = load_static(folder, data.record)
    drift = nve_energy.drift(data, thresholds)
    checks = (
        nve_checks.stability(data, thresholds),
        drift,
        nve_energy.drift_per_100_steps(data, thresholds),
        *_order_checks(data, order, static, thresholds),
        *_restart_check(folder, data, thresholds),
        nve_checks.momentum(data, thresholds),
        nve_checks.temperature(data, thresholds, energy=drift.verdict),
        *_static_checks(data, static, thresholds),
    )
    record = data.record
    name = calculator_name(record["calculator"])
    state = f"{data.settings['temperature_K']:g} K"
    if data.settings.get("md", "ase") != "ase":
        state += f", {record['md']}"
    return Report(
        command=COMMAND,
        title=f"{name} on {record['structure']['name']}, {state}",
        verdict=overall_verdict(checks),
        checks=checks,
        provenance={
            key: record[key]
            for key in ("calculator", "structure", "settings", "units", "environment")
            if key in record
        },
        quantities=quantities(data),
        figures=_figures(data, order, static, thresholds),
    )


def _order_checks(
    data: NveData, order: OrderData | None, static: StaticData | None, limits: Thresholds
) -> tuple[Check, ...]:
    """Return the checks that the settings ask for; cut off runs leave them without a verdict."""
    precision = static.precision[0] if static is not None else data.dtype
    made = []
    if data.settings.get("order_steps"):
        made.append(dt_order(order, limits))
    if data.settings.get("reversal_steps"):
        made.append(reversibility(order, limits, precision))
    return tuple(made)


def _restart_check(folder: Path, data: NveData, thresholds: Thresholds) -> list[Check]:
    if not data.settings.get("restart_steps") or data.settings.get("md", "ase") != "ase":
        return []
    return [nve_restart.check(folder, data.record, thresholds)]


def _static_checks(
    data: NveData, static: StaticData | None, limits: Thresholds
) -> tuple[Check, ...]:
    if static is not None:
        return static_checks(static, limits)
    if not data.settings.get("static"):
        return ()
    why = "the run was cut off before the static protocol"
    limit = limits["force_gradient"]
    return (nve_checks.not_judged("force_gradient", GRADIENT_TITLE, limit, GRADIENT_BLIND, why),)


def _figures(
    data: NveData, order: OrderData | None, static: StaticData | None, limits: Thresholds
) -> tuple[Figure, ...]:
    made = list(figures(data, limits))
    order_drawn = order_figure(order)
    if order_drawn is not None:
        made.insert(min(3, len(made)), order_drawn)
    return (*made, *(static_figures(static, limits) if static is not None else ()))
