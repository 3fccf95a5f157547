"""Checks and quantities of a force analysis. Each takes the raw data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.force_errors import ForceErrors, angles_deg, cosines, relative_energy_errors
from mlff_md.protocols.forces_data import ForcesData
from mlff_md.protocols.records import Check, Quantity, Threshold, Verdict
from mlff_md.statistics import judge_upper
from mlff_md.structures import chemical_symbol

Thresholds = Mapping[str, Threshold]

_WORST = 10
_BLIND = "forces where the frames do not go; whether small errors add up in a long run"


def checks(data: ForcesData, thresholds: Thresholds) -> tuple[Check, ...]:
    """Return the checks that can be made: those against the card need a student with one."""
    made = [force_r2(data, thresholds)]
    card = data.record.get("card", {}).get("errors") or {}
    if _positive(card.get("mae_eV_per_A")):
        made += [
            force_mae(data, thresholds, float(card["mae_eV_per_A"])),
            worst_molecule(data, thresholds, float(card["mae_eV_per_A"])),
        ]
    energies = relative_energies(data)
    if _positive(card.get("energy_mae_meV_per_atom")) and np.isfinite(energies).any():
        made.append(energy_mae(data, thresholds, float(card["energy_mae_meV_per_atom"])))
    if card.get("frames_sha256") == data.record.get("frames", {}).get("sha256"):
        made.append(card_is_true(data, thresholds, card))
    return tuple(made)


def force_r2(data: ForcesData, thresholds: Thresholds) -> Check:
    """R2 over all force components, with its interval over molecules."""
    limit = thresholds["force_r2"]
    errors = data.errors()
    ci = data.interval(_r2, _terms(data))
    summary = f"R2 {errors.r2:.5f}, MAE {errors.mae_eV_per_A:.4f} eV/Å"
    if errors.angle_deg is not None:
        summary += f", mean angle {errors.angle_deg:.2f}°"
    return Check(
        id="force_r2",
        title="Forces follow the teacher's",
        verdict=_judge_lower(ci, limit.value),
        value=errors.r2,
        unit=limit.unit,
        ci=ci,
        n_eff=_clusters(data),
        threshold=limit,
        source=limit.source,
        blind_to=_BLIND,
        summary=summary + _unsure(data, ci),
        details={
            "elements": [
                _row({"element": chemical_symbol(int(number))}, data.errors_of_element(int(number)))
                for number in np.unique(data.numbers)
            ],
            "temperatures": [
                _row({"temperature_K": float(value)}, data.errors(frames))
                for value, frames in temperatures(data)
            ],
            "worst_atoms": _worst_atoms(data),
        },
    )


def force_mae(data: ForcesData, thresholds: Thresholds, card_mae: float) -> Check:
    """MAE over the one on the student's card."""
    limit = thresholds["force_mae"]
    mae = data.errors().mae_eV_per_A
    ci = data.interval(lambda sums: sums[..., 4] / sums[..., 0] / card_mae, _terms(data))
    return Check(
        id="force_mae",
        title="Force error is that of the card",
        verdict=_judge_upper(ci, limit.value),
        value=mae / card_mae,
        unit=limit.unit,
        ci=ci,
        n_eff=_clusters(data),
        threshold=limit,
        source=limit.source,
        blind_to="hotter frames have larger forces and errors: compare with the same temperatures",
        summary=f"MAE {mae:.4f} eV/Å, on the card {card_mae:.4f}" + _unsure(data, ci),
        details={"card": data.record["card"]},
    )


def energy_mae(data: ForcesData, thresholds: Thresholds, card_mae: float) -> Check:
    """MAE of the energies within each molecule over the one on the student's card."""
    limit = thresholds["energy_mae"]
    errors = 1e3 * np.abs(relative_energies(data)) / data.counts
    known = np.isfinite(errors)
    terms = np.stack([known.astype(float), np.where(known, errors, 0.0)], axis=1)
    ci = data.interval(lambda sums: sums[..., 1] / np.maximum(sums[..., 0], 1.0) / card_mae, terms)
    mae = float(errors[known].mean())
    return Check(
        id="energy_mae",
        title="Energy error is that of the card",
        verdict=_judge_upper(ci, limit.value),
        value=mae / card_mae,
        unit=limit.unit,
        ci=ci,
        n_eff=_clusters(data),
        threshold=limit,
        source=limit.source,
        blind_to="energy differences between molecules: each molecule's mean error is removed",
        summary=f"{mae:.2f} meV/atom within each molecule, on the card {card_mae:.2f}"
        + _unsure(data, ci),
    )


