"""Molecules as training sees them: all pairs at once, nothing to search or to scatter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlff_md.distill.padded import Arrangement, PaddedFrames
from mlff_md.student.network import DensePairs

if TYPE_CHECKING:
    from mlff_md.distill.dataset import Dataset


class DenseMolecules(PaddedFrames):
    """Padded, non-periodic molecules, shape (B, n), all pairs at once."""

    def find_pairs(self, dataset: Dataset, frames: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Return nothing: every pair of atoms is a pair."""
        return ()

    def arrange(
        self,
        species: Tensor,
        positions: Tensor,
        mask: Tensor,
        *pairs: Tensor,
        strain: Tensor | None = None,
    ) -> Arrangement:
        """Return neighbor minus center, and for pairs that do not exist a vector out of reach."""
        count = positions.shape[1]
        other = 1.0 - torch.eye(count, dtype=positions.dtype, device=positions.device)
        exists = mask.unsqueeze(2) * mask.unsqueeze(1) * other
        vectors = positions.unsqueeze(1) - positions.unsqueeze(2)
        far = torch.full_like(positions[..., :1], 1.5 * self.network.architecture.cutoff_A)
        far = torch.cat([far, torch.zeros_like(positions[..., 1:])], -1).unsqueeze(1)
        vectors = torch.where(exists.unsqueeze(-1) > 0, vectors, far)
        return Arrangement(species, vectors, DensePairs())
