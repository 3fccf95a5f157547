"""The part of the ONNX graph that sees pairs: radial functions, directions, repulsion. No torch.

Value and slope by the distance come out of the same few nodes; the reverse pass takes the slopes.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from mlff_md.engines.onnx_builder import Builder, Value
from mlff_md.student.manifest import Manifest
from mlff_md.student.prior import (
    FLOOR_END,
    FLOOR_WIDTH,
    ZBL_COEFFICIENTS,
    ZBL_EXPONENTS,
    atomic_numbers,
    pair_tables,
    shortest_seen_A,
)
from mlff_md.student.radial import radial_splines


def prior_tables(
    b: Builder, manifest: Manifest, species: Value, center: Value, neighbor: Value
) -> tuple[Value, Value, Value]:
    """Return strength, inverse screening length and end of each pair's repulsion, each [E, 1]."""
    elements = manifest.architecture.elements
    tables = pair_tables(atomic_numbers(elements), manifest.prior_radii_A)
    of_center, of_neighbor = (
        b.node("Gather", species, rows, shape=("E",), axis=0) for rows in (center, neighbor)
    )
    count = b.constant(len(elements), np.int32)
    kind = b.node("Mul", of_center, count, shape=("E",))
    kind = b.node("Add", kind, of_neighbor, shape=("E",))
    rows = b.node("Gather", b.constant(tables.T), kind, shape=("E", 3), axis=0)
    strength, inverse_length, end = b.split(rows, (1, 1, 1), 1)
    return strength, inverse_length, end


def seen_distance(b: Builder, distance: Value, end: Value) -> Value:
    """Return the distance that the network is shown, see :mod:`mlff_md.student.prior`."""
    shape = distance.shape
    end = b.node("Mul", end, b.constant(FLOOR_END), shape=shape)
    width = b.node("Mul", end, b.constant(FLOOR_WIDTH / FLOOR_END), shape=shape)
    beyond = b.node("Sub", distance, end, shape=shape)
    t = b.node("Div", beyond, width, shape=shape)
    t = b.node("Add", t, b.constant(1.0), shape=shape)
    t = b.node("Clip", t, b.constant(0.0), b.constant(1.0), shape=shape)
    t2 = b.node("Mul", t, t, shape=shape)
    t4 = b.node("Mul", t2, t2, shape=shape)
    rise = b.node("Mul", t4, _polynomial(b, t, 2.5, -3.0, 1.0), shape=shape)
    rise = b.node("Sub", rise, b.constant(0.5), shape=shape)
    seen = b.node("Add", end, b.node("Mul", width, rise, shape=shape), shape=shape)
    seen = b.node("Add", seen, b.node("Relu", beyond, shape=shape), shape=shape)

    def slope() -> Value:
        t3 = b.node("Mul", t2, t, shape=shape)
        return b.node("Mul", t3, _polynomial(b, t, 10.0, -15.0, 6.0), shape=shape)

    return b.function(distance, seen, slope)


def radial_basis(b: Builder, manifest: Manifest, distance: Value) -> Value:
    """Return the radial functions [E, K + 1], times the norm of the messages."""
    shape = manifest.architecture
    start, intervals = shortest_seen_A(manifest.prior_radii_A), shape.num_knots - 1
    per_step, size = intervals / (shape.cutoff_A - start), shape.num_rbf + 1
    column = ("E", 1)
    place = b.node("Sub", distance, b.constant(start), shape=column)
    place = b.node("Mul", place, b.constant(per_step), shape=column)
    place = b.node("Min", place, b.constant(float(intervals)), shape=column)
    first, last = b.constant(0.0), b.constant(intervals - 1.0)
    interval = b.node("Clip", b.node("Floor", place, shape=column), first, last, shape=column)
    t = b.node("Sub", place, interval, shape=column)
    interval = b.node("Squeeze", interval, b.constant([1], np.int64), shape=("E",))
    interval = b.node("Cast", interval, shape=("E",), to=TensorProto.INT64)
    table = b.constant(radial_splines(shape, start) / np.sqrt(shape.neighbor_norm))
    splines = b.node("Gather", table, interval, shape=("E", 4, size), axis=0)

    one = b.node("Add", b.node("Sub", t, t, shape=column), b.constant(1.0), shape=column)
    t2 = b.node("Mul", t, t, shape=column)
    t3 = b.node("Mul", t2, t, shape=column)
    powers = b.node("Concat", one, t, t2, t3, shape=("E", 4), axis=1)
    matrix = np.zeros((4, 8))  # gives 1, t, t2, t3, and their derivatives by the distance
    matrix[range(4), range(4)] = 1.0
    matrix[range(3), range(5, 8)] = per_step * np.arange(1, 4)
    both = b.node("MatMul", powers, b.constant(matrix), shape=("E", 8))
    both = b.node("Reshape", both, b.constant([0, 2, 4], np.int64), shape=("E", 2, 4))
    both = b.node("MatMul", both, splines, shape=("E", 2, size))
    basis, slope = (b.reshape(part, ("E", size)) for part in b.split(both, (1, 1), 1))
    return b.function(distance, basis, lambda: slope)