def worst_molecule(data: ForcesData, thresholds: Thresholds, card_mae: float) -> Check:
    """The molecule with the largest MAE."""
    limit = thresholds["worst_molecule"]
    rows = molecules(data)
    name, errors = rows[0]
    value = errors.mae_eV_per_A / card_mae
    return Check(
        id="worst_molecule",
        title="No molecule is far worse than the rest",
        verdict="pass" if value <= limit.value else "fail",
        value=value,
        unit=limit.unit,
        n_eff=float(errors.num_frames),
        threshold=limit,
        source=limit.source,
        blind_to="chemistry that none of the molecules has",
        summary=f"{name}: MAE {errors.mae_eV_per_A:.4f} eV/Å over {errors.num_frames} frames",
        details={
            "worst_molecules": [_row({"molecule": n}, e) for n, e in rows[:_WORST]],
            "molecules": len(rows),
        },
    )


def card_is_true(data: ForcesData, thresholds: Thresholds, card: Mapping[str, Any]) -> Check:
    """On the very frames of the card: its numbers come out again."""
    limit = thresholds["card"]
    errors = data.errors()
    difference = abs(errors.r2 - float(card["r2"]))
    return Check(
        id="card",
        title="The card's numbers come out again",
        verdict="pass" if difference <= limit.value else "fail",
        value=difference,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to="everything but these frames",
        summary=f"the frames are those of the card: R2 {errors.r2:.5f}, there {card['r2']:.5f}",
    )


def quantities(data: ForcesData) -> tuple[Quantity, ...]:
    """Return errors of forces and energies that are reported and not judged."""
    errors = data.errors()
    size = data.error_sizes
    terms = _terms(data)
    plain = "over force components"
    made = [
        Quantity("mae", "Force MAE", errors.mae_eV_per_A, "eV/Å", plain,
                 data.interval(lambda s: s[..., 4] / s[..., 0], terms)),
        Quantity("rmse", "Force RMSE", errors.rmse_eV_per_A, "eV/Å", plain,
                 data.interval(lambda s: np.sqrt(s[..., 1] / s[..., 0]), terms)),
        Quantity("max", "Largest error of a component", errors.max_eV_per_A, "eV/Å", plain),
    ]  # fmt: skip
    for percent in (50, 90, 95, 99):
        value = float(np.percentile(size, percent))
        title = f"Error of an atom's force, {percent}th percentile"
        made.append(Quantity(f"p{percent}", title, value, "eV/Å", "length of the error vector"))
    made += _directions(data)
    energy = (data.predicted_energies_eV - data.reference_energies_eV) / data.counts
    if np.isfinite(energy).all():
        absolute = 1e3 * float(np.abs(energy).mean())
        source = "nothing removed; means something only if both count from the same zero"
        made.append(
            Quantity("energy_mae_abs", "Energy MAE, absolute", absolute, "meV/atom", source)
        )
    if errors.energy_mae_meV_per_atom is not None:
        made.append(
            Quantity("energy_mae_rel", "Energy MAE within each molecule",
                     errors.energy_mae_meV_per_atom, "meV/atom",
                     "each molecule's mean error over its frames removed")
        )  # fmt: skip
    return tuple(made)


def molecules(data: ForcesData) -> list[tuple[str, ForceErrors]]:
    """Return each molecule's errors, the worst MAE first."""
    rows = [
        (str(name), data.errors(np.flatnonzero(data.molecules == name)))
        for name in np.unique(data.molecules)
    ]
    return sorted(rows, key=lambda row: -row[1].mae_eV_per_A)


def temperatures(data: ForcesData) -> list[tuple[float, NDArray[np.integer]]]:
    """Return each bath temperature and its frames; none where the frames carry none."""
    return [
        (float(value), np.flatnonzero(data.temperature_K == value))
        for value in np.unique(data.temperature_K)
        if value > 0.0
    ]


