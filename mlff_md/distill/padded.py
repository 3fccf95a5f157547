"""Padded frames through the student network: what training differentiates and compiles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mlff_md.student.network import Pairs, StudentForceField

if TYPE_CHECKING:
    from mlff_md.distill.dataset import Dataset


class Arrangement(NamedTuple):
    """A padded batch as the network wants it."""

    species: Tensor  # [...nodes]
    vectors: Tensor  # [...pairs, 3], neighbor minus center, Å
    pairs: Pairs


class PriorPart(NamedTuple):
    """What the short-range prior does to padded frames: the network need not learn it."""

    energies: NDArray[np.float64]  # [M], eV
    forces: NDArray[np.float64]  # [M, n, 3], eV/Å
    virials: NDArray[np.float64] | None  # [M, 3, 3], eV, derivative by the strain


class PaddedFrames(nn.Module, ABC):
    """Energies of frames that are padded to the same number of atoms n.

    Subclasses say how the pairs of a batch are stored and found.

    Parameters
    ----------
    network
        The student that is trained.
    """

    strained = False
    """Whether frames have cells, so that there is a stress to learn."""

    def __init__(self, network: StudentForceField) -> None:
        super().__init__()
        self.network = network

    @abstractmethod
    def find_pairs(self, dataset: Dataset, frames: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Return the pairs of some frames as tensors whose first dimension is the frame."""

    @abstractmethod
    def arrange(
        self,
        species: Tensor,
        positions: Tensor,
        mask: Tensor,
        *pairs: Tensor,
        strain: Tensor | None = None,
    ) -> Arrangement:
        """Return species, vectors and pairs; arguments as for :meth:`forward`."""

    def forward(
        self,
        species: Tensor,
        positions: Tensor,
        mask: Tensor,
        *pairs: Tensor,
        strain: Tensor | None = None,
    ) -> Tensor:
        """Return the network's part of each frame's energy, in units of its scale, shape (B,).

        Parameters
        ----------
        species
            Integer, shape (B, n).
        positions
            Å, shape (B, n, 3).
        mask
            1 for an atom, 0 for padding, shape (B, n).
        *pairs
            From :meth:`find_pairs`.
        strain
            Homogeneous deformation of each frame, shape (B, 3, 3): zero, to differentiate by.
        """
        arranged = self.arrange(species, positions, mask, *pairs, strain=strain)
        energies = self.network.reduced_energies(*arranged, analytic=True)
        return (energies.reshape(mask.shape) * mask).sum(1)

    def prior(
        self, species: Tensor, positions: Tensor, mask: Tensor, *pairs: Tensor, chunk: int = 256
    ) -> PriorPart:
        """Return the prior's part of energies, forces and virials, evaluated in float64."""
        energies, forces, virials = [], [], []
        for start in range(0, len(species), chunk):
            rows = slice(start, start + chunk)
            x = positions[rows].double().requires_grad_(True)
            strain = x.new_zeros(len(x), 3, 3, requires_grad=True) if self.strained else None
            arranged = self.arrange(
                species[rows], x, mask[rows].double(), *(p[rows] for p in pairs), strain=strain
            )
            energy = self.network.prior_energies(*arranged).reshape(x.shape[:2]).sum(1)
            leaves = [x] if strain is None else [x, strain]
            gradient, *virial = torch.autograd.grad(energy.sum(), leaves)
            energies.append(energy.detach().numpy())
            forces.append(-gradient.numpy())
            virials += [part.numpy() for part in virial]
        return PriorPart(
            np.concatenate(energies),
            np.concatenate(forces),
            np.concatenate(virials) if virials else None,
        )
