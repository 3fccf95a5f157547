"""Distillation: molecules, sampling, teacher labels, training.

``mlff_md.distill`` is this package and the function that trains a student. Python knows one thing
by one name, and imports make it the package, so the package can be called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlff_md.distill.config import DistillConfig
    from mlff_md.distill.train import Log
    from mlff_md.student import Student


class _Package(ModuleType):
    def __call__(
        self, config: DistillConfig | str | Path, out: str | Path, log: Log | None = None
    ) -> Student:
        """Train a student; see :func:`mlff_md.distill.train.distill`."""
        from mlff_md.distill.train import distill

        return distill(config, out, log)


sys.modules[__name__].__class__ = _Package
