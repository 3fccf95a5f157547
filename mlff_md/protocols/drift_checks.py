"""Checks that only energies from elsewhere need: whether they can tell a drift at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mlff_md.protocols.drift_series import EnergySeries
from mlff_md.protocols.nve_checks import Thresholds
from mlff_md.protocols.nve_order import detrended_rms
from mlff_md.protocols.records import Check, Verdict

_MEV = 1000.0
_SIDE = 20


def resolution_of(run: EnergySeries) -> float:
    """Return the largest drift that rounding of the printed energies can hide, meV/atom/ps.

    A series off by at most q/2 changes its least-squares slope by at most 3 q / (2 T). Where the
    energy fluctuates by more than q, rounding is noise and is in the scatter already.
    """
    if detrended_rms(run.energy_eV) >= run.quantum_eV:
        return 0.0
    length_ps = float(np.ptp(run.time_fs)) / 1000.0
    return 1.5 * _MEV * run.quantum_eV / run.n_atoms / length_ps


def resolution(runs: Sequence[EnergySeries], thresholds: Thresholds) -> Check:
    """Whether the energies were printed with enough digits."""
    limit = thresholds["energy_resolution"]
    value = max(resolution_of(run) for run in runs)
    digit = max(run.quantum_eV for run in runs)
    verdict: Verdict = "pass" if value <= limit.value else "inconclusive"
    summary = "the last digit is smaller than the fluctuations"
    if digit == 0.0:
        summary = "the energies are binary numbers"
    elif value > 0.0:
        summary = (
            f"the last printed digit is {_MEV * digit:.2g} meV, more than the fluctuations: it "
            f"can hide a drift of {value:.2g} meV/atom/ps"
        )
    if verdict != "pass":
        summary += "; print more digits (LAMMPS: thermo_modify format float %20.15g)"
    return Check(
        id="energy_resolution",
        title="Energies have enough digits",
        verdict=verdict,
        value=value,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to="digits that are printed but were lost before, as in float32 sums",
        summary=summary,
        details={"last_digit_meV": _MEV * digit},
    )


def ensemble(runs: Sequence[EnergySeries], thresholds: Thresholds) -> Check:
    """Whether the energy was free of a bath: only then does it have to be conserved."""
    limit = thresholds["ensemble"]
    baths = sorted({run.bath for run in runs if run.bath not in (None, "unknown")})
    counted = sorted({run.counted_bath for run in runs if run.counted_bath is not None})
    ratios = [
        detrended_rms(run.energy_eV) / detrended_rms(run.kinetic_eV)
        for run in runs
        if run.kinetic_eV is not None and detrended_rms(run.kinetic_eV) > 0.0
    ]
    value = max(ratios, default=math.nan)
    verdict: Verdict = "pass"
    if baths:
        verdict = "inconclusive"
        summary = f"{', '.join(map(str, baths))} acts on the atoms: their energy is not conserved"
        summary += "; print the conserved quantity (LAMMPS: econserve), or run at constant energy"
    elif all(run.bath is None for run in runs):
        summary = "no bath acted, as far as is told"
        if counted:
            summary = f"{', '.join(counted)} acted; its energy is counted (econserve)"
    elif math.isnan(value):
        verdict = "inconclusive"
        summary = (
            "whether a thermostat acted is not told, and there is no kinetic energy to see it; "
            "say it with --thermostat or --no-thermostat"
        )
    elif value > limit.value:
        verdict = "inconclusive"
        summary = (
            f"the total energy fluctuates {value:.2g} times as much as the kinetic energy, as "
            "under a thermostat, and the file does not tell whether there was one: say it with "
            "--thermostat or --no-thermostat"
        )
    else:
        summary = f"the total energy fluctuates {value:.2g} times as much as the kinetic energy"
    return Check(
        id="ensemble",
        title="The run is at constant energy",
        verdict=verdict,
        value=value if math.isfinite(value) else None,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to="weak baths; constraints, which conserve energy but take degrees of freedom",
        summary=summary,
        details={"bath": baths, "counted": counted},
    )


def jumps(runs: Sequence[EnergySeries], thresholds: Thresholds) -> Check:
    """Largest sudden change of level of the energy, against the scatter around it."""
    limit = thresholds["energy_jump"]
    found = [_largest_jump(run) for run in runs]
    worst = int(np.argmax([ratio for ratio, _, _ in found]))
    value, at_fs, size_eV = found[worst]
    per_atom = _MEV * size_eV / runs[worst].n_atoms
    verdict: Verdict = "pass" if value <= limit.value else "fail"
    summary = f"no sudden change of level beyond {value:.2g} times the scatter"
    if verdict == "fail":
        summary = f"the energy jumps by {per_atom:+.3g} meV/atom at {at_fs / 1000.0:g} ps"
        summary += f", {value:.3g} times the scatter"
    return Check(
        id="energy_jump",
        title="Energy has no jumps",
        verdict=verdict,
        value=value,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to="jumps smaller than the swing of the energy; jumps within ten samples of an end",
        summary=summary,
        details={"at_ps": at_fs / 1000.0, "jump_meV_per_atom": per_atom, "run": worst},
    )


def _largest_jump(run: EnergySeries) -> tuple[float, float, float]:
    """Return the largest change of level over its scatter, its time (fs) and its size (eV).

    A level is the median of up to twenty samples on one side, less the drift of the whole run;
    a jump must also show between two neighboring samples, or it is drift.
    """
    energy = run.energy_eV
    side = min(_SIDE, len(energy) // 2)
    increments = np.diff(energy)
    drift = float(np.median(increments))
    scatter = 1.4826 * float(np.median(np.abs(increments - drift)))
    scatter = max(scatter, run.quantum_eV, 4e-16 * float(np.abs(energy).max()))
    best = (0.0, float(run.time_fs[0]), 0.0)
    for k in np.argsort(np.abs(increments - drift))[::-1][:5]:
        before, after = energy[max(0, k + 1 - side) : k + 1], energy[k + 1 : k + 1 + side]
        if min(len(before), len(after)) < side // 2:
            continue
        half = 0.5 * (len(before) + len(after))
        level = float(np.median(after) - np.median(before)) - drift * half
        size = math.copysign(min(abs(level), abs(increments[k] - drift)), level)
        spread = max(scatter, float(np.std(before)), float(np.std(after)))
        if abs(size) / spread > best[0]:
            best = (abs(size) / spread, float(run.time_fs[k + 1]), size)
    return best
