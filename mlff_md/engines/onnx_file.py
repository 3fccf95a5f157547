"""What an ``.onnx`` file must be before it is run: one file, standard operators. No torch."""

from __future__ import annotations

from typing import Any

from mlff_md.errors import MissingDependencyError, StudentFileError

STANDARD_DOMAINS = ("", "ai.onnx")
"""The standard domain has two names."""


def require_onnx() -> None:
    """Raise unless onnx and onnxruntime are installed.

    Raises
    ------
    MissingDependencyError
        With the line to run.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "ONNX needs the packages onnx and onnxruntime: pip install 'mlff-md[onnx]'"
        ) from error
    del onnx, onnxruntime


def checked_metadata(content: bytes, origin: str) -> dict[str, str]:
    """Return the metadata of a model that reads no other files and has standard operators only.

    Raises
    ------
    StudentFileError
        If it is anything else.
    MissingDependencyError
        If onnx is not installed.
    """
    require_onnx()
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise StudentFileError(f"{origin} is not an ONNX file, or is damaged") from error
    domains = {opset.domain for opset in model.opset_import}
    domains |= {node.domain for node in _nodes(model.graph)}
    strange = sorted(domains - set(STANDARD_DOMAINS))
    if strange or model.functions:
        what = ", ".join(strange) or "functions"
        raise StudentFileError(f"{origin} has operators outside the ONNX standard ({what})")
    if any(_is_external(tensor) for tensor in _tensors(model.graph)):
        raise StudentFileError(f"{origin} refers to other files, which is not allowed")
    return {item.key: item.value for item in model.metadata_props}


def _is_external(tensor: Any) -> bool:
    return bool(tensor.data_location or tensor.external_data)


def _graphs(graph: Any) -> list[Any]:
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    found += _graphs(inner)
    return found


def _nodes(graph: Any) -> list[Any]:
    return [node for part in _graphs(graph) for node in part.node]


def _tensors(graph: Any) -> list[Any]:
    tensors = []
    for part in _graphs(graph):
        tensors += part.initializer
        for sparse in part.sparse_initializer:
            tensors += [sparse.values, sparse.indices]
    for node in _nodes(graph):
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                tensors += [sparse.values, sparse.indices]
    return tensors
