"""``export``: make a file, prove it equal to the student, write it."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_md.engines import make_engine
from mlff_md.engines.exported import SUFFIXES, parse_exported
from mlff_md.engines.quantization import quantized_file
from mlff_md.errors import ConfigError
from mlff_md.exporters.parity import (
    QUANTIZATION_TOLERANCE,
    Parity,
    force_change,
    parity,
    require,
)
from mlff_md.files import write_files
from mlff_md.hints import hint
from mlff_md.student import Student, load_student
from mlff_md.student.file import parse_student

if TYPE_CHECKING:
    from ase import Atoms

FORMATS: Mapping[str, str] = {
    "torchscript": ".pt",
    "onnx": ".onnx",
    "onnx-int8": ".int8.onnx",
    "aoti": ".pt2",
    "onnx-dynamic-int8": ".dynamic-int8.onnx",
}
"""Format -> end of the file's name."""

UNGATED = "onnx-dynamic-int8"


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes
    ----------
    path, format, size_bytes
        Of the file.
    student_path
        The quantised student that was written beside it, for the formats that make one.
    parity
        How far the file is from torch in float64 on the same weights.
    force_change
        By quantising: RMS change of the forces over their RMS; ``None`` if nothing was quantised.
    """

    path: Path
    format: str
    size_bytes: int
    student_path: Path | None
    parity: Parity
    force_change: float | None


def export(
    student: str | os.PathLike[str] | Student = "tiny",
    out: str | os.PathLike[str] | None = None,
    *,
    format: str = "onnx",
    calibration: Sequence[Atoms] | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Export a student to a file that other programs run, or that is smaller.

    The file maps ``species`` int32 [N], ``edges`` int32 [2, E], ``vectors`` float32 [E, 3] (Å) and
    ``local`` bool [N] to ``energies`` float64 [N] (eV) and ``gradients`` float32 [E, 3] (eV/Å), for
    any N and E, see :mod:`mlff_md.engines`. It carries the student's manifest and hash.

    Parameters
    ----------
    student
        Name, file, or a loaded student.
    out
        File to write; by default the student's name with the suffix of the format.
    format
        ``onnx``, ``onnx-int8`` (quantised weights, and the quantised student as
        ``.int8.safetensors`` beside it), ``torchscript``, ``aoti`` (machine code for this machine:
        minutes) or, for comparison only, ``onnx-dynamic-int8``, whose forces are no gradient.
    calibration
        For ``onnx-int8``: structures like those that it will be used on.
    overwrite
        Whether to replace files.

    Returns
    -------
    ExportResult

    Raises
    ------
    ConfigError
        If the format or the file cannot be had.
    MissingDependencyError
        If a package or compiler is missing.
    DataError
        If the result is not the student; nothing is written then.
    """
    if format not in FORMATS:
        raise ConfigError(f"no format is called {format!r}; {hint(format, FORMATS)}")
    if calibration is not None and format != "onnx-int8":
        raise ConfigError(f"calibration does nothing for {format}; leave it out")
    student = student if isinstance(student, Student) else load_student(student)
    path = Path(out) if out is not None else Path(f"{student.name}{FORMATS[format]}")
    if path.suffix not in SUFFIXES or not FORMATS[format].endswith(path.suffix):
        raise ConfigError(f"{path}: files of the format {format} end in {FORMATS[format]}")
    student_path = None
    if format == "onnx-int8" and student.packed is None:
        student_path = path.with_name(
            path.name.removesuffix(".onnx").removesuffix(".int8") + ".int8.safetensors"
        )
    for taken in (path, student_path):
        if taken is not None and taken.exists() and not overwrite:
            raise ConfigError(f"{taken} exists; choose another --out or pass --force")

    files: dict[str, bytes] = {}
    change = None
    if student_path is not None:
        parent = student
        files[student_path.name] = quantized_file(parent, calibration)
        student = parse_student(files[student_path.name], str(student_path))
        change = _checked_change(parent, student, path)
    module = importlib.import_module(f"mlff_md.exporters.{format.replace('-', '_')}")
    files[path.name] = content = module.content(student)
    made = parse_exported(content, str(path), SUFFIXES[path.suffix], trust=True)
    found = parity(make_engine(made), student)
    if format == UNGATED:
        warnings.warn(
            f"{format} is for comparison only: its forces are not the gradient of its energy, and "
            "MD with it does not conserve energy; onnx-int8 is as small and does",
            stacklevel=2,
        )
    else:
        require(found, str(path))
    write_files(path.parent, files)
    return ExportResult(path, format, len(content), student_path, found, change)


def _checked_change(parent: Student, student: Student, path: Path) -> float:
    change = force_change(parent, student)
    if not change <= QUANTIZATION_TOLERANCE:
        raise ConfigError(
            f"{path} was not written: quantising {parent.name} changes its forces by "
            f"{100 * change:.3g} % of their RMS, more than {100 * QUANTIZATION_TOLERANCE:g} %; "
            "export it as onnx"
        )
    return change
