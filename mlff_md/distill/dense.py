"""Padded molecules through the student network: what training differentiates and compiles."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mlff_md.student.network import DensePairs, StudentForceField


class DenseMolecules(nn.Module):
    """Energies of padded, non-periodic molecules, shape (B, n), all pairs at once.

    Parameters
    ----------
    network
        The student that is trained.
    """

    def __init__(self, network: StudentForceField) -> None:
        super().__init__()
        self.network = network

    def forward(self, species: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Return the network's part of each molecule's energy, in units of its scale.

        Parameters
        ----------
        species
            Integer, shape (B, n).
        positions
            Å, shape (B, n, 3).
        mask
            1 for an atom, 0 for padding, shape (B, n).
        """
        vectors = self._vectors(positions, mask)
        energies = self.network.reduced_energies(species, vectors, DensePairs(), analytic=True)
        return (energies * mask).sum(1)

    def prior(
        self, species: Tensor, positions: Tensor, mask: Tensor, chunk: int = 256
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the prior's energies (B,), eV, and forces (B, n, 3), eV/Å, in float64."""
        energies, forces = [], []
        for start in range(0, len(species), chunk):
            part = slice(start, start + chunk)
            x = positions[part].double().requires_grad_(True)
            vectors = self._vectors(x, mask[part].double())
            energy = self.network.prior_energies(species[part], vectors, DensePairs()).sum(1)
            (gradient,) = torch.autograd.grad(energy.sum(), x)
            energies.append(energy.detach().numpy())
            forces.append(-gradient.numpy())
        return np.concatenate(energies), np.concatenate(forces)

    def _vectors(self, positions: Tensor, mask: Tensor) -> Tensor:
        """Return neighbor minus center, and for pairs that do not exist a vector out of reach."""
        count = positions.shape[1]
        other = 1.0 - torch.eye(count, dtype=positions.dtype, device=positions.device)
        exists = mask.unsqueeze(2) * mask.unsqueeze(1) * other
        vectors = positions.unsqueeze(1) - positions.unsqueeze(2)
        far = torch.full_like(positions[..., :1], 1.5 * self.network.architecture.cutoff_A)
        far = torch.cat([far, torch.zeros_like(positions[..., 1:])], -1).unsqueeze(1)
        return torch.where(exists.unsqueeze(-1) > 0, vectors, far)
