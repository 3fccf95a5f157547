"""Engines: each evaluates a student, all give the same numbers.

Importing this package does not import torch; the engines that need it do.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from mlff_md import native
from mlff_md.engines.assemble import Properties, assemble
from mlff_md.engines.base import Engine
from mlff_md.engines.batch import evaluate_structures
from mlff_md.engines.evaluation import Evaluation
from mlff_md.engines.exported import (
    ExportedStudent,
    is_exported,
    load_exported,
    refuse_options,
)
from mlff_md.errors import ConfigError
from mlff_md.hints import hint
from mlff_md.student import Student

_CLASSES: Mapping[str, str] = {
    "native": "native_engine.NativeEngine",
    "torchscript": "torchscript_engine.TorchScriptEngine",
    "torch": "torch_engine.TorchEngine",
    "onnx": "onnx_engine.OnnxEngine",
    "onnx-int8": "onnx_engine.OnnxInt8Engine",
    "aoti": "aoti_engine.AotiEngine",
}

ENGINES = tuple(_CLASSES)
"""Names of the engines; ``auto`` chooses among them."""

__all__ = [
    "ENGINES",
    "Engine",
    "Evaluation",
    "ExportedStudent",
    "Properties",
    "assemble",
    "evaluate_structures",
    "is_exported",
    "load_exported",
    "make_engine",
]


def make_engine(
    student: Student | ExportedStudent,
    engine: str = "auto",
    *,
    device: str = "cpu",
    dtype: str = "float32",
    threads: int = 1,
    skin_A: float = 1.0,
) -> Engine:
    """Return an engine for a student.

    Parameters
    ----------
    student
        From :func:`mlff_md.load_student` or :func:`load_exported`.
    engine
        One of :data:`ENGINES`, or ``auto``: the fastest that this machine has.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    dtype
        ``float32`` or ``float64``.
    threads
        Threads of an evaluation, at least 1.
    skin_A
        Of the neighbor list that :meth:`Engine.compute` keeps, Å.

    Raises
    ------
    ConfigError
        If an option is unknown or cannot be had here.
    MissingDependencyError
        If an engine is asked for and what it needs is not installed.
    """
    if threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    if not 0.0 <= skin_A <= 10.0:
        raise ConfigError(f"skin_A must be 0..10 Å, got {skin_A}")
    if isinstance(student, ExportedStudent):
        refuse_options(student, engine, device, dtype)
        engine = student.engine
    elif engine == "auto":
        engine = _fastest(device)
    if engine not in _CLASSES:
        raise ConfigError(f"no engine is called {engine!r}; {hint(engine, ['auto', *ENGINES])}")
    module, name = _CLASSES[engine].split(".")
    kind: type[Any] = getattr(importlib.import_module(f"mlff_md.engines.{module}"), name)
    made: Engine = kind(student, device=device, dtype=dtype, threads=threads, skin_A=skin_A)
    return made


def _fastest(device: str) -> str:
    # ONNX Runtime is faster than TorchScript below 50 atoms, and slower above.
    return "native" if device == "cpu" and native.available() else "torchscript"
