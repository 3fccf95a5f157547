"""Where a student was trained: what a guard compares a structure with. No torch.

Outside of this, nothing is known of its errors; inside, they are likely those of the card.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlff_md.errors import StudentFileError
from mlff_md.student.environments import Environments
from mlff_md.student.manifest import Manifest

_DIGITS = 4


@dataclass(frozen=True, eq=False)
class Domain:
    """What of a training set an MD step can be compared with; S species, F scalars.

    Attributes
    ----------
    shortest_A
        (S, S) shortest distance of each pair of elements, Å; ``inf`` where a pair never met.
    most_neighbors
        (S,) largest number of atoms within the cutoff of one of the element.
    feature_min, feature_max
        (S, F) range of the scalars that enter the readout, over the atoms of the element; ``inf``
        and ``-inf`` for an element without atoms.
    num_atoms
        (S,) atoms of each element.
    num_frames
        Frames measured.
    dataset_sha256
        Which ones.
    environments
        What its atoms saw around them; ``None`` where that was not measured.
    even_electrons
        Whether every frame had an even number of electrons, were it neutral: the student then
        knows no radicals and no ions.
    """

    shortest_A: npt.NDArray[np.float64]
    most_neighbors: npt.NDArray[np.int64]
    feature_min: npt.NDArray[np.float64]
    feature_max: npt.NDArray[np.float64]
    num_atoms: npt.NDArray[np.int64]
    num_frames: int
    dataset_sha256: str
    environments: Environments | None = None
    even_electrons: bool = False

    def to_manifest(self, elements: Sequence[str]) -> dict[str, Any]:
        """Return the manifest's ``domain``: JSON types, rounded outwards to four digits."""
        pairs = {
            f"{first}-{second}": _down(self.shortest_A[i, j])
            for i, first in enumerate(elements)
            for j, second in enumerate(elements[i:], start=i)
            if math.isfinite(self.shortest_A[i, j])
        }
        by_element = {
            symbol: {
                "num_atoms": int(self.num_atoms[k]),
                "most_neighbors": int(self.most_neighbors[k]),
                "feature_min": [_down(value) for value in self.feature_min[k]],
                "feature_max": [-_down(-value) for value in self.feature_max[k]],
            }
            for k, symbol in enumerate(elements)
            if self.num_atoms[k]
        }
        content: dict[str, Any] = {
            "num_frames": self.num_frames,
            "dataset_sha256": self.dataset_sha256,
            "even_electrons": self.even_electrons,
            "shortest_A": pairs,
            "elements": by_element,
        }
        if self.environments is not None:
            content["environments"] = self.environments.to_manifest(elements)
        return content

    @classmethod
    def from_manifest(cls, raw: Mapping[str, Any], elements: Sequence[str]) -> Domain:
        """Rebuild a domain from :meth:`to_manifest`.

        Raises
        ------
        StudentFileError
            If the student's file has none, or a damaged one.
        """
        if not raw:
            raise StudentFileError(
                "the student does not say where it was trained; mlff_md.distill.domain.with_domain "
                "measures that from its training set"
            )
        count = len(elements)
        place = {symbol: k for k, symbol in enumerate(elements)}
        try:
            sections = {place[symbol]: entry for symbol, entry in raw["elements"].items()}
            width = len(next(iter(sections.values()))["feature_min"])
            shortest = np.full((count, count), np.inf)
            for pair, distance in raw["shortest_A"].items():
                i, j = (place[symbol] for symbol in pair.split("-"))
                shortest[i, j] = shortest[j, i] = float(distance)
            low, high = np.full((count, width), np.inf), np.full((count, width), -np.inf)
            neighbors, atoms = np.zeros(count, np.int64), np.zeros(count, np.int64)
            for k, entry in sections.items():
                low[k], high[k] = entry["feature_min"], entry["feature_max"]
                neighbors[k], atoms[k] = entry["most_neighbors"], entry["num_atoms"]
            return cls(
                shortest,
                neighbors,
                low,
                high,
                atoms,
                int(raw["num_frames"]),
                str(raw["dataset_sha256"]),
                Environments.from_manifest(raw["environments"], elements)
                if "environments" in raw
                else None,
                bool(raw.get("even_electrons", False)),
            )
        except (KeyError, TypeError, ValueError, StopIteration, AttributeError) as error:
            raise StudentFileError(f"the student's domain is damaged ({error!r})") from error


def without_features(manifest: Manifest) -> Manifest:
    """Return the manifest for a file whose features are others, or cannot be had."""
    if "environments" not in manifest.domain:
        return manifest
    elements = manifest.architecture.elements
    domain = Domain.from_manifest(manifest.domain, elements)
    assert domain.environments is not None
    none = np.empty((len(elements), 0))
    bare = replace(
        domain,
        feature_min=none,
        feature_max=none,
        environments=domain.environments.without_features(),
    )
    return replace(manifest, domain=bare.to_manifest(elements))


def _down(value: float) -> float:
    """Return a number rounded down to four digits behind the point."""
    return math.floor(float(value) * 10**_DIGITS) / 10**_DIGITS
