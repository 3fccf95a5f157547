"""Which environments of atoms a student was trained on: a Gaussian per element. No torch.

What is compared are the scalars that an atom sends in the last layer: the last that are still
about the atom's own neighborhood, with all of its angles, and that an engine has at hand without
computing anything more. How unusual an atom is, is the root mean square of its whitened features
(Mahalanobis distance over the square root of their number): 1 on average in training.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlff_md.errors import StudentFileError

_FLOAT = np.dtype("<f4")
_LEAST = 1e-12
_RIDGE = 1e-6
"""Of the mean variance, added to each: a feature that never changes has no variance."""


@dataclass(frozen=True, eq=False)
class Environments:
    """Means and inverse Cholesky factors of the features; S species, F scalars.

    Attributes
    ----------
    mean
        (S, F), ``nan`` for an element without atoms.
    whitener
        (S, F, F), lower triangular: ``whitener @ (features - mean)`` has unit covariance.
    limit
        Of :meth:`unusual`: above, an atom is outside of what was trained on.
    energy_low_eV, energy_high_eV
        (S,) range of the atoms' energies.
    num_frames
        Frames measured.
    """

    mean: npt.NDArray[np.float32]
    whitener: npt.NDArray[np.float32]
    limit: float
    energy_low_eV: npt.NDArray[np.float64]
    energy_high_eV: npt.NDArray[np.float64]
    num_frames: int

    @classmethod
    def fit(
        cls,
        species: npt.NDArray[np.integer],
        features: npt.NDArray[np.floating],
        energies_eV: npt.NDArray[np.floating],
        frame: npt.NDArray[np.integer],
        *,
        num_species: int,
        quantile: float,
    ) -> Environments:
        """Measure the atoms of a reference set.

        Parameters
        ----------
        species, features, energies_eV, frame
            Of each atom: index of its element (N,), features (N, F), energy (N,), eV, and index
            of its frame (N,), ascending.
        num_species
            S.
        quantile
            Part of the frames that lie within the limit with all of their atoms.
        """
        width = features.shape[1]
        mean = np.full((num_species, width), np.nan, np.float32)
        whitener = np.zeros((num_species, width, width), np.float32)
        low, high = np.full(num_species, np.inf), np.full(num_species, -np.inf)
        present = np.unique(species)
        pooled = sum(_covariance(features[species == k]) for k in present) / len(present)
        for k in present:
            mine = features[species == k].astype(np.float64)
            # Of a rare element there are too few atoms for a covariance of its own.
            weight = len(mine) / (len(mine) + width)
            covariance = weight * _covariance(mine) + (1.0 - weight) * pooled
            ridge = _RIDGE * np.trace(covariance) / width + _LEAST
            factor = np.linalg.cholesky(covariance + ridge * np.eye(width))
            mean[k], whitener[k] = mine.mean(axis=0), np.linalg.inv(factor)
            low[k], high[k] = energies_eV[species == k].min(), energies_eV[species == k].max()
        starts = np.flatnonzero(np.diff(frame, prepend=-1))
        made = cls(mean, whitener, np.inf, low, high, len(starts))
        most = np.maximum.reduceat(made.unusual(species, features), starts)
        limit = float(np.quantile(most, quantile))
        return cls(mean, whitener, limit, low, high, len(starts))

    def unusual(
        self, species: npt.NDArray[np.integer], features: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float64]:
        """Return how unusual each atom is, (N,); ``inf`` for an element that was not there."""
        groups = [(k, np.flatnonzero(species == k)) for k in np.unique(species).tolist()]
        return self.unusual_grouped(groups, features)

    def unusual_grouped(
        self,
        groups: Sequence[tuple[int, npt.NDArray[np.intp]]],
        features: npt.NDArray[np.floating],
    ) -> npt.NDArray[np.float64]:
        """Return the same for atoms whose grouping by species is known, as it is in MD."""
        result = np.empty(len(features))
        for k, chosen in groups:
            white = (features[chosen] - self.mean[k]) @ self.whitener[k].T
            result[chosen] = np.einsum("ij,ij->i", white, white)
        result /= features.shape[1]
        np.sqrt(result, out=result)
        result[np.isnan(result)] = np.inf
        return result

    @property
    def has_features(self) -> bool:
        """Whether there is more than the ranges of the energies."""
        return self.mean.shape[1] > 0

    def without_features(self) -> Environments:
        """Return the ranges of the energies alone.

        Of the features those that hardly change count most. They are the first to change if the
        weights are rounded, so another student than the one measured has no use for them.
        """
        count = len(self.mean)
        return replace(
            self,
            mean=np.empty((count, 0), np.float32),
            whitener=np.empty((count, 0, 0), np.float32),
        )

    def to_manifest(self, elements: Sequence[str]) -> dict[str, Any]:
        """Return JSON types; arrays as base64 of little-endian float32."""
        triangle = np.tril_indices(self.mean.shape[1])
        known = [k for k in range(len(elements)) if np.isfinite(self.energy_low_eV[k])]
        return {
            "num_frames": self.num_frames,
            "limit": self.limit,
            "elements": {
                elements[k]: {
                    "energy_eV": [float(self.energy_low_eV[k]), float(self.energy_high_eV[k])],
                    "mean": _encode(self.mean[k]),
                    "whitener": _encode(self.whitener[k][triangle]),
                }
                for k in known
            },
        }

    @classmethod
    def from_manifest(cls, raw: Mapping[str, Any], elements: Sequence[str]) -> Environments:
        """Rebuild them from :meth:`to_manifest`.

        Raises
        ------
        StudentFileError
            If they are damaged.
        """
        place = {symbol: k for k, symbol in enumerate(elements)}
        try:
            entries = {place[symbol]: entry for symbol, entry in raw["elements"].items()}
            means = {k: _decode(entry["mean"]) for k, entry in entries.items()}
            width = len(next(iter(means.values())))
            triangle = np.tril_indices(width)
            mean = np.full((len(elements), width), np.nan, np.float32)
            whitener = np.zeros((len(elements), width, width), np.float32)
            low, high = np.full(len(elements), np.inf), np.full(len(elements), -np.inf)
            for k, entry in entries.items():
                mean[k] = means[k]
                whitener[k][triangle] = _decode(entry["whitener"])
                low[k], high[k] = entry["energy_eV"]
            return cls(mean, whitener, float(raw["limit"]), low, high, int(raw["num_frames"]))
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise StudentFileError(
                f"the student's environments are damaged ({type(error).__name__}: {error})"
            ) from error


def _covariance(features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    off = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    product: npt.NDArray[np.float64] = off.T @ off / len(off)
    return product


def _encode(array: npt.NDArray[np.floating]) -> str:
    return base64.b64encode(np.ascontiguousarray(array, _FLOAT).tobytes()).decode("ascii")


def _decode(text: str) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), _FLOAT).astype(np.float32)
