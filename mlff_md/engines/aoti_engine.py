"""The ``aoti`` engine: the reverse pass compiled ahead of time by torch, for this machine."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import torch

from mlff_md._version import __version__
from mlff_md.engines.cache import cached
from mlff_md.engines.evaluation import Evaluation
from mlff_md.engines.exported import (
    ExportedStudent,
    metadata_of,
    parse_exported,
    refuse_options,
)
from mlff_md.engines.torch_engine import TorchEngine
from mlff_md.engines.torch_programs import aoti_program, contract_inputs, load_aoti
from mlff_md.errors import ConfigError
from mlff_md.graph import Graph
from mlff_md.student import Student


class AotiEngine(TorchEngine):
    """Evaluate a student with AOTInductor, in float32 on the CPU.

    Compiling takes a C++ compiler and a minute or more, once for each student, version of torch and
    kind of machine: the result is kept in the cache, see :mod:`mlff_md.engines.cache`.

    Parameters and errors are those of :class:`TorchEngine`.
    """

    name = "aoti"

    def __init__(
        self,
        student: Student | ExportedStudent,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 1,
        skin_A: float = 1.0,
    ) -> None:
        if isinstance(student, ExportedStudent):
            refuse_options(student, self.name, device, dtype)
        elif device != "cpu" or dtype != "float32":
            raise ConfigError(
                f"the aoti engine runs float32 on the cpu; use torchscript for {dtype} on {device}"
            )
        super().__init__(student, device=device, dtype=dtype, threads=threads, skin_A=skin_A)
        self._idle = _idle_pair(student.cutoff_A)

    def _prepare(self, student: Student | ExportedStudent) -> Any:
        return load_aoti(student if isinstance(student, ExportedStudent) else compiled(student))

    def evaluate(self, graph: Graph) -> Evaluation:
        """Evaluate a graph (see :class:`Engine`)."""
        if graph.n_atoms > 1 and graph.n_edges > 1:
            return super().evaluate(graph)
        # The program is compiled for two of each at least: a pair out of reach makes up for it.
        found = super().evaluate(Graph.batch([graph, self._idle]))
        return Evaluation(found.energies[: graph.n_atoms], found.gradients[: graph.n_edges])

    def _inputs(self, graph: Graph) -> tuple[torch.Tensor, ...]:
        return contract_inputs(graph)


def compiled(student: Student) -> ExportedStudent:
    """Return the compiled student, from the cache if it is there."""
    versions = (__version__, torch.__version__, platform.machine())
    content = cached(
        f"{student.name}.pt2",
        ("aoti", student.sha256, *versions, torch.backends.cpu.get_cpu_capability()),
        lambda: aoti_program(student, metadata_of(student, "aoti")),
    )
    return parse_exported(content, f"{student.name}.pt2", "aoti", trust=True)


def _idle_pair(cutoff_A: float) -> Graph:
    vector = [cutoff_A + 1.0, 0.0, 0.0]
    return Graph.single(
        species=np.zeros(2, dtype=np.int32),
        edges=np.array([[0, 1], [1, 0]], dtype=np.int32),
        vectors=np.array([vector, np.negative(vector)]),
        local=np.zeros(2, dtype=bool),
    )
