"""Small distilled machine-learning force fields, made fast, correct and trusted in MD."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mlff_md._version import __version__

if TYPE_CHECKING:
    from mlff_md.calculator import StudentForceFieldCalculator as StudentForceFieldCalculator
    from mlff_md.distill.train import distill as distill
    from mlff_md.errors import MlffError as MlffError
    from mlff_md.exporters import export as export
    from mlff_md.md import relax as relax
    from mlff_md.md import run_nve as run_nve
    from mlff_md.md import run_nvt as run_nvt
    from mlff_md.protocols.compare import compare as compare
    from mlff_md.protocols.drift import analyze_drift as analyze_drift
    from mlff_md.protocols.ensemble import validate_nvt as validate_nvt
    from mlff_md.protocols.forces import analyze_forces as analyze_forces
    from mlff_md.protocols.nve import validate_nve as validate_nve
    from mlff_md.report import write_report as write_report
    from mlff_md.structures import read_structure as read_structure
    from mlff_md.student import load_student as load_student
    from mlff_md.student.network import StudentForceField as StudentForceField
    from mlff_md.teachers import teacher as teacher

_PUBLIC = {
    "MlffError": "mlff_md.errors",
    "StudentForceField": "mlff_md.student.network",
    "StudentForceFieldCalculator": "mlff_md.calculator",
    "analyze_drift": "mlff_md.protocols.drift",
    "analyze_forces": "mlff_md.protocols.forces",
    "compare": "mlff_md.protocols.compare",
    "distill": "mlff_md.distill.train",
    "export": "mlff_md.exporters",
    "load_student": "mlff_md.student",
    "read_structure": "mlff_md.structures",
    "relax": "mlff_md.md",
    "run_nve": "mlff_md.md",
    "run_nvt": "mlff_md.md",
    "teacher": "mlff_md.teachers",
    "validate_nve": "mlff_md.protocols.nve",
    "validate_nvt": "mlff_md.protocols.ensemble",
    "write_report": "mlff_md.report",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import mlff_md`` is instant."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mlff_md' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    # "distill" is there by now: the import made it the package, which can be called.
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    return sorted(__all__)
