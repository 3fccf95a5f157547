"""A student as an ONNX graph: the engine contract in standard operators. No torch.

Written node by node from the weights, which takes a fraction of a second and gives half as many
nodes as an exporter. What is linear in components (harmonics, tensor times vector) is a product
with a constant matrix. Energies leave the graph, and are summed, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, TensorProto, helper

from mlff_md._version import __version__
from mlff_md.engines.onnx_builder import Builder, Value
from mlff_md.engines.onnx_pairs import (
    TENSOR,
    harmonics,
    prior_tables,
    radial_basis,
    repulsion,
    seen_distance,
)
from mlff_md.student.architecture import NORM_EPSILON, Architecture
from mlff_md.student.manifest import Manifest
from mlff_md.student.quantized import SCALE

OPSET = 18
"""Of the standard domain: the first whose ScatterND and Split are those used here."""

IR_VERSION = 8

Weights = Callable[[Builder, str], Value]
"""Puts a weight into the graph under its name: as it is, or from what it was quantised to."""


class Pairs(NamedTuple):
    """What the layers see of the pairs [E]."""

    basis: Value  # [E, K + 1], times the norm of the messages
    unit: Value  # [E, 3, 1]
    quadrupole: Value  # [E, 5, 1]
    center: Value
    neighbor: Value


class Atoms(NamedTuple):
    """What the atoms carry."""

    scalars: Value  # [N, F]
    vectors: Value  # [N, 3, V]
    tensors: Value  # [N, 5, Q]


def onnx_model(
    manifest: Manifest,
    weights: Weights,
    metadata: Mapping[str, str],
    dtype: str = "float32",
) -> ModelProto:
    """Return the model.

    Inputs ``species`` int32 [N], ``edges`` int32 [2, E], ``vectors`` [E, 3], ``local`` bool [N];
    outputs ``energies`` float64 [N] and ``gradients`` [E, 3], as in the engine contract.

    Parameters
    ----------
    manifest
        The student's.
    weights
        What puts its weights into the graph.
    metadata
        Stored in the model.
    dtype
        ``float32``, or ``float64`` for checks.
    """
    network = _Network(Builder(dtype), manifest, weights)
    energies, gradients = network.build()
    b = network.b
    b.rename({energies: "energies", gradients: "gradients"})
    graph = b.graph(
        manifest.name,
        [
            helper.make_tensor_value_info("species", TensorProto.INT32, ["N"]),
            helper.make_tensor_value_info("edges", TensorProto.INT32, [2, "E"]),
            helper.make_tensor_value_info("vectors", b.float_type, ["E", 3]),
            helper.make_tensor_value_info("local", TensorProto.BOOL, ["N"]),
        ],
        [
            helper.make_tensor_value_info("energies", TensorProto.DOUBLE, ["N"]),
            helper.make_tensor_value_info("gradients", b.float_type, ["E", 3]),
        ],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mlff-md",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(metadata))
    return model


def plain_weights(weights: Mapping[str, np.ndarray]) -> Weights:
    """Return what puts weights into a graph as they are."""
    return lambda b, name: b.initializer(name, weights[name].astype(b.dtype))


def packed_weights(packed: Mapping[str, np.ndarray]) -> Weights:
    """Return what puts quantised weights into a graph: as stored, and the way to float32.

    A session follows it once, when it loads the graph: the numbers are those of every other engine.
    """

    def put(b: Builder, name: str) -> Value:
        def as_float(stored: str) -> Value:
            array = packed[stored]
            stored_value = b.initializer(stored, array)
            return b.node("Cast", stored_value, shape=array.shape, to=b.float_type)

        weight = as_float(name)
        if packed[name].dtype != np.int8:
            return weight
        axis = b.constant([1], np.int64)
        scale = b.node("Unsqueeze", as_float(name + SCALE), axis, shape=(weight.shape[0], 1))
        return b.node("Mul", weight, scale, shape=weight.shape)

    return put


class _Network:
    def __init__(self, builder: Builder, manifest: Manifest, weights: Weights) -> None:
        self.b, self.manifest, self._weights = builder, manifest, weights
        self.shape: Architecture = manifest.architecture
        self._known: dict[str, Value] = {}

    def weight(self, name: str) -> Value:
        if name not in self._known:
            self._known[name] = self._weights(self.b, name)
        return self._known[name]

    def linear(self, x: Value, name: str, bias: bool = True) -> Value:
        return self.b.linear(
            x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias") if bias else None
        )

    def build(self) -> tuple[Value, Value]:
        """Return energies and gradients."""
        b, shape = self.b, self.shape
        species, vectors, local = (
            Value("species", ("N",)),
            Value("vectors", ("E", 3)),
            Value("local", ("N",)),
        )
        edges = Value("edges", (2, "E"))
        edges = b.node("Cast", edges, shape=edges.shape, to=TensorProto.INT64)
        center, neighbor = (
            b.node("Gather", edges, b.constant(row, np.int64), shape=("E",), axis=0)
            for row in (0, 1)
        )
        distance = b.node("ReduceL2", vectors, b.constant([1], np.int64), shape=("E", 1))
        unit = b.node("Div", vectors, distance, shape=("E", 3))
        strength, inverse_length, end = prior_tables(b, self.manifest, species, center, neighbor)
        # From here on derivatives are followed: by distance and direction.
        distance = Value(distance.name, distance.shape, tracked=True)
        direction = b.node("Unsqueeze", unit, b.constant([2], np.int64), shape=("E", 3, 1))
        direction = Value(direction.name, direction.shape, tracked=True)
        basis = radial_basis(b, self.manifest, seen_distance(b, distance, end))
        pairs = Pairs(basis, direction, harmonics(b, direction), center, neighbor)

        count = b.node("Shape", species, shape=(1,))
        atoms = Atoms(
            b.node(
                "Gather", self.weight("embedding.weight"), species, shape=("N", shape.hidden_dim)
            ),
            self._zeros(count, 3, shape.vector_dim),
            self._zeros(count, 5, shape.quadrupole_dim),
        )
        for layer in range(shape.num_interactions):
            atoms = self._update(layer, self._messages(layer, atoms, pairs))
        output = self.linear(self._silu(self.linear(atoms.scalars, "readout_in")), "readout_out")
        prior = repulsion(b, distance, strength, inverse_length, end)

        counts = b.node("Cast", local, shape=("N",), to=b.float_type)
        column = b.node("Unsqueeze", counts, b.constant([1], np.int64), shape=("N", 1))
        seeds = {
            output: b.node(
                "Mul", column, b.constant(self.manifest.energy_scale_eV), shape=("N", 1)
            ),
            prior: b.node("Gather", column, center, shape=("E", 1), axis=0),
        }
        by_distance, by_direction = b.gradients(seeds, [distance, direction])
        energies = self._energies(species, center, local, output, prior)
        return energies, self._by_vectors(by_distance, by_direction, distance, unit)

    def _energies(
        self, species: Value, center: Value, local: Value, output: Value, prior: Value
    ) -> Value:
        b = self.b

        def double(x: Value) -> Value:
            flat = b.node("Squeeze", x, b.constant([1], np.int64), shape=x.shape[:1])
            return b.node("Cast", flat, shape=flat.shape, to=TensorProto.DOUBLE)

        shape = ("N",)
        scale = b.constant(self.manifest.energy_scale_eV, np.float64)
        shifts = b.constant(self.manifest.atomic_energies_eV, np.float64)
        energies = b.node("Mul", double(output), scale, shape=shape)
        energies = b.node(
            "Add", energies, b.node("Gather", shifts, species, shape=shape), shape=shape
        )
        energies = b.add_rows(energies, center, double(prior))
        mask = b.node("Cast", local, shape=shape, to=TensorProto.DOUBLE)
        return b.node("Mul", energies, mask, shape=shape)

    def _by_vectors(
        self, by_distance: Value, by_direction: Value, distance: Value, unit: Value
    ) -> Value:
        """Return the derivative by r u, given those by r and u."""
        b, pair, column = self.b, ("E", 3), ("E", 1)
        by_unit = b.node("Squeeze", by_direction, b.constant([2], np.int64), shape=pair)
        by_unit = b.node("Div", by_unit, distance, shape=pair)
        along = b.dot(by_unit, unit, column)
        radial = b.node("Sub", by_distance, along, shape=column)
        return b.node("Add", b.mul(unit, radial), by_unit, shape=pair)

    def _messages(self, layer: int, atoms: Atoms, pairs: Pairs) -> Atoms:
        b, name = self.b, f"layers.{layer}"
        dims = self.shape.message_dims(layer)
        sent = self.linear(
            self._silu(self.linear(atoms.scalars, f"{name}.message_in")), f"{name}.message_out"
        )
        bias = self.weight(f"{name}.filter.bias")
        column = b.node("Unsqueeze", bias, b.constant([1], np.int64), shape=(sum(dims), 1))
        weight = b.concat([self.weight(f"{name}.filter.weight"), column], 1)
        product = b.mul(b.gather(sent, pairs.neighbor), b.linear(pairs.basis, weight))
        to_scalars, *rest = b.split(product, dims, 1)
        rest = [b.reshape(part, ("E", 1, int(part.shape[1]))) for part in rest]
        to_vectors = b.mul(pairs.unit, rest[0])
        to_tensors = b.mul(pairs.quadrupole, rest[1])
        if layer:
            neighbors = b.gather(atoms.vectors, pairs.neighbor)
            to_vectors = b.add(to_vectors, b.mul(neighbors, rest[2]))
            neighbors = b.gather(atoms.tensors, pairs.neighbor)
            to_tensors = b.add(to_tensors, b.mul(neighbors, rest[3]))
        return Atoms(
            b.add_rows(atoms.scalars, pairs.center, to_scalars),
            b.add_rows(atoms.vectors, pairs.center, to_vectors),
            b.add_rows(atoms.tensors, pairs.center, to_tensors),
        )

    def _update(self, layer: int, atoms: Atoms) -> Atoms:
        b, shape, name = self.b, self.shape, f"layers.{layer}"
        v, q = shape.vector_dim, shape.quadrupole_dim
        left, right = b.split(self.linear(atoms.vectors, f"{name}.mixing", bias=False), (v, v), 2)
        turning = self.linear(atoms.tensors, f"{name}.turning", bias=False)
        matrix = b.reshape(b.from_left(b.constant(TENSOR), turning), ("N", 3, 3, q))
        turned = b.dot(matrix, b.reshape(b.resized(left, q), ("N", 1, 3, q)), ("N", 3, 1, q))
        turned = b.reshape(turned, ("N", 3, q))
        invariants = [
            b.norm(right, NORM_EPSILON),
            b.dot(left, right, ("N", 1, v)),
            b.norm(turning, NORM_EPSILON),
            b.dot(turned, b.resized(right, q), ("N", 1, q)),
        ]
        flat = [b.reshape(x, ("N", int(x.shape[2]))) for x in invariants]
        hidden = self.linear(b.concat([atoms.scalars, *flat], 1), f"{name}.update_in")
        gates = self.linear(self._silu(hidden), f"{name}.update_out")
        dims = shape.gate_dims(layer)
        if len(dims) == 1:
            return Atoms(b.add(atoms.scalars, gates), atoms.vectors, atoms.tensors)
        gate, for_left, for_turned = b.split(gates, dims, 1)
        vectors = b.add(atoms.vectors, b.mul(left, b.reshape(for_left, ("N", 1, v))))
        turned = b.resized(b.mul(turned, b.reshape(for_turned, ("N", 1, q))), v)
        return Atoms(b.add(atoms.scalars, gate), b.add(vectors, turned), atoms.tensors)

    def _silu(self, x: Value) -> Value:
        b = self.b
        # ONNX Runtime's Sigmoid is a rational function that is off by several last digits: with it,
        # the errors of tiny's energies are three times as large.
        decay = b.node("Exp", b.node("Neg", x, shape=x.shape), shape=x.shape)
        rise = b.node("Add", decay, b.constant(1.0), shape=x.shape)
        sigmoid = b.node("Reciprocal", rise, shape=x.shape)
        y = b.node("Mul", x, sigmoid, shape=x.shape)

        def slope() -> Value:
            rest = b.node("Sub", b.constant(1.0), sigmoid, shape=x.shape)
            rest = b.node("Mul", y, rest, shape=x.shape)
            return b.node("Add", rest, sigmoid, shape=x.shape)

        return b.function(x, y, slope)

    def _zeros(self, count: Value, components: int, features: int) -> Value:
        b = self.b
        sizes = b.node(
            "Concat", count, b.constant([components, features], np.int64), shape=(3,), axis=0
        )
        return b.zeros(sizes, ("N", components, features))
