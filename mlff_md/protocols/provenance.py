"""Where a result comes from: versions, platform, calculator, input. No host names, no paths."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md._version import __version__

if TYPE_CHECKING:
    from ase import Atoms

# The folders of a file that is given from the root or from home; pair styles have slashes too.
_FOLDERS = re.compile(r"(?:(?<=[\s:=])|^)(?:~|[A-Za-z]:)?[/\\]\S*[/\\]")


def environment() -> dict[str, Any]:
    """Return versions of Python and of the packages at work, and the platform.

    torch and tblite are named only where something has imported them.
    """
    versions = {"mlff-md": __version__, "python": platform.python_version()}
    for name in ("ase", "numpy", "scipy"):
        versions[name] = metadata.version(name)
    for name in ("torch", "onnxruntime", "tblite"):
        if name in sys.modules:
            versions[name] = _version(name)
    return {
        "versions": versions,
        "platform": {"system": platform.system(), "machine": platform.machine()},
    }


def describe_calculator(calculator: Any) -> dict[str, Any]:
    """Return what a calculator tells about itself, at least its class and module.

    A calculator with a method ``describe()`` that returns a mapping is asked; the calculators
    of this package name their student, its sha256, engine, dtype, device and threads. One that
    :func:`mlff_md.teachers.teacher` made is named as it was asked for, with its parameters,
    package and version; of a file in the name only the file's own name is told.
    """
    kind = type(calculator)
    description: dict[str, Any] = {"class": kind.__qualname__, "module": kind.__module__}
    describe = getattr(calculator, "describe", None)
    told = describe() if callable(describe) else None
    if isinstance(told, Mapping):
        description |= told
    if getattr(calculator, "teacher_spec", None) is not None:
        from mlff_md.teachers import teacher_name

        teacher = teacher_name(calculator)
        description |= {**teacher, "name": _FOLDERS.sub("", str(teacher["name"]))}
    return description


def calculator_name(description: Mapping[str, Any]) -> str:
    """Return the name to print: that of the student, else of the calculator, else its class."""
    for key in ("student", "name", "class"):
        value = description.get(key)
        if isinstance(value, dict):
            value = value.get("name")
        if isinstance(value, str) and value:
            return value
    return "calculator"


def describe_structure(atoms: Atoms) -> dict[str, Any]:
    """Return name, formula, size, cell and hash of the input."""
    name = atoms.info.get("name")
    return {
        "name": name if isinstance(name, str) else atoms.get_chemical_formula(),
        "formula": atoms.get_chemical_formula(),
        "n_atoms": len(atoms),
        "pbc": atoms.pbc.tolist(),
        "cell_A": atoms.cell.array.tolist(),
        "sha256": structure_hash(atoms),
    }


def structure_hash(atoms: Atoms) -> str:
    """Return the sha256 of atomic numbers, positions, cell and pbc, the same on every machine."""
    digest = hashlib.sha256()
    for array, kind in (
        (atoms.numbers, "<i8"),
        (atoms.positions, "<f8"),
        (atoms.cell.array, "<f8"),
        (atoms.pbc, "<i8"),
    ):
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
