"""What all peers have in common with our students, and with each other."""

from __future__ import annotations

import importlib
from typing import Any

CUTOFF_A = 5.0
ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl")
SEED = 0
NEIGHBORS_PER_ATOM = 20.0  # what sums are normalized by; no influence on the time
_RECOMPILATIONS = 64  # torch gives up after 8, and every size and model is one


def parameter_count(model: Any) -> int:
    """Return the number of a torch module's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def allow_recompilations() -> None:
    """Let torch.compile meet every number of atoms of a benchmark, for the whole process."""
    dynamo: Any = importlib.import_module("torch._dynamo")
    dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, _RECOMPILATIONS)
