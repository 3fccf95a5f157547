"""The ``torchscript`` engine: the reverse pass as a traced and frozen TorchScript graph."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from mlff_md.engines.gradient import EdgeGradientNetwork
from mlff_md.engines.torch_engine import TorchEngine


class TorchScriptEngine(TorchEngine):
    """Evaluate a student with TorchScript, compiled in memory from its weights.

    Nothing is loaded from a TorchScript file here: such files can run code.
    """

    name = "torchscript"

    def _prepare(self, network: EdgeGradientNetwork) -> Any:
        device, dtype = self._device, self._dtype
        # Two atoms and both directions of their pair: every operation has something to do, and
        # nothing in the graph depends on the sizes.
        example = (
            torch.zeros(2, dtype=torch.int64, device=device),
            torch.tensor([[0, 1], [1, 0]], device=device),
            torch.tensor([[1.0, 0.5, 0.2], [-1.0, -0.5, -0.2]], dtype=dtype, device=device),
            torch.ones(2, dtype=dtype, device=device),
        )
        with warnings.catch_warnings():
            # Torch announces that TorchScript will go one day; users of this engine chose it.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            return torch.jit.freeze(torch.jit.trace(network, example, check_trace=False))
