"""Student files: safetensors with the manifest in the header. Nothing in them can run code."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlff_md.errors import StudentFileError
from mlff_md.files import write_atomically
from mlff_md.student import quantized, zoo
from mlff_md.student.manifest import Manifest

if TYPE_CHECKING:
    import torch

    from mlff_md.student.network import StudentForceField

MANIFEST_KEY = "mlff_md_manifest"
MAX_FILE_BYTES = 2**31
"""Larger files are refused unread: the largest student that an architecture allows is smaller."""


@dataclass(frozen=True, repr=False)
class Student:
    """A student as loaded: manifest and weights, without torch.

    Attributes
    ----------
    manifest
        What the file says about itself.
    weights
        Name -> float32 array, names and shapes as in ``Architecture.weight_shapes``.
    sha256
        Hash of the file.
    packed
        What the file holds instead if it is quantised, see :mod:`mlff_md.student.quantized`; the
        weights are then made from it.
    """

    manifest: Manifest
    weights: Mapping[str, npt.NDArray[np.float32]]
    sha256: str
    packed: Mapping[str, np.ndarray] | None = None

    def __repr__(self) -> str:
        count = self.manifest.architecture.num_parameters
        return f"Student({self.name!r}, num_parameters={count}, sha256={self.sha256[:12]!r})"

    @property
    def name(self) -> str:
        """Full name."""
        return self.manifest.name

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols in the order of the species indices."""
        return self.manifest.architecture.elements

    @property
    def cutoff_A(self) -> float:
        """Cutoff, Å."""
        return self.manifest.architecture.cutoff_A

    def network(self, dtype: torch.dtype | None = None) -> StudentForceField:
        """Return the torch network with these weights (float32 unless ``dtype`` says else)."""
        import torch

        from mlff_md.student.network import StudentForceField

        # Weights are overwritten below: their initial values must not draw from the user's
        # random state.
        with torch.random.fork_rng(devices=[]):
            network = StudentForceField.from_architecture(
                self.manifest.architecture,
                energy_scale_eV=self.manifest.energy_scale_eV,
                atomic_energies_eV=self.manifest.atomic_energies_eV,
                prior_radii_A=self.manifest.prior_radii_A,
            )
        network.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in self.weights.items()})
        return network.to(dtype or torch.float32).requires_grad_(False)


def load_student(name_or_path: str | os.PathLike[str]) -> Student:
    """Load a shipped student by name, or a student file.

    Parameters
    ----------
    name_or_path
        ``tiny``, ``gfn2-tiny-v2``, ... (see ``mlff-md models``), or the path of a
        ``.safetensors`` file.

    Raises
    ------
    StudentFileError
        If there is no such student, or the file is damaged, foreign or too new.
    """
    path = zoo.find(name_or_path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise StudentFileError(f"{path} is too large to be a student ({path.stat().st_size} B)")
        content = path.read_bytes()
    except OSError as error:
        raise StudentFileError(f"cannot read {path}: {error.strerror}") from error
    return parse_student(content, str(path))


def save_student(
    path: str | os.PathLike[str],
    manifest: Manifest,
    weights: Mapping[str, npt.NDArray[np.floating]],
) -> Student:
    """Write a student file atomically and return what :func:`load_student` would.

    Raises
    ------
    StudentFileError
        If the weights do not fit the manifest.
    ConfigError
        If the file cannot be written.
    """
    import safetensors.numpy

    arrays = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in weights.items()}
    content = safetensors.numpy.save(arrays, metadata={MANIFEST_KEY: manifest.to_json()})
    student = parse_student(content, str(path))
    write_atomically(Path(path), content)
    return student


def parse_student(content: bytes, origin: str) -> Student:
    """Return the student in the content of a file; ``origin`` names it in messages.

    Raises
    ------
    StudentFileError
        If there is none.
    """
    import safetensors
    import safetensors.numpy

    try:
        weights = safetensors.numpy.load(content)
        header = _header(content)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise StudentFileError(
            f"{origin} is not a student file, or is damaged ({error})"
        ) from error
    manifest_text, packed = header.get(MANIFEST_KEY), None
    if manifest_text is None:
        raise StudentFileError(
            f"{origin} is a safetensors file without a manifest, not a student of mlff-md"
        )
    manifest = Manifest.from_json(manifest_text, origin)
    expected = manifest.architecture.weight_shapes()
    if quantized.KEY in header:
        quantized.check_scheme(header[quantized.KEY], origin)
        packed, weights = weights, quantized.unpacked(weights, expected)
    if {name: array.shape for name, array in weights.items()} != dict(expected):
        raise StudentFileError(f"{origin}: the weights do not fit the manifest's architecture")
    for name, array in weights.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise StudentFileError(f"{origin}: weight {name} is not finite float32")
    return Student(manifest, weights, hashlib.sha256(content).hexdigest(), packed)


def _header(content: bytes) -> Mapping[str, str]:
    """Return the metadata of a safetensors file (its library reads it only from a path)."""
    import json

    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size].decode("utf-8"))
    return header.get("__metadata__") or {}
