"""Exported students: what a file says about itself, read without running anything of it. No torch.

All formats carry the manifest and the hash of the student that they were made from. An ``.onnx``
file is data. A ``.pt`` (TorchScript) or ``.pt2`` (AOTInductor) file is a program, which can do
whatever its maker wanted as soon as it is loaded: such a file is opened only for a user who says
that it is trusted.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlff_md._version import __version__
from mlff_md.errors import ConfigError, StudentFileError
from mlff_md.student import Manifest, Student
from mlff_md.student.domain import without_features
from mlff_md.student.file import MANIFEST_KEY

ENGINE_OF_FORMAT: Mapping[str, str] = {
    "torchscript": "torchscript",
    "onnx": "onnx",
    "onnx-int8": "onnx-int8",
    "onnx-dynamic-int8": "onnx",
    "aoti": "aoti",
}
"""Format -> the engine that runs it."""

SUFFIXES: Mapping[str, str] = {".onnx": "onnx", ".pt": "torchscript", ".pt2": "aoti"}
"""Suffix -> format; both int8 formats end in .onnx, too, and say so inside."""

EXPORT_KEY = "mlff_md_export"
"""Beside the manifest, under the key of student files: format, parent and versions."""

MAX_FILE_BYTES = 2**30

_LONGEST_TEXT = 2**22  # of a manifest in an archive


@dataclass(frozen=True)
class ExportedStudent:
    """A student as exported; stands where a :class:`~mlff_md.student.Student` does.

    Attributes
    ----------
    manifest
        That of the student it was made from.
    format
        A key of :data:`ENGINE_OF_FORMAT`.
    parent_sha256
        Hash of the student file it was made from.
    content
        The file.
    origin
        Where it was read from, for messages.
    trusted
        Whether a program in it may be run.
    """

    manifest: Manifest
    format: str
    parent_sha256: str
    content: bytes
    origin: str
    trusted: bool = False

    @property
    def name(self) -> str:
        """Full name of the student."""
        return self.manifest.name

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols in the order of the species indices."""
        return self.manifest.architecture.elements

    @property
    def cutoff_A(self) -> float:
        """Cutoff, Å."""
        return self.manifest.architecture.cutoff_A

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def engine(self) -> str:
        """The engine that runs it."""
        return ENGINE_OF_FORMAT[self.format]


def metadata_of(student: Student, format: str) -> dict[str, str]:
    """Return what an exported file carries: the manifest, the parent's hash, the versions."""
    export = {
        "format": format,
        "parent_sha256": student.sha256,
        "mlff_md": __version__,
        "machine": platform.machine(),
    }
    return {
        MANIFEST_KEY: without_features(student.manifest).to_json(),
        EXPORT_KEY: json.dumps(export),
    }


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Return whether a name has the suffix of an exported file."""
    return Path(path).suffix.lower() in SUFFIXES


def load_exported(path: str | os.PathLike[str], trust: bool | str = False) -> ExportedStudent:
    """Read an exported file, without running anything of it.

    Parameters
    ----------
    path
        ``.onnx``, ``.pt`` or ``.pt2``.
    trust
        Whether a file that is a program may be run: ``True``, or the sha256 of the one that may.

    Raises
    ------
    StudentFileError
        If it is no exported student, damaged, or a program that is not trusted.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise StudentFileError(f"{path} is too large to be a student ({path.stat().st_size} B)")
        content = path.read_bytes()
    except OSError as error:
        raise StudentFileError(f"cannot read {path}: {error.strerror}") from error
    return parse_exported(content, str(path), SUFFIXES[path.suffix.lower()], trust)


def parse_exported(
    content: bytes, origin: str, format: str, trust: bool | str = False
) -> ExportedStudent:
    """Return what :func:`load_exported` does, for the content of a file."""
    trusted = _is_trusted(content, origin, trust)
    if format == "onnx":
        from mlff_md.engines.onnx_file import checked_metadata

        metadata: Mapping[str, str] = checked_metadata(content, origin)
    else:
        if not trusted:
            raise StudentFileError(
                f"{origin} is a program, which can do anything once it is loaded; if you know who "
                "made it, pass --trust (trust=True in Python, or its sha256); .safetensors and "
                ".onnx files need no trust"
            )
        metadata = _archive_metadata(content, origin)
    if not {MANIFEST_KEY, EXPORT_KEY} <= set(metadata):
        raise StudentFileError(f"{origin} carries no manifest: not an export of mlff-md")
    manifest = Manifest.from_json(metadata[MANIFEST_KEY], origin)
    try:
        export: dict[str, Any] = json.loads(metadata[EXPORT_KEY])
        said, parent = str(export["format"]), str(export["parent_sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise StudentFileError(f"{origin}: what it says about itself is damaged") from error
    if not said.startswith(format) or said not in ENGINE_OF_FORMAT:
        raise StudentFileError(f"{origin} says that it is of the format {said!r}")
    return ExportedStudent(manifest, said, parent, content, origin, trusted)


def _is_trusted(content: bytes, origin: str, trust: bool | str) -> bool:
    if isinstance(trust, bool):
        return trust
    found = hashlib.sha256(content).hexdigest()
    if trust.strip().lower() != found:
        raise StudentFileError(f"{origin} is not the trusted file: its sha256 is {found}")
    return True


def _archive_metadata(content: bytes, origin: str) -> dict[str, str]:
    """Return the texts that a TorchScript or AOTInductor archive carries beside the program."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = {}
            for item in archive.infolist():
                name = item.filename.rsplit("/", 1)[-1]
                if "/extra/" in item.filename and name in (MANIFEST_KEY, EXPORT_KEY):
                    if item.file_size > _LONGEST_TEXT:
                        raise StudentFileError(f"{origin}: its manifest is too long")
                    found[name] = archive.read(item).decode()
            return found
    except StudentFileError:
        raise
    except Exception as error:
        # zipfile and zlib raise whatever a damaged byte leads them into.
        raise StudentFileError(f"{origin} is damaged ({error})") from error


def refuse_options(student: ExportedStudent, engine: str, device: str, dtype: str) -> None:
    """Refuse what an exported file cannot do.

    Raises
    ------
    ConfigError
        Saying what it can.
    """
    if engine not in ("auto", student.engine):
        raise ConfigError(
            f"{student.origin} runs on the engine {student.engine}, not {engine}; other engines "
            "take the .safetensors file that it was made from"
        )
    if dtype != "float32" or device != "cpu":
        raise ConfigError(
            f"{student.origin} was made for float32 on the cpu; take the .safetensors file that "
            f"it was made from for {dtype} on {device}"
        )
