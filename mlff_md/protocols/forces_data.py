"""Raw data of a force analysis: predicted and reference forces of labelled frames."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import DataError
from mlff_md.files import write_atomically
from mlff_md.force_errors import ForceErrors, force_errors
from mlff_md.protocols.raw import raw_of, read_record

KIND = "forces"
FRAMES_FILE = "frames.npz"
RESAMPLES = 2000
MIN_CLUSTERS = 5
"""Fewer independent molecules (or frames) give no interval worth the name."""

_PER_ATOM = ("numbers", "positions_A", "reference_eV_per_A", "predicted_eV_per_A")
_PER_FRAME = (
    "counts",
    "molecules",
    "temperature_K",
    "reference_energies_eV",
    "predicted_energies_eV",
)


@dataclass(frozen=True, eq=False)
class ForcesData:
    """Frames with both sets of forces, atoms of all frames one after another.

    Attributes
    ----------
    record
        How they were made.
    numbers
        (A,) atomic numbers.
    positions_A
        (A, 3).
    reference_eV_per_A, predicted_eV_per_A
        (A, 3), the teacher's and the student's forces.
    counts
        (F,) atoms of each frame.
    molecules
        (F,) name of each frame's molecule.
    temperature_K
        (F,), 0 where the frame has none.
    reference_energies_eV, predicted_energies_eV
        (F,); the reference is ``nan`` where a frame has no energy.
    """

    record: Mapping[str, Any]
    numbers: NDArray[np.integer]
    positions_A: NDArray[np.float64]
    reference_eV_per_A: NDArray[np.float64]
    predicted_eV_per_A: NDArray[np.float64]
    counts: NDArray[np.integer]
    molecules: NDArray[np.str_]
    temperature_K: NDArray[np.float64]
    reference_energies_eV: NDArray[np.float64]
    predicted_energies_eV: NDArray[np.float64]

    @cached_property
    def frame_of_atom(self) -> NDArray[np.int64]:
        """(A,) number of each atom's frame."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def error_sizes(self) -> NDArray[np.float64]:
        """(A,) length of the error of each atom's force, eV/Å."""
        return np.linalg.norm(self.predicted_eV_per_A - self.reference_eV_per_A, axis=1)

    @cached_property
    def clusters(self) -> NDArray[np.int64]:
        """(F,) number of what each frame shares its errors with: its molecule.

        Frames of a molecule are alike, so whole molecules are drawn. Where there are too few of
        them for that, frames are.
        """
        names, owner = np.unique(self.molecules, return_inverse=True)
        return owner if len(names) >= MIN_CLUSTERS else np.arange(len(self.counts))

    @property
    def by_molecule(self) -> bool:
        """Whether the clusters are molecules."""
        return len(np.unique(self.molecules)) >= MIN_CLUSTERS

    def errors(self, frames: NDArray[np.integer] | None = None) -> ForceErrors:
        """Return the errors of all frames or of some."""
        chosen = np.arange(len(self.counts)) if frames is None else frames
        atoms = np.isin(self.frame_of_atom, chosen)
        known = bool(np.isfinite(self.reference_energies_eV[chosen]).all())
        return force_errors(
            self.predicted_eV_per_A[atoms],
            self.reference_eV_per_A[atoms],
            self.counts[chosen],
            self.predicted_energies_eV[chosen] if known else None,
            self.reference_energies_eV[chosen] if known else None,
            self.molecules[chosen] if known else None,
        )

    def errors_of_element(self, number: int) -> ForceErrors:
        """Return the errors of the atoms of one element; without energies."""
        atoms = self.numbers == number
        counts = np.unique(self.frame_of_atom[atoms], return_counts=True)[1]
        return force_errors(self.predicted_eV_per_A[atoms], self.reference_eV_per_A[atoms], counts)

    def interval(
        self,
        statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        terms: NDArray[np.float64],
    ) -> tuple[float, float] | None:
        """Return the 95 % interval of a statistic by drawing whole molecules with replacement.

        Parameters
        ----------
        statistic
            Maps sums of the terms, (K,) or (B, K), to values, () or (B,).
        terms
            (F, K): what each frame adds to the sums.
        """
        count = int(self.clusters.max(initial=-1)) + 1
        if count < MIN_CLUSTERS:
            return None
        sums = np.stack([np.bincount(self.clusters, term, count) for term in terms.T], axis=1)
        # A seed of its own: the same raw data give the same report.
        draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
        weights: NDArray[np.float64] = draws.astype(np.float64)
        low, high = np.quantile(statistic(weights @ sums), (0.025, 0.975))
        return float(low), float(high)

    def per_frame(self, per_atom: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sums over the atoms of each frame, (A,) -> (F,)."""
        sums: NDArray[Any] = np.bincount(self.frame_of_atom, per_atom, len(self.counts))
        return sums


def write_frames(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays of :class:`ForcesData` to one file, whole or not at all."""
    content = io.BytesIO()
    kept: dict[str, Any] = {name: arrays[name] for name in (*_PER_ATOM, *_PER_FRAME)}
    np.savez_compressed(content, **kept)
    write_atomically(path, content.getvalue())


def load(folder: str | Path) -> ForcesData:
    """Read raw data; ``folder`` is the ``raw`` folder or the one above.

    Raises
    ------
    DataError
        If they are missing, damaged or of another protocol.
    """
    folder = raw_of(folder)
    record = read_record(folder / "run.json", KIND)
    path = folder / FRAMES_FILE
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in (*_PER_ATOM, *_PER_FRAME)}
        atoms, frames = int(arrays["counts"].sum()), len(arrays["counts"])
        if any(len(arrays[name]) != atoms for name in _PER_ATOM):
            raise ValueError("arrays of unlike length")
        if not frames or any(len(arrays[name]) != frames for name in _PER_FRAME):
            raise ValueError("arrays of unlike length")
        if not isinstance(record["calculator"], dict):
            raise TypeError("calculator")
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; run the analysis again") from error
    except Exception as error:
        # zipfile, zlib and numpy raise whatever a damaged byte leads them into.
        raise DataError(f"{path} holds no frames of a force analysis, or is damaged") from error
    return ForcesData(record, **arrays)
