"""Figures of the NVE protocol as data, and the figures that other packages report."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mlff_md.protocols.drawing import short
from mlff_md.protocols.nve_data import FS_PER_PS, MEV_PER_EV, NveData, Replica
from mlff_md.protocols.nve_energy import literal_change, replica_mean
from mlff_md.protocols.nve_order import detrended_rms
from mlff_md.protocols.records import Figure, Quantity, ReferenceLine, Series, Threshold, Tick
from mlff_md.protocols.shadow import shadow_energy
from mlff_md.statistics import abs_interval
from mlff_md.units import BOLTZMANN_EV_PER_K, KJ_PER_MOL_PER_EV

MAX_POINTS = 600
_BLOCKS = 50


def figures(data: NveData, thresholds: Mapping[str, Threshold]) -> tuple[Figure, ...]:
    """Return the figures for whatever replicas have a run, unstable ones included."""
    replicas = [r for r in data.replicas if r.run is not None and len(r.run.time_fs) > 1]
    if not replicas:
        return ()
    made = [_total_energy(replicas)]
    if any(shadow_energy(r.run) for r in replicas if r.run is not None):
        made.append(_shadow_energy(replicas))
    if data.usable:
        made.append(_drifts(data, thresholds))
    made += [_exchange(replicas[0]), _temperature(data, replicas)]
    return tuple(made)


def quantities(data: NveData) -> tuple[Quantity, ...]:
    """Return the figures that other packages report, from the replicas that ran to the end."""
    replicas = [r for r in data.usable if r.mean_kinetic_energy_meV > 0.0]
    if not replicas:
        return ()
    rows: dict[str, list[float]] = {}
    for replica in replicas:
        for name, value in _figures_of_merit(replica).items():
            rows.setdefault(name, []).append(value)
    made = []
    for name, values in rows.items():
        title, unit, source = _QUANTITIES[name]
        mean = replica_mean(values)
        interval = mean.interval if mean.n > 1 else None
        made.append(Quantity(name, title, mean.mean, unit, source, interval))
    for name, value in literal_change(replicas).items():
        title, unit, source = _QUANTITIES[name]
        made.append(Quantity(name, title, value, unit, source))
    return tuple(made)


_LITERAL = "the same criterion read literally: total energy, its bounded swing included"
_QUANTITIES = {
    "drift_gromacs": ("Drift, as GROMACS prints it", "kJ/mol/ps/atom", "GROMACS: gmx energy"),
    "drift_kT": ("Drift in thermal energies", "kT/ns/atom", "common in papers on time steps"),
    "drift_total_energy": (
        "Drift of the total energy itself",
        "meV/atom/ps",
        "least squares without the shadow correction",
    ),
    "mlipaudit_ratio": (
        "Drift over the run / spread of the kinetic energy",
        "1",
        "MLIPAudit: nve_energy_conservation",
    ),
    "total_energy_rms": (
        "Fluctuation of the total energy (rms, detrended)",
        "meV/atom",
        "grows with the square of the time step",
    ),
    "shadow_energy_rms": (
        "Fluctuation of the shadow energy (rms, detrended)",
        "meV/atom",
        "Toxvaerd et al., J. Chem. Phys. 136, 224106 (2012); far smaller than the line above "
        "where forces are the gradient of a smooth energy",
    ),
    "mean_temperature": ("Mean temperature", "K", "2 <E_kin> / (f k_B)"),
    "mean_percent_of_kinetic": ("Mean abs(E(t + 100 steps) - E(t)) / E_kin", "%", _LITERAL),
    "rms_percent_of_kinetic": ("The same, root mean square", "%", _LITERAL),
    "worst_percent_of_kinetic": ("The same, worst case", "%", _LITERAL),
    "mean_percent_of_total": ("Mean abs(E(t + 100 steps) - E(t)) / abs(E_tot)", "%", _LITERAL),
}


def _figures_of_merit(replica: Replica) -> dict[str, float]:
    run = replica.run
    assert run is not None
    slope = replica.drift.value
    temperature = float(run.temperature_K.mean())
    length_ps = float(run.time_fs[-1] - run.time_fs[0]) / FS_PER_PS
    spread = MEV_PER_EV * float(run.kinetic_energy_eV.std()) / run.n_atoms
    merits = {"drift_gromacs": slope / MEV_PER_EV * KJ_PER_MOL_PER_EV}
    if temperature > 0.0:
        thermal = MEV_PER_EV * BOLTZMANN_EV_PER_K * temperature
        merits["drift_kT"] = slope * 1000.0 / thermal
    merits["drift_total_energy"] = replica.raw_drift.value
    if spread > 0.0:
        merits["mlipaudit_ratio"] = abs(slope) * length_ps / spread
    scale = MEV_PER_EV / run.n_atoms
    merits["total_energy_rms"] = scale * detrended_rms(run.total_energy_eV)
    shadow = shadow_energy(run)
    if shadow is not None:
        merits["shadow_energy_rms"] = scale * detrended_rms(shadow[1])
    merits["mean_temperature"] = temperature
    return merits


def _total_energy(replicas: list[Replica]) -> Figure:
    series = []
    for replica in replicas:
        run = replica.run
        assert run is not None
        energy = MEV_PER_EV * (run.total_energy_eV - run.total_energy_eV[0]) / run.n_atoms
        series.append(_line(f"replica {replica.index}", run.time_fs / FS_PER_PS, energy))
    return Figure(
        id="total_energy",
        title="Total energy",
        caption="Deviation of the total energy from its value at the start of each replica. "
        "Velocity Verlet lets it swing within a band whose width goes with the square of the "
        "time step; a band that tilts is drift, a step or a widening band is a defect.",
        x_label="Time (ps)",
        y_label="E − E(0) (meV/atom)",
        series=tuple(series),
        lines=(ReferenceLine("conserved", 0.0),),
    )


def _shadow_energy(replicas: list[Replica]) -> Figure:
    series = []
    for replica in replicas:
        assert replica.run is not None
        shadow = shadow_energy(replica.run)
        if shadow is None:
            continue
        times, energy = shadow
        deviation = MEV_PER_EV * (energy - energy[0]) / replica.run.n_atoms
        series.append(_line(f"replica {replica.index}", times / FS_PER_PS, deviation))
    return Figure(
        id="shadow_energy",
        title="Shadow energy",
        caption="The energy that velocity Verlet conserves to fourth order in the time step "
        "(total energy with its bounded swing taken out). The drift is fitted to these lines. "
        "Mind the scale of the axis: it magnifies what the total energy hides.",
        x_label="Time (ps)",
        y_label="Ẽ − Ẽ(0) (meV/atom)",
        series=tuple(series),
        lines=(ReferenceLine("conserved", 0.0),),
    )


def _drifts(data: NveData, thresholds: Mapping[str, Threshold]) -> Figure:
    replicas = data.usable
    intervals = [abs_interval(replica.drift.interval()) for replica in replicas]
    series = [
        _magnitudes(
            "replicas",
            [float(replica.index) for replica in replicas],
            [replica.drift.value for replica in replicas],
            intervals,
        )
    ]
    ticks = [Tick(float(replica.index), str(replica.index)) for replica in replicas]
    mean = replica_mean([replica.drift.value for replica in replicas])
    if mean.n > 1:
        right = float(max(replica.index for replica in replicas)) + 1.0
        ticks.append(Tick(right, "mean"))
        series.append(_magnitudes("mean", [right], [mean.mean], [abs_interval(mean.interval)]))
    return Figure(
        id="drift",
        title="Drift of each replica",
        caption="Magnitude of the slope of the conserved energy of each replica with the 95 % "
        "interval from its own run, and of the mean over replicas with Student's t interval. The "
        "upper end of the bar of the mean must stay below the limit. A bar that reaches the bottom "
        "includes zero drift.",
        x_label="Replica",
        y_label="abs(drift) (meV/atom/ps)",
        series=tuple(series),
        lines=(
            ReferenceLine("limit", thresholds["drift"].value),
            ReferenceLine("class A", thresholds["drift_class_a"].value),
        ),
        y_scale="log",
        x_ticks=tuple(ticks),
    )


def _magnitudes(
    label: str, x: list[float], values: list[float], intervals: list[tuple[float, float]]
) -> Series:
    """Return points with error bars; an interval without end has no bar."""
    sizes = [abs(value) for value in values]
    high = [
        upper if math.isfinite(upper) else size
        for size, (_, upper) in zip(sizes, intervals, strict=True)
    ]
    return Series(label, x, sizes, [low for low, _ in intervals], high, "errorbar")


def _exchange(replica: Replica) -> Figure:
    run = replica.run
    assert run is not None
    n = run.n_atoms
    times = run.time_fs / FS_PER_PS
    potential = MEV_PER_EV * (run.potential_energy_eV - run.potential_energy_eV.min()) / n
    kinetic = MEV_PER_EV * run.kinetic_energy_eV / n
    total = MEV_PER_EV * (run.total_energy_eV - run.potential_energy_eV.min()) / n
    return Figure(
        id="energy_exchange",
        title=f"Energies of replica {replica.index}",
        caption="Kinetic and potential energy exchange hundreds of times more energy than the "
        "total may change. The potential energy is counted from its lowest value in the run.",
        x_label="Time (ps)",
        y_label="Energy (meV/atom)",
        series=(
            _line("total", times, total),
            _line("potential", times, potential),
            _line("kinetic", times, kinetic),
        ),
    )


def _temperature(data: NveData, replicas: list[Replica]) -> Figure:
    series = []
    for replica in replicas:
        run = replica.run
        assert run is not None
        blocks = min(_BLOCKS, len(run.time_fs))
        times = [float(block.mean()) for block in np.array_split(run.time_fs / FS_PER_PS, blocks)]
        means = [float(block.mean()) for block in np.array_split(run.temperature_K, blocks)]
        series.append(Series(f"replica {replica.index}", times, means))
    target = float(data.settings["temperature_K"])
    return Figure(
        id="temperature",
        title="Temperature",
        caption="Block means of the kinetic temperature. At constant energy each replica keeps "
        "the energy of its start, so the replicas of a small molecule scatter about the target; "
        "a common trend would be heating or a start that was not equilibrated.",
        x_label="Time (ps)",
        y_label="Temperature (K)",
        series=tuple(series),
        lines=(ReferenceLine(f"target {target:g} K", target),),
    )


def _line(label: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> Series:
    """Return at most MAX_POINTS of a curve, its ends included."""
    keep = np.arange(len(x))
    if len(x) > MAX_POINTS:
        keep = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS).round().astype(int))
    return Series(label, short(x[keep], 6), short(y[keep], 6))
