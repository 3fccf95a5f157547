"""Checks of the static protocol. Each takes the raw numbers and the limits."""

from __future__ import annotations

import numpy as np

from mlff_md.protocols.records import Check
from mlff_md.protocols.static_data import (
    StaticData,
    Thresholds,
    make_check,
    not_measured,
    undecided,
)
from mlff_md.protocols.static_evaluate import Array
from mlff_md.protocols.static_scans import force_gradient, jacobian_symmetry, virial_gradient

_EPS32 = float(np.finfo(np.float32).eps)


def checks(data: StaticData, thresholds: Thresholds) -> tuple[Check, ...]:
    """Return all checks; those that make no sense for the structure are left out."""
    made = [
        force_gradient(data, thresholds),
        jacobian_symmetry(data, thresholds),
        virial_gradient(data, thresholds),
        force_noise(data, thresholds),
        net_force(data, thresholds),
        net_torque(data, thresholds),
        invariance(data, thresholds),
        cutoff_energy_step(data, thresholds),
        cutoff_force_step(data, thresholds),
        repeatability(data, thresholds),
    ]
    return tuple(check for check in made if check is not None)


def force_noise(data: StaticData, thresholds: Thresholds) -> Check:
    """Noise of the forces along a short straight line: rounding, quantisation, chance."""
    stage = data.stage_with_forces("roughness")
    title = "Forces are smooth"
    blind = "errors that are smooth themselves; steps that are rare (see the steps at the cutoff)"
    if stage is None:
        return not_measured(data, thresholds, "force_noise", "roughness", title, blind)
    size = float(stage["force_rms_eV_per_A"])
    value = float(stage["force_noise_eV_per_A"].max()) / size
    details = {
        "energy_noise_eV": float(stage["energy_noise_eV"].max()),
        "force_rms_eV_per_A": size,
        "float32_forces": bool(stage["float32_forces"]),
        "float32_energy": bool(stage["float32_energy"]),
    }
    summary = f"noise is {value:.1e} of the rms force ({size:.2g} eV/Å)"
    return make_check(data, thresholds, "force_noise", title, blind, value, summary, details)


def net_force(data: StaticData, thresholds: Thresholds) -> Check:
    """Whether the forces sum to zero."""
    stage = data.stage_with_forces("balance")
    title = "Forces sum to zero"
    blind = "errors that cancel in the sum; models that subtract the mean force"
    if stage is None:
        return not_measured(data, thresholds, "net_force", "balance", title, blind)
    value = float(stage["net_force_eV_per_A"] / (stage["n_atoms"] * stage["force_rms_eV_per_A"]))
    summary = f"abs(sum F) / (N F_rms) is {value:.1e}"
    return make_check(data, thresholds, "net_force", title, blind, value, summary)


def net_torque(data: StaticData, thresholds: Thresholds) -> Check | None:
    """Whether the forces on a molecule exert no torque; a single atom has no arm for one."""
    whole = data.stage("balance")
    if whole is not None and (bool(whole["periodic"]) or whole["arm_rms_A"] == 0.0):
        return None
    stage = data.stage_with_forces("balance")
    title = "Forces exert no torque"
    blind = "errors along the line between two atoms, such as a wrong pair force"
    if stage is None:
        return not_measured(data, thresholds, "net_torque", "balance", title, blind)
    size = stage["n_atoms"] * stage["force_rms_eV_per_A"] * stage["arm_rms_A"]
    value = float(stage["net_torque_eV"] / size)
    summary = f"abs(sum r x F) / (N r_rms F_rms) is {value:.1e}"
    return make_check(data, thresholds, "net_torque", title, blind, value, summary)


def invariance(data: StaticData, thresholds: Thresholds) -> Check:
    """Whether energy and forces follow translation, rotation, reflection, order and images."""
    stage = data.stage_with_forces("invariance")
    title = "Place, orientation and order do not matter"
    blind = "anything that turns with the structure; other orientations than those tried"
    if stage is None:
        return not_measured(data, thresholds, "invariance", "invariance", title, blind)
    size = float(stage["force_rms_eV_per_A"])
    names = data.text["invariance.names"]
    force, energy = stage["force_eV_per_A"] / size, stage["energy_eV_per_atom"] / size
    both = np.fmax(force, energy)
    failed = data.text.get("invariance.failed", {})
    if np.isnan(both).all():
        why = "no operation could be evaluated"
        return not_measured(data, thresholds, "invariance", "invariance", title, blind, why)
    worst = int(np.nanargmax(both))
    value = float(both[worst])
    summary = f"largest change is {value:.1e} of the rms force ({names[worst]})"
    if failed:
        summary += f"; not evaluated: {', '.join(failed)}"
    details = {
        "operations": [
            {"name": name, "force_change": float(f), "energy_change_per_atom_A": float(e)}
            for name, f, e in zip(names, force, energy, strict=True)
        ],
        "failed": failed,
    }
    check = make_check(data, thresholds, "invariance", title, blind, value, summary, details)
    return check if check.verdict == "fail" or not failed else undecided(check)


