"""The ``torch`` engine: the hand-written reverse pass, run eagerly on CPU or CUDA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlff_md.engines.base import Engine
from mlff_md.engines.evaluation import Evaluation
from mlff_md.engines.exported import ExportedStudent, refuse_options
from mlff_md.engines.gradient import EdgeGradientNetwork
from mlff_md.errors import ConfigError
from mlff_md.graph import Graph
from mlff_md.student import Student

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class TorchEngine(Engine):
    """Evaluate a student with torch.

    Parameters
    ----------
    student
        The student.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    dtype
        ``float32``, or ``float64`` for static checks; energies are summed in float64 either way.
    threads
        Torch threads during an evaluation; the process-wide setting is put back after each.
    skin_A
        Of the neighbor list, Å.

    Raises
    ------
    ConfigError
        If the device or the dtype cannot be had.
    """

    name = "torch"

    def __init__(
        self,
        student: Student | ExportedStudent,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 1,
        skin_A: float = 1.0,
    ) -> None:
        super().__init__(student.elements, student.cutoff_A, skin_A)
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype must be float32 or float64, got {dtype!r}")
        self._dtype, self._device, self._threads = _DTYPES[dtype], _device(device), threads
        self._module = self._prepare(student)

    def _prepare(self, student: Student | ExportedStudent) -> Any:
        """Return what is called with the tensors of a graph."""
        if isinstance(student, ExportedStudent):
            refuse_options(student, self.name, "cpu", "float32")
            raise AssertionError("no exported student runs on the engine torch")
        return self._network(student)

    def _network(self, student: Student) -> EdgeGradientNetwork:
        network = EdgeGradientNetwork(student.network(self._dtype))
        return network.to(self._device).eval().requires_grad_(False)

    def evaluate(self, graph: Graph) -> Evaluation:
        """Evaluate a graph (see :class:`Engine`)."""
        with _threads(self._threads), torch.inference_mode():
            energies, gradients = self._module(*self._inputs(graph))
            return Evaluation(energies.cpu().numpy(), gradients.cpu().numpy())

    def _inputs(self, graph: Graph) -> tuple[Tensor, ...]:
        return (
            self._tensor(graph.species, torch.int64),
            self._tensor(graph.edges, torch.int64),
            self._tensor(graph.vectors, self._dtype),
            self._tensor(graph.local, self._dtype),
        )

    def describe(self) -> Mapping[str, Any]:
        """Return engine, dtype, device and threads."""
        return {
            "engine": self.name,
            "dtype": str(self._dtype).removeprefix("torch."),
            "device": str(self._device),
            "threads": self._threads,
        }

    def _tensor(self, array: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(array).to(self._device, dtype)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"no device is called {name!r}; use cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not supported; use cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or (device.index or 0) >= count:
            raise ConfigError(
                f"device {name!r}: this torch sees {count} CUDA devices; use device='cpu', or "
                "install a CUDA build of torch on a machine with a GPU"
            )
    return device


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if before == wanted:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
