"""Engines: each evaluates a student, all give the same numbers.

Importing this package does not import torch; the engines that need it do.
"""

from __future__ import annotations

import difflib
from typing import Any

from mlff_md import native
from mlff_md.engines.assemble import Properties, assemble
from mlff_md.engines.base import Engine
from mlff_md.engines.batch import evaluate_structures
from mlff_md.engines.evaluation import Evaluation
from mlff_md.errors import ConfigError
from mlff_md.student import Student

ENGINES = ("native", "torch", "torchscript")
"""Names of the engines of this version; ``auto`` chooses among them."""

__all__ = [
    "ENGINES",
    "Engine",
    "Evaluation",
    "Properties",
    "assemble",
    "evaluate_structures",
    "make_engine",
]


def make_engine(
    student: Student,
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
        From :func:`mlff_md.load_student`.
    engine
        ``native``, ``torch``, ``torchscript``, or ``auto``: the fastest that this machine has.
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
        If ``native`` is asked for and was not built.
    """
    if threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    if not 0.0 <= skin_A <= 10.0:
        raise ConfigError(f"skin_A must be 0..10 Å, got {skin_A}")
    if engine == "auto":
        engine = _fastest(device)
    options: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "threads": threads,
        "skin_A": skin_A,
    }
    if engine == "native":
        from mlff_md.engines.native_engine import NativeEngine

        return NativeEngine(student, **options)
    if engine == "torchscript":
        from mlff_md.engines.torchscript_engine import TorchScriptEngine

        return TorchScriptEngine(student, **options)
    if engine == "torch":
        from mlff_md.engines.torch_engine import TorchEngine

        return TorchEngine(student, **options)
    near = difflib.get_close_matches(engine, [*ENGINES, "auto"], n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are auto, {', '.join(ENGINES)}"
    raise ConfigError(f"no engine is called {engine!r}; {hint}")


def _fastest(device: str) -> str:
    return "native" if device == "cpu" and native.available() else "torchscript"
