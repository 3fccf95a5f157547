"""Periodic frames as training sees them: lists of pairs, found once and padded.

A pair is stored as center, neighbor and the image shift of the neighbor, so that its vector
follows the positions (and the strain) that training differentiates by. The pairs of all frames of
a bucket are padded to the longest list; a padded pair joins atom 0 to a place out of reach, where
the envelope makes it and its derivatives zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlff_md.distill.padded import Arrangement, PaddedFrames
from mlff_md.errors import DataError, StructureError
from mlff_md.graph import build_graph
from mlff_md.student.network import EdgeList

if TYPE_CHECKING:
    from mlff_md.distill.dataset import Dataset

_ROUND_TO = 64
"""Lists of pairs are as long as a multiple of this."""


class PeriodicFrames(PaddedFrames):
    """Padded frames with cells (open directions and molecules among them are fine).

    The pairs of B frames are ``edges``, integer (B, 2, E), atoms counted within the frame, and
    ``shifts``, float32 (B, E, 3), Å: what is added to the neighbor's position.
    """

    strained = True

    def find_pairs(self, dataset: Dataset, frames: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Return edges and shifts of the frames.

        Raises
        ------
        DataError
            If a frame cannot be evaluated (a flat cell, overlapping atoms).
        StructureError
            If it holds elements that the student does not know.
        """
        shape = self.network.architecture
        found = []
        for index in frames:
            atoms = dataset.frame(int(index))
            try:
                graph = build_graph(atoms, shape.elements, shape.cutoff_A)
            except StructureError as error:
                raise DataError(f"training frame {index}: {error}") from error
            center, neighbor = graph.edges
            shifts = graph.vectors - (atoms.positions[neighbor] - atoms.positions[center])
            found.append((graph.edges, shifts))
        longest = max(1, *(edges.shape[1] for edges, _ in found))
        length = -(-longest // _ROUND_TO) * _ROUND_TO
        edges = np.zeros((len(found), 2, length), dtype=np.int64)
        shifts = np.zeros((len(found), length, 3), dtype=np.float32)
        shifts[..., 0] = 1.5 * shape.cutoff_A
        for row, (pairs, moved) in enumerate(found):
            edges[row, :, : pairs.shape[1]] = pairs
            shifts[row, : len(moved)] = moved
        return torch.from_numpy(edges), torch.from_numpy(shifts)

    def arrange(
        self,
        species: Tensor,
        positions: Tensor,
        mask: Tensor,
        *pairs: Tensor,
        strain: Tensor | None = None,
    ) -> Arrangement:
        """Return the batch as one graph of disjoint parts."""
        edges, shifts = pairs
        frames, atoms = species.shape
        first = torch.arange(frames, device=edges.device) * atoms
        edges = (edges + first[:, None, None]).transpose(0, 1).reshape(2, -1)
        everywhere = EdgeList(edges, frames * atoms)
        positions = positions.reshape(-1, 3)
        vectors = everywhere.neighbors(positions) - everywhere.centers(positions)
        vectors = vectors + shifts.reshape(-1, 3)
        if strain is not None:
            by_frame = vectors.reshape(frames, -1, 3)
            vectors = (by_frame + by_frame @ strain).reshape(-1, 3)
        return Arrangement(species.reshape(-1), vectors, everywhere)