def repulsion(
    b: Builder, distance: Value, strength: Value, inverse_length: Value, end: Value
) -> Value:
    """Return half of each pair's short-range repulsion [E, 1], eV."""
    shape = distance.shape

    def mul(x: Value, y: Value) -> Value:
        return b.node("Mul", x, y, shape=shape)

    x = b.node("Min", b.node("Div", distance, end, shape=shape), b.constant(1.0), shape=shape)
    x2 = mul(x, x)
    x5 = mul(mul(x2, x2), x)
    switch = mul(mul(x5, x), _polynomial(b, x, -28.0, 48.0, -21.0))
    switch = b.node("Add", switch, b.constant(1.0), shape=shape)
    reduced = mul(distance, inverse_length)
    exponents, coefficients = np.array(ZBL_EXPONENTS), np.array(ZBL_COEFFICIENTS)
    terms = b.node("Mul", reduced, b.constant(-exponents[None]), shape=("E", 4))
    terms = b.node("Exp", terms, shape=("E", 4))
    matrix = np.stack([coefficients, -coefficients * exponents], 1)
    both = b.node("MatMul", terms, b.constant(matrix), shape=("E", 2))
    screening, screening_slope = b.split(both, (1, 1), 1)
    coulomb = b.node("Div", mul(strength, b.constant(0.5)), distance, shape=shape)
    energy = mul(mul(coulomb, screening), switch)

    def slope() -> Value:
        gap = b.node("Sub", b.constant(1.0), x, shape=shape)
        switch_slope = b.node("Div", mul(mul(x5, gap), gap), end, shape=shape)
        switch_slope = mul(mul(switch_slope, b.constant(-168.0)), screening)
        of_screening = mul(mul(screening_slope, inverse_length), switch)
        total = b.node("Add", switch_slope, of_screening, shape=shape)
        return b.node(
            "Sub",
            mul(coulomb, total),
            b.node("Div", energy, distance, shape=shape),
            shape=shape,
        )

    return b.function(distance, energy, slope)


def harmonics(b: Builder, unit: Value) -> Value:
    """Return the harmonics [E, 5, 1] of a unit vector [E, 3, 1]."""
    outer = b.reshape(b.mul(unit, b.reshape(unit, ("E", 1, 3))), ("E", 9))
    return b.reshape(b.linear(outer, b.constant(HARMONICS)), ("E", 5, 1))


def _polynomial(b: Builder, x: Value, c0: float, c1: float, c2: float) -> Value:
    """Return c0 + c1 x + c2 x²."""
    inner = b.node("Mul", x, b.constant(c2), shape=x.shape)
    inner = b.node("Add", inner, b.constant(c1), shape=x.shape)
    inner = b.node("Mul", x, inner, shape=x.shape)
    return b.node("Add", inner, b.constant(c0), shape=x.shape)


def _tensor_matrix() -> np.ndarray:
    """Return the 3 x 3 matrices, row by row, that the five components stand for: [9, 5].

    In the order xy, yz, z2, xz, x2-y2.
    """
    matrix = np.zeros((3, 3, 5))
    for component, (i, j) in ((0, (0, 1)), (1, (1, 2)), (3, (0, 2))):
        matrix[i, j, component] = matrix[j, i, component] = 1.0
    matrix[:, :, 2] = np.diag([-1.0, -1.0, 2.0]) / np.sqrt(3.0)
    matrix[:, :, 4] = np.diag([1.0, -1.0, 0.0])
    return matrix.reshape(9, 5)


TENSOR = _tensor_matrix()

HARMONICS = 0.5 * np.sqrt(3.0) * TENSOR.T
"""Harmonics of degree 2 from the products of the unit vector's components."""
