"""Small distilled machine-learning force fields, made fast, correct and trusted in MD."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mlff_md._version import __version__

if TYPE_CHECKING:
    from mlff_md.student.file import load_student as load_student
    from mlff_md.student.network import StudentForceField as StudentForceField

_PUBLIC = {
    "MlffError": "mlff_md.errors",
    "StudentForceField": "mlff_md.student.network",
    "load_student": "mlff_md.student.file",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import mlff_md`` is instant."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mlff_md' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
