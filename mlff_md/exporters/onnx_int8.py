"""ONNX with the weights of a quantised student, as they are stored. No torch."""

from __future__ import annotations

from mlff_md.engines.exported import metadata_of
from mlff_md.engines.onnx_file import require_onnx
from mlff_md.errors import ConfigError
from mlff_md.student import Student


def content(student: Student) -> bytes:
    """Return the content of the file.

    Raises
    ------
    ConfigError
        If the student is not quantised.
    """
    require_onnx()
    from mlff_md.engines.onnx_network import onnx_model, packed_weights

    if student.packed is None:
        raise ConfigError(f"{student.name} is not quantised")
    metadata = metadata_of(student, "onnx-int8")
    model = onnx_model(student.manifest, packed_weights(student.packed), metadata)
    return model.SerializeToString()
