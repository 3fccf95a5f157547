"""The ``torchscript`` engine: the reverse pass as a traced and frozen TorchScript graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlff_md.engines.exported import ExportedStudent, refuse_options
from mlff_md.engines.torch_engine import TorchEngine
from mlff_md.engines.torch_programs import contract_inputs, load_torchscript, traced
from mlff_md.graph import Graph
from mlff_md.student import Student


class TorchScriptEngine(TorchEngine):
    """Evaluate a student with TorchScript.

    A :class:`~mlff_md.student.Student` is traced in memory, on the device and in the type asked
    for. Of an exported one, the program in the file runs, if it is trusted.

    Parameters and errors are those of :class:`TorchEngine`.
    """

    name = "torchscript"

    def __init__(
        self,
        student: Student | ExportedStudent,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 1,
        skin_A: float = 1.0,
    ) -> None:
        self._from_file = isinstance(student, ExportedStudent)
        if isinstance(student, ExportedStudent):
            refuse_options(student, self.name, device, dtype)
        super().__init__(student, device=device, dtype=dtype, threads=threads, skin_A=skin_A)

    def _prepare(self, student: Student | ExportedStudent) -> Any:
        if isinstance(student, ExportedStudent):
            return load_torchscript(student)
        device, dtype = self._device, self._dtype
        # Two atoms and both directions of their pair: every operation has something to do, and
        # nothing in the graph depends on the sizes.
        example = (
            torch.zeros(2, dtype=torch.int64, device=device),
            torch.tensor([[0, 1], [1, 0]], device=device),
            torch.tensor([[1.0, 0.5, 0.2], [-1.0, -0.5, -0.2]], dtype=dtype, device=device),
            torch.ones(2, dtype=dtype, device=device),
        )
        return traced(self._network(student), example)

    def _inputs(self, graph: Graph) -> tuple[Tensor, ...]:
        return contract_inputs(graph) if self._from_file else super()._inputs(graph)
