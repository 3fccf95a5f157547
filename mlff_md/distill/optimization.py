"""The state of a training and its optimiser step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlff_md.distill.batches import Bucket, Targets, epoch_batches
from mlff_md.distill.config import OptimizerConfig
from mlff_md.distill.padded import PaddedFrames
from mlff_md.distill.soap import SOAP
from mlff_md.distill.step import CompiledSteps
from mlff_md.errors import SimulationError

LOSSES = ("force_loss", "energy_loss", "stress_loss")
"""Names of the loss terms in the log; the last where the data have stresses."""


class Optimization:
    """The state of a training: everything that a checkpoint holds."""

    def __init__(
        self,
        model: PaddedFrames,
        buckets: list[Bucket],
        targets: Targets,
        settings: OptimizerConfig,
    ) -> None:
        self.step = 0
        self._settings = settings
        self._buckets = buckets
        self._energy_spread = targets.energy_spread
        self._names = [name.removeprefix("network.") for name, _ in model.named_parameters()]
        self._parameters = [p.detach().clone() for p in model.parameters()]
        self._average = [p.clone() for p in self._parameters]
        self._optimizer = _optimizer(self._parameters, settings)
        self._compute = CompiledSteps(model, settings.compile)
        self._epoch: tuple[int, list[tuple[int, np.ndarray]]] = (-1, [])
        self._batches = len(epoch_batches(buckets, settings.atoms_per_batch, 0, 0))

    def advance(self) -> dict[str, Any]:
        """Take one optimiser step and return its record."""
        started = time.perf_counter()
        settings = self._settings
        epoch, position = divmod(self.step, self._batches)
        if self._epoch[0] != epoch:
            batches = epoch_batches(self._buckets, settings.atoms_per_batch, settings.seed, epoch)
            self._epoch = (epoch, batches)
        number, rows = self._epoch[1][position]
        progress = self.step / settings.steps
        late = settings.late_energy_factor if progress >= 1.0 - settings.late_fraction else 1.0
        weight = settings.energy_weight * late / self._energy_spread
        batch = self._buckets[number].batch(rows)
        results = self._compute(
            self._parameters, batch, torch.tensor([weight, settings.stress_weight])
        )
        count = len(results) - len(self._parameters)
        losses = dict(zip(LOSSES, map(float, results[:count]), strict=False))
        if not math.isfinite(sum(losses.values())):
            raise SimulationError(
                f"the loss of step {self.step} is not finite; lower learning_rate, or look for "
                "damaged frames in the training data"
            )
        rate = self._learning_rate(progress)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for parameter, gradient in zip(self._parameters, results[count:], strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(self._parameters, settings.clip_norm)
        self._optimizer.step()
        self.step += 1
        decay = min(settings.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self._average, self._parameters, 1.0 - decay)
        return {
            "step": self.step,
            "epoch": epoch,
            **losses,
            "learning_rate": rate,
            "seconds": time.perf_counter() - started,
        }

    def averaged(self) -> dict[str, np.ndarray]:
        """Return the averaged weights by name."""
        return {
            name: tensor.numpy().copy()
            for name, tensor in zip(self._names, self._average, strict=True)
        }

    def state(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on."""
        return {
            "step": self.step,
            "parameters": self._parameters,
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by :meth:`state`."""
        _copy(self._parameters, state["parameters"])
        _copy(self._average, state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])

    def _learning_rate(self, progress: float) -> float:
        settings = self._settings
        warmup = min(1.0, (self.step + 1) / max(1, settings.warmup_steps))
        cosine = 0.5 * (1.0 + math.cos(math.pi * progress)) + 0.003
        return settings.learning_rate * warmup * cosine


def _optimizer(parameters: list[Tensor], settings: OptimizerConfig) -> torch.optim.Optimizer:
    if settings.optimizer == "soap":
        return SOAP(parameters, lr=settings.learning_rate)
    return torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=settings.weight_decay,
    )


def _copy(target: list[Tensor], source: list[Tensor]) -> None:
    with torch.no_grad():
        for mine, other in zip(target, source, strict=True):
            mine.copy_(other)