def relative_energies(data: ForcesData) -> NDArray[np.float64]:
    """Return energy errors (F,), eV, less their molecule's mean; ``nan`` where unknown."""
    return relative_energy_errors(
        data.predicted_energies_eV - data.reference_energies_eV, data.molecules
    )


def _directions(data: ForcesData) -> list[Quantity]:
    cosine = cosines(data.predicted_eV_per_A, data.reference_eV_per_A)
    angle = angles_deg(data.predicted_eV_per_A, data.reference_eV_per_A)
    angle, cosine = angle[np.isfinite(angle)], cosine[np.isfinite(cosine)]
    if not len(angle):
        return []
    source = f"{len(angle)} of {len(data.numbers)} atoms: those with more than 0.05 eV/Å"
    return [
        Quantity("angle_mean", "Angle between the forces, mean", float(angle.mean()), "°", source),
        Quantity("angle_median", "The same, median", float(np.median(angle)), "°", source),
        Quantity("angle_p95", "The same, 95th percentile", float(np.percentile(angle, 95)), "°",
                 source),
        Quantity("cosine", "Cosine between the forces, mean", float(cosine.mean()), "1", source),
    ]  # fmt: skip


def _terms(data: ForcesData) -> NDArray[np.float64]:
    """Return what each frame adds: components, squared error, force, force squared, abs(error)."""
    error = data.predicted_eV_per_A - data.reference_eV_per_A
    force = data.reference_eV_per_A
    sums = [(error**2).sum(1), force.sum(1), (force**2).sum(1), np.abs(error).sum(1)]
    return np.stack([3.0 * data.counts, *(data.per_frame(column) for column in sums)], axis=1)


def _r2(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    n, squared_error, force, squared_force = (sums[..., k] for k in range(4))
    value: NDArray[np.float64] = 1.0 - squared_error / (squared_force - force**2 / n)
    return value


def _worst_atoms(data: ForcesData) -> list[dict[str, Any]]:
    worst = np.argsort(-data.error_sizes, kind="stable")[:_WORST]
    starts = np.concatenate([[0], np.cumsum(data.counts)])
    rows = []
    for atom in worst:
        frame = int(data.frame_of_atom[atom])
        rows.append(
            {
                "frame": frame,
                "atom": int(atom - starts[frame]),
                "element": chemical_symbol(int(data.numbers[atom])),
                "molecule": str(data.molecules[frame]),
                "error_eV_per_A": round(float(data.error_sizes[atom]), 4),
                "force_eV_per_A": round(float(np.linalg.norm(data.reference_eV_per_A[atom])), 4),
            }
        )
    return rows


def _row(first: dict[str, Any], errors: ForceErrors) -> dict[str, Any]:
    row = {
        **first,
        "r2": round(errors.r2, 5),
        "mae_eV_per_A": round(errors.mae_eV_per_A, 4),
        "rmse_eV_per_A": round(errors.rmse_eV_per_A, 4),
        "max_eV_per_A": round(errors.max_eV_per_A, 3),
        "angle_deg": None if errors.angle_deg is None else round(errors.angle_deg, 2),
        "atoms": errors.num_atoms,
    }
    if errors.energy_mae_meV_per_atom is not None:
        row["energy_mae_meV_per_atom"] = round(errors.energy_mae_meV_per_atom, 3)
    return row


def _clusters(data: ForcesData) -> float:
    return float(data.clusters.max(initial=-1) + 1)


def _unsure(data: ForcesData, ci: tuple[float, float] | None) -> str:
    if ci is None:
        return "; too few molecules or frames for an interval"
    return "" if data.by_molecule else "; interval over frames, which are alike if they are close"


def _judge_upper(ci: tuple[float, float] | None, limit: float) -> Verdict:
    if ci is None or not all(math.isfinite(end) for end in ci):
        return "inconclusive"
    return judge_upper(ci, limit)


def _judge_lower(ci: tuple[float, float] | None, limit: float) -> Verdict:
    return _judge_upper(None if ci is None else (-ci[1], -ci[0]), -limit)


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0.0
