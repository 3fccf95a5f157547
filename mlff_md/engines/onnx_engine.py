"""The ``onnx`` and ``onnx-int8`` engines: ONNX Runtime on the CPU. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlff_md.engines.base import Engine
from mlff_md.engines.evaluation import Evaluation
from mlff_md.engines.exported import ExportedStudent, metadata_of, refuse_options
from mlff_md.engines.onnx_file import require_onnx
from mlff_md.errors import ConfigError, SimulationError, StudentFileError
from mlff_md.graph import Graph
from mlff_md.student import Student


class OnnxEngine(Engine):
    """Evaluate a student with ONNX Runtime.

    Parameters
    ----------
    student
        The student, of which a model is made in memory, or an exported one.
    device
        ``cpu``.
    dtype
        ``float32``, or ``float64`` for checks; energies are summed in float64 either way.
    threads
        Threads of an evaluation.
    skin_A
        Of the neighbor list, Å.

    Raises
    ------
    MissingDependencyError
        If onnx or onnxruntime is not installed.
    ConfigError
        If an option cannot be had.
    """

    name = "onnx"

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
        require_onnx()
        if device != "cpu":
            raise ConfigError(f"the onnx engines run on the CPU; use torchscript for {device!r}")
        if dtype not in ("float32", "float64"):
            raise ConfigError(f"dtype must be float32 or float64, got {dtype!r}")
        if isinstance(student, ExportedStudent):
            refuse_options(student, self.name, device, dtype)
            content = student.content
        else:
            content = self._content(student, dtype)
        self._dtype, self._threads = dtype, threads
        self._session = _session(content, threads, dtype)

    def _content(self, student: Student, dtype: str) -> bytes:
        from mlff_md.engines.onnx_network import onnx_model, plain_weights

        metadata = metadata_of(student, "onnx")
        weights = plain_weights(student.weights)
        return onnx_model(student.manifest, weights, metadata, dtype).SerializeToString()

    def evaluate(self, graph: Graph) -> Evaluation:
        """Evaluate a graph (see :class:`Engine`)."""
        inputs = {
            "species": graph.species,
            "edges": np.ascontiguousarray(graph.edges),
            "vectors": graph.vectors.astype(self._dtype, copy=False),
            "local": graph.local,
        }
        try:
            energies, gradients = self._session.run(None, inputs)
        except RuntimeError as error:
            raise SimulationError(f"ONNX Runtime: {str(error).splitlines()[0][:200]}") from error
        return Evaluation(energies, gradients)

    def describe(self) -> Mapping[str, Any]:
        """Return engine, dtype, device, threads and the version of ONNX Runtime."""
        import onnxruntime

        return {
            "engine": self.name,
            "dtype": self._dtype,
            "device": "cpu",
            "threads": self._threads,
            "onnxruntime": onnxruntime.__version__,
        }


class OnnxInt8Engine(OnnxEngine):
    """Evaluate the quantised weights of a student: see :mod:`mlff_md.student.quantized`.

    A student that is not quantised is quantised first, once for each user: the result is kept in
    the cache.
    """

    name = "onnx-int8"

    def _content(self, student: Student, dtype: str) -> bytes:
        from mlff_md.engines.onnx_network import onnx_model, packed_weights
        from mlff_md.engines.quantization import cached_quantized

        quantized = cached_quantized(student)
        metadata = metadata_of(quantized, "onnx-int8")
        weights = packed_weights(quantized.packed or {})
        return onnx_model(quantized.manifest, weights, metadata, dtype).SerializeToString()


def _session(content: bytes, threads: int, dtype: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Waiting threads of a session that is idle would take the cores from everybody else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if dtype == "float64":
        # Beyond the basic level, factors become attributes of nodes, which are float32.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        # From memory: a model cannot refer to other files then.
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise StudentFileError(f"ONNX Runtime cannot run the model: {reason}") from error
