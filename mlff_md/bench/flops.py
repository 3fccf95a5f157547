"""Floating-point operations of the native kernel, and what a core can do at most."""

from __future__ import annotations

import time

from mlff_md.native import NativeKernel
from mlff_md.native.library import load
from mlff_md.student.architecture import Architecture

_PAD = 16


def native_flops(shape: Architecture, num_atoms: int, num_pairs: int) -> float:
    """Return the operations of an evaluation: dense layers and pair loops, forward and reverse.

    Counted as the kernel does them, on padded features; a multiply-add is two. Activations, norms
    and the geometry of the pairs are not counted.

    Parameters
    ----------
    shape
        Sizes of the student.
    num_atoms, num_pairs
        Of the structure; pairs inside the cutoff, each once.
    """
    f, v, q, h, d = (
        -(-size // _PAD) * _PAD
        for size in (
            *(shape.hidden_dim, shape.vector_dim, shape.quadrupole_dim),
            *(shape.mlp_dim, shape.readout_dim),
        )
    )
    value, both = 6, 11  # of a filter, and with its slope; see native/src/pairs.h
    dense, pairs = 2 * f * d, 0
    for layer in range(shape.num_interactions):
        first, last = layer == 0, layer == shape.num_interactions - 1
        messages = f + (1 if first else 2) * (v + q)
        dense += 2 * (3 * v * 2 * v + 5 * q * q + (f + 2 * v + 2 * q) * h)
        dense += 2 * h * (f if last else f + v + q)
        dense += 0 if first else 2 * (f * h + h * messages)
        forward = f * (value + 4) + v * (value + 2 + 3 * 4) + q * (value + 2 + 5 * 4)
        if first:
            reverse = f * 10 + v * (both + 3 * 7 + 2) + q * (both + 5 * 7 + 2)
        else:
            forward += v * (value + 3 * 4) + q * (value + 5 * 4)
            reverse = f * (both + 9) + (v + q) * (2 * both + 13) + (3 * v + 5 * q) * 16
        pairs += forward + reverse
    return float(2 * dense * num_atoms + pairs * num_pairs)


def peak_gflops(kernel: NativeKernel, seconds: float = 0.05) -> float:
    """Return what one core reaches on multiply-adds in registers, GFLOP/s, best of a few runs."""
    spin = load().mlff_spin
    name = kernel.instruction_set.encode()
    rounds, best, end = 200_000, 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        operations = spin(name, 1, rounds)
        best = max(best, operations / (time.perf_counter() - start))
    return best / 1e9
