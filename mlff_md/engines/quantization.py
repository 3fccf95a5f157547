"""Quantising a student: int8 rows, rounded so that errors cancel on real activations.

Rounding each weight to the nearest step changes the forces of ``tiny`` by 1.5 %. Here the columns
of a matrix are rounded one after the other, and the error of each is made good by the columns that
are still to come, as far as the inputs that the layer really sees are correlated (Frantar et al.,
GPTQ, ICLR 2023, arXiv:2210.17323): 0.6 %, without training. Weights alone are quantised, not what
the network computes with them: a quantised student is as smooth as any, and conserves energy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlff_md._version import __version__
from mlff_md.engines.cache import cached
from mlff_md.errors import ConfigError, StructureError
from mlff_md.graph import Graph, build_graph, in_batches
from mlff_md.student import Student
from mlff_md.student.file import MANIFEST_KEY, parse_student
from mlff_md.student.quantized import (
    LARGEST,
    SCALE,
    kept_in_float16,
    packed_file,
    row_scales,
)

if TYPE_CHECKING:
    from ase import Atoms

Array = npt.NDArray[np.float64]

RATTLE_A = 0.06
"""Displacements of the default calibration structures: those of a molecule at room temperature."""

DAMPING = 1e-2
"""Of the second moments of a layer's inputs, as a part of their mean."""

_MAX_EDGES = 20_000


def quantized_file(student: Student, structures: Sequence[Atoms] | None = None) -> bytes:
    """Return the content of the quantised file of a student.

    Parameters
    ----------
    student
        In float32.
    structures
        What it will be used on: errors are made to cancel there. Rattled molecules of its
        elements by default.

    Raises
    ------
    ConfigError
        If it is quantised already, or there are no structures of its elements.
    """
    if student.packed is not None:
        raise ConfigError(f"{student.name} is quantised already")
    structures = default_structures(student.elements) if structures is None else structures
    moments = second_moments(student, structures)
    packed: dict[str, np.ndarray] = {}
    for name, weight in student.weights.items():
        if kept_in_float16(name, weight.shape):
            packed[name] = weight.astype(np.float16)
        else:
            scale = row_scales(weight)
            packed[name] = rounded(weight, scale, moments[name.removesuffix(".weight")])
            packed[name + SCALE] = scale
    manifest = dataclasses.replace(
        student.manifest,
        name=f"{student.name}-int8",
        # What was measured, was measured on the float32 student.
        accuracy={},
        nve={},
        robustness={},
        speed={},
        training={
            **student.manifest.training,
            "quantized_from": {"name": student.name, "sha256": student.sha256},
        },
    )
    return packed_file(manifest, packed, MANIFEST_KEY)


def quantized(student: Student, structures: Sequence[Atoms] | None = None) -> Student:
    """Return the quantised student; parameters and errors as in :func:`quantized_file`."""
    return parse_student(quantized_file(student, structures), f"{student.name}-int8")


def cached_quantized(student: Student) -> Student:
    """Return the quantised student, from the cache if it is there; itself if it is quantised."""
    if student.packed is not None:
        return student
    name = f"{student.name}.int8.safetensors"
    content = cached(name, ("int8", student.sha256, __version__), lambda: quantized_file(student))
    return parse_student(content, name)


def rounded(
    weight: npt.NDArray[np.floating], scale: npt.NDArray[np.float16], moments: Array
) -> npt.NDArray[np.int8]:
    """Return int8 [M, K] so that ``scale * int8`` acts like the weight on a layer's inputs.

    Parameters
    ----------
    weight
        [M, K].
    scale
        Of the rows [M].
    moments
        Second moments of the inputs, [K, K].
    """
    moments = moments.copy()
    moments[np.diag_indices_from(moments)] += DAMPING * max(np.trace(moments), 1e-12) / len(moments)
    # What matters most is rounded first, while there are others to make up for it.
    order = np.argsort(-np.diag(moments), kind="stable")
    moments = moments[np.ix_(order, order)]
    rest = weight.astype(np.float64)[:, order]
    step = scale.astype(np.float64)[:, None]
    factor = np.linalg.cholesky(np.linalg.inv(moments)).T
    result = np.empty(weight.shape, dtype=np.int8)
    for column in range(weight.shape[1]):
        whole = np.clip(np.round(rest[:, [column]] / step), -LARGEST, LARGEST)
        result[:, order[column]] = whole[:, 0]
        error = (rest[:, [column]] - whole * step) / factor[column, column]
        rest[:, column:] -= error * factor[None, column, column:]
    return result


def second_moments(student: Student, structures: Sequence[Atoms]) -> dict[str, Array]:
    """Return for each linear layer the second moments [K, K] of its inputs."""
    import torch
    from torch import Tensor, nn

    from mlff_md.student.network import Interaction

    network = student.network(torch.float64)
    moments: dict[str, Any] = {}

    def add(name: str, inputs: Tensor) -> None:
        rows = inputs.reshape(-1, inputs.shape[-1])
        moments[name] = moments.get(name, 0.0) + rows.T @ rows

    for name, module in network.named_modules():
        # The filter's inputs reach it past its own forward.
        if isinstance(module, nn.Linear) and not name.endswith("filter"):
            module.register_forward_pre_hook(lambda _, given, name=name: add(name, given[0]))
        if isinstance(module, Interaction):
            module.register_forward_pre_hook(
                lambda _, given, name=name: add(f"{name}.filter", given[1].basis[:, :-1])
            )
    with torch.no_grad():
        for graph in in_batches(_graphs(student, structures), _MAX_EDGES):
            edges = torch.from_numpy(np.ascontiguousarray(graph.edges)).long()
            network(torch.from_numpy(graph.species).long(), edges, torch.from_numpy(graph.vectors))
    return {name: moment.numpy() for name, moment in moments.items()}


def default_structures(elements: Sequence[str], seed: int = 0) -> list[Atoms]:
    """Return molecules of these elements, and crystals of those that no molecule has, rattled.

    Raises
    ------
    ConfigError
        If there is none.
    """
    from ase.build import bulk
    from ase.collections import g2

    rng = np.random.default_rng(seed)
    found = [g2[name] for name in g2.names]
    found = [atoms for atoms in found if len(atoms) > 3 and set(atoms.symbols) <= set(elements)]
    for symbol in sorted(set(elements) - {symbol for atoms in found for symbol in atoms.symbols}):
        try:
            found.append(bulk(symbol).repeat(2))
        except (ValueError, RuntimeError):  # no crystal that ASE could build
            continue
    if not found:
        raise ConfigError(
            f"give structures of {' '.join(elements)} to calibrate on (--calibration)"
        )
    structures = [atoms.copy() for atoms in found for _ in range(2)]
    for atoms in structures:
        atoms.rattle(RATTLE_A, rng=rng)
    return structures


def _graphs(student: Student, structures: Sequence[Atoms]) -> Iterator[Graph]:
    for index, atoms in enumerate(structures):
        try:
            yield build_graph(atoms, student.elements, student.cutoff_A)
        except StructureError as error:
            raise StructureError(f"calibration structure {index}: {error}") from error
