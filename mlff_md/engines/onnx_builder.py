"""Writing ONNX graphs, with their reverse pass by the chain rule. No torch.

A :class:`Builder` appends nodes as its methods are called. For those that depend on what is
differentiated by, it remembers how an adjoint goes back, and :meth:`Builder.gradients` appends the
reverse pass. What does not depend on it gets none: the graph is no larger than one that is
differentiated by hand.

Shapes are tuples of numbers and of names of dynamic sizes: ``"N"`` atoms, ``"E"`` pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Shape = tuple[int | str, ...]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph; ``tracked`` if it depends on what is differentiated by."""

    name: str
    shape: Shape
    tracked: bool = False


Accumulate = Callable[[Value | None], Value]
"""Takes the adjoint that a value has so far, if any, and returns the one after a contribution."""

Reverse = Callable[[Sequence[Value]], Sequence[Accumulate]]
"""Takes the adjoints of a node's outputs and returns what happens to those of its inputs."""


class Builder:
    """An ONNX graph in the making.

    Parameters
    ----------
    dtype
        ``float32`` or ``float64``: what constants are stored in unless they say otherwise.
    """

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = np.dtype(dtype)
        self.float_type = int(helper.np_dtype_to_tensor_dtype(self.dtype))
        self._nodes: list[NodeProto] = []
        self._initializers: list[TensorProto] = []
        self._constants: dict[tuple[str, Shape, bytes], Value] = {}
        self._transposes: dict[str, Value] = {}
        self._columns: dict[str, Value] = {}
        self._tape: list[tuple[list[Value], Sequence[Value], Reverse]] = []
        self._recording = True

    def graph(
        self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
    ) -> GraphProto:
        """Return the graph with these inputs and outputs."""
        return helper.make_graph(self._nodes, name, inputs, outputs, self._initializers)

    def rename(self, names: Mapping[Value, str]) -> None:
        """Give tensors that only one node makes and none takes the names of outputs."""
        new = {value.name: name for value, name in names.items()}
        for node in self._nodes:
            for k, name in enumerate(node.output):
                node.output[k] = new.get(name, name)

    def initializer(self, name: str, array: np.ndarray) -> Value:
        """Store an array under its own name and in its own type."""
        self._initializers.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return Value(name, array.shape)

    def constant(self, array: Any, dtype: Any = None) -> Value:
        """Return an array, stored once however often it is asked for."""
        array = np.asarray(array, dtype=dtype or self.dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.initializer(f"c{len(self._constants)}", array)
        return self._constants[key]

    def node(self, kind: str, *inputs: Value, shape: Shape, **attributes: Any) -> Value:
        """Append a node with one output, without a reverse pass."""
        return self._nodes_of(kind, inputs, [shape], attributes)[0]

    # Operations with a reverse pass.

    def add(self, a: Value, b: Value) -> Value:
        """Return a + b, of the same shape."""
        total = self.node("Add", a, b, shape=a.shape)
        return self._record([total], (a, b), lambda g: (self._plus(g[0]), self._plus(g[0])))[0]

    def mul(self, a: Value, b: Value) -> Value:
        """Return a b; where one has the size 1, it is repeated."""
        shape = tuple(y if x == 1 else x for x, y in zip(a.shape, b.shape, strict=True))
        product = self.node("Mul", a, b, shape=shape)
        return self._record([product], (a, b), self._product_reverse(a, b))[0]

    def dot(self, a: Value, b: Value, shape: Shape) -> Value:
        """Return a b, summed over the axes that have the size 1 in ``shape``."""
        full = tuple(y if x == 1 else x for x, y in zip(a.shape, b.shape, strict=True))
        axes = [k for k, (x, y) in enumerate(zip(shape, full, strict=True)) if x != y]
        if not axes:
            return self.mul(a, b)
        product = self.node("Mul", a, b, shape=full)
        total = self.node(
            "ReduceSum", product, self.constant(axes, np.int64), shape=shape, keepdims=1
        )
        return self._record([total], (a, b), self._product_reverse(a, b))[0]

    def norm(self, x: Value, epsilon: float) -> Value:
        """Return sqrt(sum x² + ε) over the components, [N, C, K] -> [N, 1, K]."""
        shape = (x.shape[0], 1, *x.shape[2:])
        axes = self.constant([1], np.int64)
        square = self.node("ReduceSumSquare", x, axes, shape=shape, keepdims=1)
        length = self.node("Add", square, self.constant(epsilon), shape=shape)
        length = self.node("Sqrt", length, shape=shape)

        def reverse(adjoints: Sequence[Value]) -> Sequence[Accumulate]:
            part = self.node("Div", adjoints[0], length, shape=shape)
            return (self._plus(self.mul(x, part)),)

        return self._record([length], (x,), reverse)[0]

    def function(self, x: Value, value: Value, slope: Callable[[], Value]) -> Value:
        """Return a function of x whose value and slope are known.

        Either of each element of x, or of an x [E, 1] with several values [E, K].
        """

        def reverse(adjoints: Sequence[Value]) -> Sequence[Accumulate]:
            return (self._plus(self.dot(adjoints[0], slope(), x.shape)),)

        return self._record([value], (x,), reverse)[0]

    def linear(self, x: Value, weight: Value, bias: Value | None = None) -> Value:
        """Return x Wᵀ + c, for x [..., K], weight [M, K] and bias [M]."""
        shape = (*x.shape[:-1], weight.shape[0])
        if len(x.shape) == 2:
            inputs = (x, weight) if bias is None else (x, weight, bias)
            result = self.node("Gemm", *inputs, shape=shape, transB=1)
        else:
            result = self.node("MatMul", x, self._transposed(weight), shape=shape)

        def reverse(adjoints: Sequence[Value]) -> Sequence[Accumulate]:
            return (self._plus(self.node("MatMul", adjoints[0], weight, shape=x.shape)),)

        return self._record([result], (x,), reverse)[0]

    def from_left(self, matrix: Value, x: Value) -> Value:
        """Return a matrix [M, K] times x [..., K, C]."""
        shape = (*x.shape[:-2], matrix.shape[0], x.shape[-1])

        def reverse(adjoints: Sequence[Value]) -> Sequence[Accumulate]:
            back = self.node("MatMul", self._transposed(matrix), adjoints[0], shape=x.shape)
            return (self._plus(back),)

        return self._record([self.node("MatMul", matrix, x, shape=shape)], (x,), reverse)[0]

    def gather(self, x: Value, rows: Value) -> Value:
        """Return rows [E] of x."""
        shape = (rows.shape[0], *x.shape[1:])

        def reverse(adjoints: Sequence[Value]) -> Sequence[Accumulate]:
            def scatter(before: Value | None) -> Value:
                return self._scatter(before or self.zeros_like(x), rows, adjoints[0])

            return (scatter,)

        return self._record([self.node("Gather", x, rows, shape=shape, axis=0)], (x,), reverse)[0]

    def add_rows(self, x: Value, rows: Value, updates: Value) -> Value:
        """Return x with updates [E, ...] added to its rows [E]."""

        def reverse(adjoints: Sequence[Value]) -> Sequence[Accumulate]:
            back = self.node("Gather", adjoints[0], rows, shape=updates.shape, axis=0)
            return self._plus(adjoints[0]), self._plus(back)

        return self._record([self._scatter(x, rows, updates)], (x, updates), reverse)[0]

    def concat(self, parts: Sequence[Value], axis: int) -> Value:
        """Join along an axis."""
        sizes = [int(part.shape[axis]) for part in parts]
        shape = _replaced(parts[0].shape, axis, sum(sizes))

        def reverse(adjoints: Sequence[Value]) -> Sequence[Accumulate]:
            return [self._plus(piece) for piece in self._split(adjoints[0], sizes, axis)]

        return self._record([self.node("Concat", *parts, shape=shape, axis=axis)], parts, reverse)[
            0
        ]

    def split(self, x: Value, sizes: Sequence[int], axis: int) -> list[Value]:
        """Divide along an axis; every piece must be used."""

        def reverse(adjoints: Sequence[Value]) -> Sequence[Accumulate]:
            return (self._plus(self.node("Concat", *adjoints, shape=x.shape, axis=axis)),)

        return self._record(self._split(x, sizes, axis), (x,), reverse)

    def resized(self, x: Value, size: int) -> Value:
        """Return x with its last axis cut, or extended by zeros."""
        old, shape = int(x.shape[-1]), (*x.shape[:-1], size)
        if old == size:
            return x
        if size < old:
            bounds = [self.constant(n, np.int64) for n in ([0], [size], [len(shape) - 1])]
            result = self.node("Slice", x, *bounds, shape=shape)
        else:
            ends = [0] * (2 * len(shape) - 1) + [size - old]
            result = self.node("Pad", x, self.constant(ends, np.int64), shape=shape)

        def reverse(adjoints: Sequence[Value]) -> Sequence[Accumulate]:
            return (self._plus(self.resized(adjoints[0], old)),)

        return self._record([result], (x,), reverse)[0]

    def reshape(self, x: Value, shape: Shape) -> Value:
        """Return x in another shape; the first size stays."""
        sizes = self.constant([0, *shape[1:]], np.int64)

        def reverse(adjoints: Sequence[Value]) -> Sequence[Accumulate]:
            return (self._plus(self.reshape(adjoints[0], x.shape)),)

        return self._record([self.node("Reshape", x, sizes, shape=shape)], (x,), reverse)[0]

    def zeros_like(self, x: Value) -> Value:
        """Return zeros in the shape of x."""
        return self.zeros(self.node("Shape", x, shape=(len(x.shape),)), x.shape)

    def zeros(self, sizes: Value, shape: Shape) -> Value:
        """Return zeros of these sizes (an int64 tensor of the graph)."""
        zero = numpy_helper.from_array(np.zeros(1, self.dtype))
        return self.node("ConstantOfShape", sizes, shape=shape, value=zero)

    def gradients(self, seeds: Mapping[Value, Value], by: Sequence[Value]) -> list[Value]:
        """Append the reverse pass and return the derivatives by the leaves ``by``.

        ``seeds`` holds the derivatives of the result by what it was made from.
        """
        adjoints = {value.name: seed for value, seed in seeds.items()}
        self._recording = False
        for outputs, inputs, reverse in reversed(self._tape):
            if not any(value.name in adjoints for value in outputs):
                continue
            steps = reverse([adjoints.pop(value.name) for value in outputs])
            for value, accumulate in zip(inputs, steps, strict=False):
                if value.tracked:
                    adjoints[value.name] = accumulate(adjoints.get(value.name))
        return [adjoints[value.name] for value in by]

    def _record(
        self, outputs: list[Value], inputs: Sequence[Value], reverse: Reverse
    ) -> list[Value]:
        if not self._recording or not any(value.tracked for value in inputs):
            return outputs
        outputs = [Value(value.name, value.shape, tracked=True) for value in outputs]
        self._tape.append((outputs, inputs, reverse))
        return outputs

    def _nodes_of(
        self, kind: str, inputs: Sequence[Value], shapes: Sequence[Shape], attributes: Any
    ) -> list[Value]:
        first = len(self._nodes)
        outputs = [Value(f"v{first}_{k}", shape) for k, shape in enumerate(shapes)]
        names = [value.name for value in inputs], [value.name for value in outputs]
        self._nodes.append(helper.make_node(kind, *names, **attributes))
        return outputs

    def _product_reverse(self, a: Value, b: Value) -> Reverse:
        """Return the reverse pass of a product, whether or not axes of it were summed."""

        def reverse(adjoints: Sequence[Value]) -> Sequence[Accumulate]:
            (g,) = adjoints
            return (
                lambda before: self._sum(before, self.dot(g, b, a.shape)),
                lambda before: self._sum(before, self.dot(g, a, b.shape)),
            )

        return reverse

    def _plus(self, part: Value) -> Accumulate:
        return lambda before: self._sum(before, part)

    def _sum(self, before: Value | None, part: Value) -> Value:
        return part if before is None else self.node("Add", before, part, shape=part.shape)

    def _split(self, x: Value, sizes: Sequence[int], axis: int) -> list[Value]:
        shapes = [_replaced(x.shape, axis, size) for size in sizes]
        inputs = (x, self.constant(list(sizes), np.int64))
        return self._nodes_of("Split", inputs, shapes, {"axis": axis})

    def _scatter(self, x: Value, rows: Value, updates: Value) -> Value:
        if rows.name not in self._columns:
            shape, axes = (rows.shape[0], 1), self.constant([1], np.int64)
            self._columns[rows.name] = self.node("Unsqueeze", rows, axes, shape=shape)
        index = self._columns[rows.name]
        return self.node("ScatterND", x, index, updates, shape=x.shape, reduction="add")

    def _transposed(self, matrix: Value) -> Value:
        # Of constants only: a session does it once, when it loads the graph.
        if matrix.name not in self._transposes:
            shape = matrix.shape[::-1]
            self._transposes[matrix.name] = self.node("Transpose", matrix, shape=shape, perm=[1, 0])
        return self._transposes[matrix.name]


def _replaced(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])
