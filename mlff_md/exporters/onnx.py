"""ONNX: float32 weights, standard operators, one file. No torch."""

from __future__ import annotations

from mlff_md.engines.exported import metadata_of
from mlff_md.engines.onnx_file import require_onnx
from mlff_md.student import Student


def content(student: Student) -> bytes:
    """Return the content of the file."""
    require_onnx()
    from mlff_md.engines.onnx_network import onnx_model, plain_weights

    metadata = metadata_of(student, "onnx")
    model = onnx_model(student.manifest, plain_weights(student.weights), metadata)
    return model.SerializeToString()
