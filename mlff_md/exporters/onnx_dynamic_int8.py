"""ONNX Runtime's dynamic quantisation, for comparison only: its forces are no gradient.

Each product rounds what flows through it to 8 bits, on a grid that depends on the structure. The
energy then jumps wherever a number crosses a step of the grid, and the forces, computed by products
that are rounded in the same way, are the derivative of nothing. MD with them heats or cools. The
quantised student (:mod:`mlff_md.student.quantized`) rounds the weights alone and has neither fault.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from mlff_md.engines.exported import metadata_of
from mlff_md.exporters import onnx as plain
from mlff_md.student import Student


def content(student: Student) -> bytes:
    """Return the content of the file."""
    import onnx
    from onnx import helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = _without_gemm(onnx.load_model_from_string(plain.content(student)))
    products = [node.name for node in model.graph.node if node.name]

    with tempfile.TemporaryDirectory(prefix="mlff-md-") as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        before.write_bytes(model.SerializeToString())
        silenced = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            quantize_dynamic(
                before,
                after,
                weight_type=QuantType.QInt8,
                per_channel=True,
                nodes_to_quantize=products,
            )
        finally:
            logging.disable(silenced)
        model = onnx.load_model_from_string(after.read_bytes())
    del model.metadata_props[:]
    helper.set_model_props(model, metadata_of(student, "onnx-dynamic-int8"))
    return model.SerializeToString()


def _without_gemm(model: Any) -> Any:
    """Return the model with x Wᵀ + c as a product and a sum, and a W of its own for each product.

    With a W that both passes share, ONNX Runtime would transpose in place what the reverse pass
    takes as it is. The products with weights get names, by which they are chosen; no other node
    has one.
    """
    from onnx import helper, numpy_helper

    arrays = {item.name: item for item in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1].endswith(".weight"):
            node.name = node.output[0]
        if node.op_type != "Gemm" or node.input[1] not in arrays:
            nodes.append(node)
            continue
        x, weight, *bias = node.input
        (result,) = node.output
        turned = numpy_helper.to_array(arrays[weight]).T.copy()
        model.graph.initializer.append(numpy_helper.from_array(turned, f"{result}_weight"))
        product = f"{result}_product" if bias else result
        nodes.append(helper.make_node("MatMul", [x, f"{result}_weight"], [product], product))
        if bias:
            nodes.append(helper.make_node("Add", [product, *bias], [result]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
