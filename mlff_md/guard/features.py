"""The features of atoms that :class:`mlff_md.student.environments.Environments` judges.

The native engine has them at hand after an evaluation: they are what its domains exchange before
the last layer. For every other engine they are computed anew, in a kernel of the guard's own or,
without the native library, by the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md import native
from mlff_md.graph import build_graph
from mlff_md.native import NativeKernel

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_md.graph import Graph
    from mlff_md.student import Student

SORTED_FROM_ATOMS = 2048
"""Of so many the native engine sorts them in space, and its features are in an order of its own."""

Features = Callable[["Atoms"], NDArray[np.floating]]


def kernel_features(kernel: NativeKernel, student: Student) -> NDArray[np.floating]:
    """Return the features (N, F) of the structure that this student's kernel evaluated last."""
    return kernel.scalars_sent(student.manifest.architecture.num_interactions - 1)


def make_features(student: Student) -> Features:
    """Return a function that evaluates a structure and returns its features (N, F)."""
    if native.available():
        kernel = NativeKernel(student)

        def evaluate(atoms: Atoms) -> NDArray[np.floating]:
            graph = build_graph(atoms, student.elements, student.cutoff_A)
            kernel.evaluate(graph.species, graph.edges, graph.vectors, graph.local)
            return kernel_features(kernel, student)

        return evaluate
    return _network_features(student)


def _network_features(student: Student) -> Features:
    import torch

    network = student.network()
    heard: list[Any] = []
    last: Any = network.layers[-1]
    last.message_out.register_forward_hook(lambda _, __, output: heard.append(output))

    def run(graph: Graph) -> None:
        with torch.no_grad():
            network(
                torch.from_numpy(graph.species),
                torch.from_numpy(graph.edges),
                torch.from_numpy(graph.vectors.astype(np.float32)),
            )

    def evaluate(atoms: Atoms) -> NDArray[np.floating]:
        run(build_graph(atoms, student.elements, student.cutoff_A))
        found: NDArray[np.floating] = heard.pop().numpy()
        return found[:, : student.manifest.architecture.hidden_dim]

    return evaluate
