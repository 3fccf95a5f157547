"""Errors of predicted forces and energies against reference ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlff_md.distill.dataset import Dataset
from mlff_md.engines import Engine, evaluate_structures

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class ForceErrors:
    """How far predicted forces are from the reference.

    Attributes
    ----------
    r2
        Coefficient of determination over all force components.
    mae_eV_per_A, rmse_eV_per_A, max_eV_per_A
        Of the components.
    angle_deg
        Mean angle between the force vectors, over atoms with a reference force above
        0.05 eV/Å (below, the direction of a force means nothing); ``None`` if there is none.
    energy_mae_meV_per_atom
        Mean absolute energy error, after removing each molecule's mean error over its frames;
        ``None`` without energies or without a molecule that has several frames.
    num_frames, num_atoms
        Size of the sample.
    """

    r2: float
    mae_eV_per_A: float
    rmse_eV_per_A: float
    max_eV_per_A: float
    angle_deg: float | None
    energy_mae_meV_per_atom: float | None
    num_frames: int
    num_atoms: int


def force_errors(
    predicted: Array,
    reference: Array,
    counts: npt.NDArray[np.integer],
    predicted_energies: Array | None = None,
    reference_energies: Array | None = None,
    molecules: npt.NDArray[np.str_] | None = None,
) -> ForceErrors:
    """Compare forces (A, 3), eV/Å, of frames with ``counts`` atoms each, and their energies, eV."""
    predicted = np.asarray(predicted, dtype=np.float64)
    reference = np.asarray(reference, dtype=np.float64)
    error = predicted - reference
    size = np.linalg.norm(reference, axis=1)
    visible = size > 0.05
    cosine = (predicted * reference).sum(1) / np.maximum(
        np.linalg.norm(predicted, axis=1) * size, 1e-300
    )
    angle = np.degrees(np.arccos(np.clip(cosine[visible], -1.0, 1.0)))
    energy_mae = None
    if predicted_energies is not None and reference_energies is not None and molecules is not None:
        difference = np.asarray(predicted_energies - reference_energies, dtype=np.float64)
        names, owner, frames = np.unique(molecules, return_inverse=True, return_counts=True)
        mean = np.bincount(owner, difference, len(names)) / frames
        # A molecule's only frame says nothing about its relative energies.
        several = frames[owner] > 1
        if several.any():
            error_per_atom = np.abs(difference - mean[owner]) / counts
            energy_mae = 1e3 * float(error_per_atom[several].mean())
    return ForceErrors(
        r2=1.0 - float(np.sum(error**2) / np.sum((reference - reference.mean()) ** 2)),
        mae_eV_per_A=float(np.abs(error).mean()),
        rmse_eV_per_A=float(np.sqrt((error**2).mean())),
        max_eV_per_A=float(np.abs(error).max()),
        angle_deg=float(angle.mean()) if len(angle) else None,
        energy_mae_meV_per_atom=energy_mae,
        num_frames=len(counts),
        num_atoms=len(reference),
    )


def measure(engine: Engine, dataset: Dataset) -> ForceErrors:
    """Return the errors of a student, run by an engine, on a data set."""
    return _measure(engine, dataset)["all"]


def measure_by_temperature(engine: Engine, dataset: Dataset) -> dict[str, ForceErrors]:
    """Return the errors on a data set as a whole (``all``) and at each temperature (``300 K``)."""
    parts = {
        f"{temperature:g} K": np.flatnonzero(dataset.temperature_K == temperature)
        for temperature in np.unique(dataset.temperature_K)
    }
    return _measure(engine, dataset, parts)


def _measure(
    engine: Engine, dataset: Dataset, parts: Mapping[str, npt.NDArray[np.integer]] | None = None
) -> dict[str, ForceErrors]:
    results = evaluate_structures(engine, dataset)
    offsets = np.concatenate([[0], np.cumsum(dataset.counts)])
    energies = np.array([result.energy for result in results])
    errors = {}
    for name, frames in {"all": np.arange(len(dataset)), **(parts or {})}.items():
        reference = [dataset.forces[offsets[k] : offsets[k + 1]] for k in frames]
        errors[name] = force_errors(
            np.concatenate([results[k].forces for k in frames]),
            np.concatenate(reference),
            dataset.counts[frames],
            energies[frames],
            dataset.energies[frames],
            dataset.molecules[frames],
        )
    return errors
