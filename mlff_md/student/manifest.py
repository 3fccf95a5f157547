"""What a student file says about itself. No torch."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlff_md.errors import StructureError, StudentFileError
from mlff_md.student.architecture import Architecture
from mlff_md.student.prior import PRIOR, atomic_numbers

SCHEMA_VERSION = "2.1"
"""2: networks with quadrupoles; 2.1: what was measured in MD."""

FORMAT = "mlff-md student"


@dataclass(frozen=True)
class Manifest:
    """The header of a student file: all that is needed to run it and to judge it.

    Attributes
    ----------
    name
        Full name, for example ``gfn2-tiny-v2``.
    architecture
        Sizes, elements and cutoff.
    energy_scale_eV
        Factor of the network's output.
    atomic_energies_eV, prior_radii_A
        Per element: energy added for each atom, eV, and radius of the repulsive prior, Å.
    teacher
        Name, package and version of what made the labels.
    training
        Recipe, number of frames, hash of the training set.
    accuracy
        Measured errors against the teacher on held-out molecules, by temperature and element.
    domain
        Where the student was trained, see :mod:`mlff_md.student.domain`.
    nve, robustness, speed
        What was measured in MD, see :func:`mlff_md.cards.measure_card`; empty if it was not.
    use
        ``intended`` and ``limits``: what it is for and what it is not, in words.
    license
        SPDX identifier of the weights.
    prior
        Which short-range prior the weights go with, see :mod:`mlff_md.student.prior`.
    """

    name: str
    architecture: Architecture
    energy_scale_eV: float
    atomic_energies_eV: tuple[float, ...]
    prior_radii_A: tuple[float, ...]
    teacher: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    domain: Mapping[str, Any] = field(default_factory=dict)
    nve: Mapping[str, Any] = field(default_factory=dict)
    robustness: Mapping[str, Any] = field(default_factory=dict)
    speed: Mapping[str, Any] = field(default_factory=dict)
    use: Mapping[str, Any] = field(default_factory=dict)
    license: str = "MIT"
    units: Mapping[str, str] = field(
        default_factory=lambda: {"energy": "eV", "length": "Angstrom", "force": "eV/Angstrom"}
    )
    prior: str = PRIOR
    schema_version: str = SCHEMA_VERSION

    def to_json(self) -> str:
        """Return the manifest as JSON text."""
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        return json.dumps(content, separators=(",", ":"), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, origin: str) -> Manifest:
        """Parse a manifest.

        Parameters
        ----------
        text
            JSON made by :meth:`to_json`.
        origin
            File name for the error messages.

        Raises
        ------
        StudentFileError
            If it is foreign, damaged, or of a newer schema.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise StudentFileError(f"{origin}: the manifest is damaged ({error})") from error
        if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
            raise StudentFileError(f"{origin} is not a student of mlff-md")
        version = str(raw.get("schema_version", ""))
        if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            older = version.startswith("1.")
            raise StudentFileError(
                f"{origin} has manifest schema {version or 'none'}, this version reads "
                f"{SCHEMA_VERSION}: {'distill it again' if older else 'upgrade mlff-md'}"
            )
        # A newer minor version may add fields; those this version does not know are left out.
        known = {item.name for item in dataclasses.fields(cls)}
        raw = {key: value for key, value in raw.items() if key in known}
        try:
            raw["architecture"] = Architecture(**raw["architecture"])
            raw["atomic_energies_eV"] = tuple(float(x) for x in raw["atomic_energies_eV"])
            raw["prior_radii_A"] = tuple(float(x) for x in raw["prior_radii_A"])
            raw["energy_scale_eV"] = float(raw["energy_scale_eV"])
            manifest = cls(**raw)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise StudentFileError(f"{origin}: the manifest is damaged ({error})") from error
        manifest._check(origin)
        return manifest

    def _check(self, origin: str) -> None:
        per_element = (*self.atomic_energies_eV, *self.prior_radii_A)
        if len(per_element) != 2 * len(self.architecture.elements):
            raise StudentFileError(f"{origin}: the manifest's per-element lists differ in length")
        if not all(math.isfinite(x) for x in (*per_element, self.energy_scale_eV)):
            raise StudentFileError(f"{origin}: the manifest holds numbers that are not finite")
        if self.prior != PRIOR:
            raise StudentFileError(
                f"{origin} has the short-range prior {self.prior!r}, this version knows {PRIOR!r}: "
                "upgrade mlff-md"
            )
        if min(self.prior_radii_A) <= 0.0:
            raise StudentFileError(f"{origin}: the prior's radii must be positive")
        if 2.0 * max(self.prior_radii_A) > self.architecture.cutoff_A:
            # Pairs beyond the cutoff are never seen, so the prior would end there with a step.
            raise StudentFileError(
                f"{origin}: the cutoff of {self.architecture.cutoff_A} Å is within the reach of "
                f"the short-range prior, {2.0 * max(self.prior_radii_A):.3g} Å"
            )
        measured = (self.accuracy, self.domain, self.nve, self.robustness, self.speed)
        tables = (self.teacher, self.training, self.units, self.use, *measured)
        if not all(isinstance(table, Mapping) for table in tables):
            raise StudentFileError(f"{origin}: the manifest is damaged (a section is no table)")
        if not all(isinstance(text, str) for text in (self.name, self.license)):
            raise StudentFileError(f"{origin}: the manifest is damaged (a name is no text)")
        try:
            atomic_numbers(self.architecture.elements)
        except StructureError as error:
            raise StudentFileError(f"{origin}: {error}") from error
