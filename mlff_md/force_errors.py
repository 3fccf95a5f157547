"""Errors of predicted forces and energies against reference ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

VISIBLE_FORCE_EV_PER_A = 0.05
"""The direction of a smaller reference force means nothing: its angle is left out, eV/Å."""


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
    """Compare the forces of labelled frames, atoms one after another, and their energies.

    Parameters
    ----------
    predicted, reference
        Forces, eV/Å, (A, 3).
    counts
        Atoms of each frame, (F,).
    predicted_energies, reference_energies, molecules
        Energies, eV, (F,), and the name of each frame's molecule, (F,); without all three there
        is no energy error.
    """
    predicted = np.asarray(predicted, dtype=np.float64)
    reference = np.asarray(reference, dtype=np.float64)
    error = predicted - reference
    angle = angles_deg(predicted, reference)
    angle = angle[np.isfinite(angle)]
    energy_mae = None
    if predicted_energies is not None and reference_energies is not None and molecules is not None:
        relative = relative_energy_errors(predicted_energies - reference_energies, molecules)
        several = np.isfinite(relative)
        if several.any():
            energy_mae = 1e3 * float((np.abs(relative) / counts)[several].mean())
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


def cosines(predicted: Array, reference: Array) -> npt.NDArray[np.float64]:
    """Return the cosine between force vectors (A, 3), ``nan`` where the reference is tiny."""
    size = np.linalg.norm(reference, axis=1)
    both = np.maximum(np.linalg.norm(predicted, axis=1) * size, 1e-300)
    cosine = np.clip((predicted * reference).sum(axis=1) / both, -1.0, 1.0)
    return np.where(size > VISIBLE_FORCE_EV_PER_A, cosine, np.nan)


def angles_deg(predicted: Array, reference: Array) -> npt.NDArray[np.float64]:
    """Return the angle between force vectors (A, 3), degrees, ``nan`` as in :func:`cosines`."""
    return np.degrees(np.arccos(cosines(predicted, reference)))


def relative_energy_errors(
    difference: Array, molecules: npt.NDArray[np.str_]
) -> npt.NDArray[np.float64]:
    """Return energy errors (F,) less the mean of their molecule.

    A molecule's only frame says nothing about its relative energies: ``nan``.
    """
    difference = np.asarray(difference, dtype=np.float64)
    names, owner, frames = np.unique(molecules, return_inverse=True, return_counts=True)
    mean = np.bincount(owner, difference, len(names)) / frames
    return np.where(frames[owner] > 1, difference - mean[owner], np.nan)


def frames_hash(
    numbers: npt.NDArray[np.integer],
    positions: Array,
    forces: Array,
    counts: npt.NDArray[np.integer],
) -> str:
    """Return the sha256 of labelled frames, the same on every machine.

    In single precision, to which data sets are rounded, so that a data set and a file of the same
    frames agree.
    """
    digest = hashlib.sha256()
    for array, kind in ((numbers, "<i4"), (positions, "<f4"), (forces, "<f4"), (counts, "<i4")):
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()