def cutoff_energy_step(data: StaticData, thresholds: Thresholds) -> Check:
    """Largest step of the energy while atoms part and pairs cross the cutoff."""
    title = "Energy has no step at the cutoff"
    stage = data.stage("cutoff")
    steps = stage["energy_step_eV"] if stage is not None else np.empty(0)
    rough = data.stage("roughness")
    floor = 0.0
    if rough is not None and bool(rough["float32_energy"]):
        # Energies that are float32 numbers can only move in steps of the last digit.
        floor = 2.0 * _EPS32 * float(rough["energy_size_eV"])
    return _step_check(data, thresholds, "cutoff_energy_step", title, steps, "eV", floor)


def cutoff_force_step(data: StaticData, thresholds: Thresholds) -> Check:
    """Largest step of a force while atoms part and pairs cross the cutoff.

    Relative to the rms force where it happens, or at the structure itself if that is larger:
    where atoms are pressed together everything is larger, rounding too.
    """
    title = "Forces have no step at the cutoff"
    stage, balance = data.stage_with_forces("cutoff"), data.stage("balance")
    steps = np.empty(0)
    if stage is not None and balance is not None:
        size = np.maximum(stage["force_rms_eV_per_A"], balance["force_rms_eV_per_A"])
        steps = stage["force_step_eV_per_A"] / size
    return _step_check(data, thresholds, "cutoff_force_step", title, steps, "of the rms force")


def repeatability(data: StaticData, thresholds: Thresholds) -> Check:
    """Whether the same structure gets the same forces, whatever was evaluated in between."""
    stage = data.stage_with_forces("repeats")
    title = "The same structure gets the same answer"
    blind = "errors that repeat; memory that only a long run fills"
    if stage is None:
        return not_measured(data, thresholds, "repeatability", "repeats", title, blind)
    size = float(stage["force_rms_eV_per_A"])
    change = stage["force_change_eV_per_A"] / size
    after = stage["after_others"].astype(bool)
    value = float(change.max())
    bitwise = value == 0.0 and float(np.ptp(stage["energy_eV"])) == 0.0
    details = {
        "repeated_at_once": float(change[~after].max()),
        "after_other_structures": float(change[after].max()),
        "energy_range_eV": float(np.ptp(stage["energy_eV"])),
        "bitwise": bitwise,
    }
    summary = (
        f"{len(change)} answers, bitwise equal"
        if bitwise
        else f"largest change of a force is {value:.1e} of the rms force over {len(change)} answers"
    )
    return make_check(data, thresholds, "repeatability", title, blind, value, summary, details)


_WHERE = {
    "stretch": "stretched by {:.5f}",
    "copy": "copy moved by {:.4f} Å",
    "disorder": "atoms moved by {:.4f} of the random displacements",
}


def _step_check(
    data: StaticData,
    thresholds: Thresholds,
    name: str,
    title: str,
    steps: Array,
    unit: str,
    floor: float = 0.0,
) -> Check:
    stage = data.stage("cutoff")
    blind = (
        "steps elsewhere than on the paths scanned; steps of a slope (the order test sees those)"
    )
    if stage is None or not len(steps):
        why = "no path could be scanned" if stage is not None and not data.without_forces else ""
        return not_measured(data, thresholds, name, "cutoff", title, blind, why)
    worst = int(np.argmax(steps))
    value = float(steps[worst])
    path, at = data.text["cutoff.step_path"][worst], float(stage["step_at"][worst])
    where = _WHERE[path].format(at)
    failed = data.text.get("cutoff.failed", {})
    details = {"path": path, "at": at, "failed": failed, "float32_floor": floor}
    summary = f"largest step is {value:.1e} {unit} ({where})"
    if floor:
        summary += f"; the energy is a float32 number, whose last digits are {floor:.1e} eV"
    check = make_check(
        data, thresholds, name, title, blind, value, summary, details, beyond=value - floor
    )
    return check if check.verdict == "fail" or not failed else undecided(check)
