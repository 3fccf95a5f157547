"""The one place where edge gradients become forces, virial and stress. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_md.engines.evaluation import Evaluation
from mlff_md.graph import Graph

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True, eq=False)
class Properties:
    """What a structure's graph evaluates to.

    Attributes
    ----------
    energy
        Potential energy, eV, summed in float64.
    energies
        Energy of each atom, eV, float64 [N].
    forces
        eV/Å, float64 [N, 3].
    virial
        Derivative of the energy by a symmetric strain, eV, float64 [3, 3].
    stress
        virial / volume, eV/Å^3, Voigt order xx yy zz yz xz xy, positive under tension (ASE's
        sign); ``None`` unless the structure is periodic in all three directions.
    """

    energy: float
    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    virial: NDArray[np.float64]
    stress: NDArray[np.float64] | None


def forces(graph: Graph, gradients: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return -dE/dr of all atoms, eV/Å, float64 [N, 3], ghosts included.

    An edge vector is r_j - r_i, so a gradient pulls its center one way and its neighbor the
    other: the sum over a closed system is zero to the last digits of float64.
    """
    count = graph.n_atoms
    center, neighbor = graph.edges
    result = np.empty((count, 3))
    for axis in range(3):
        weights = gradients[:, axis]
        result[:, axis] = np.bincount(center, weights, count)
        result[:, axis] -= np.bincount(neighbor, weights, count)
    return result


def virials(graph: Graph, gradients: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return dE/dstrain of each structure, eV, symmetric, float64 [n_structures, 3, 3]."""
    gradients = np.asarray(gradients, dtype=np.float64)
    if graph.n_structures == 1:
        virial = (graph.vectors.T @ gradients)[None]
    else:
        owner = graph.structure[graph.edges[0]]
        outer = graph.vectors[:, :, None] * gradients[:, None, :]
        columns = [
            np.bincount(owner, column, graph.n_structures) for column in outer.reshape(-1, 9).T
        ]
        virial = np.stack(columns, axis=1).reshape(-1, 3, 3).astype(np.float64)
    symmetric: NDArray[np.float64] = 0.5 * (virial + virial.transpose(0, 2, 1))
    return symmetric


def stress_of(virial: NDArray[np.float64], volume_A3: float) -> NDArray[np.float64] | None:
    """Return virial / volume in Voigt order, eV/Å^3; ``None`` where the volume is nan."""
    if volume_A3 != volume_A3:
        return None
    stress: NDArray[np.float64] = np.array([virial[axes] for axes in _VOIGT]) / volume_A3
    return stress


def assemble(graph: Graph, evaluation: Evaluation) -> list[Properties]:
    """Return the properties of each structure of a batch, in its order."""
    all_forces = forces(graph, evaluation.gradients)
    all_virials = virials(graph, evaluation.gradients)
    first = np.searchsorted(graph.structure, np.arange(graph.n_structures + 1))
    result = []
    for k in range(graph.n_structures):
        atoms = slice(first[k], first[k + 1])
        virial = all_virials[k]
        stress = stress_of(virial, graph.volumes[k])
        energies = evaluation.energies[atoms]
        result.append(
            Properties(float(energies.sum()), energies, all_forces[atoms], virial, stress)
        )
    return result
