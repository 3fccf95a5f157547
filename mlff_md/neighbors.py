"""Verlet neighbor lists: which atoms are closer than the cutoff, at a few microseconds a step.

A list is built by vesin (linear in the number of atoms) out to ``cutoff + skin`` and then reused
for as long as it provably holds every pair inside the cutoff. What comes out never depends on
when the list was built: the order of the edges is fixed by (i, j, image), the vectors are always
computed from the current positions, so that energies agree bit for bit with any skin.

When is a list complete? Let ``h0`` and ``h`` be the cells (rows are vectors) of the build and of
now, ``F = h0^-1 h``, and ``u_i = r_i - r0_i F`` what atom i moved beyond following the cell. A
pair with vector ``d`` at the build has ``d F + u_j - u_i`` now. A pair that the list lacks had
``|d| >= r_c + skin``, so now it is at least ``sigma_min(F) (r_c + skin) - |u_i| - |u_j|`` long,
where ``sigma_min`` is the smallest singular value. The list is complete while that is ``>= r_c``
for the two largest displacements; a common translation of all atoms changes no pair, so it is
taken out first. Nothing is assumed about how the atoms got there: wrapped coordinates, barostats
and structures that have nothing to do with each other are all covered.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, StructureError
from mlff_md.pairs import complete_cell, half_pairs, sort_pairs
from mlff_md.structures import check_geometry

_PADDING_A = 1e-6
"""The build reaches this much further, Å, so that rounding inside vesin can lose no pair."""


_FARTHEST_A = 1e9
"""Coordinates beyond this, Å, have lost the digits that distances are made of."""


class NeighborList:
    """All pairs closer than a cutoff, kept up to date along a trajectory.

    One object serves one trajectory at a time and is not safe to share between threads.

    Parameters
    ----------
    cutoff_A
        Edges join atoms closer than this, Å.
    skin_A
        How much further the stored list reaches, Å: a larger one is rebuilt less often but has
        more pairs to sift in every step. 1 Å suits liquids and molecules around 300 K. With 0
        the list is rebuilt in every call.

    Attributes
    ----------
    n_builds
        How often the list has been built so far.
    shortest_A
        Distance of the closest pair in the last update, ``inf`` where the list holds no pair.

    Raises
    ------
    ConfigError
        If the cutoff is not positive or the skin is negative.
    """

    def __init__(self, cutoff_A: float, skin_A: float = 1.0) -> None:
        if not (cutoff_A > 0.0 and np.isfinite(cutoff_A)):
            raise ConfigError(f"the cutoff must be a positive length in Å, not {cutoff_A}")
        if not (skin_A >= 0.0 and np.isfinite(skin_A)):
            raise ConfigError(f"the skin must be a length in Å, zero or more, not {skin_A}")
        self.cutoff_A = float(cutoff_A)
        self.skin_A = float(skin_A)
        self.n_builds = 0
        self.shortest_A = float("inf")
        self._geometry = b""
        self._reference: NDArray[np.float64] | None = None
        self._strain: NDArray[np.float64] | None = None
        self._sigma = 1.0
        self._periodic = np.zeros(3, dtype=bool)
        self._inverse_cell: NDArray[np.floating] = np.eye(3)

    def update(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return all pairs closer than the cutoff for these positions.

        Parameters
        ----------
        positions
            ``[N, 3]``, Å, wrapped into the cell or not.
        cell
            ``[3, 3]``, rows are the cell vectors, Å; those of open directions are not used.
        pbc
            ``[3]``, which directions are periodic.

        Returns
        -------
        edges
            ``int32 [2, E]``, center and neighbor; both directions of every pair, images of an
            atom as its own neighbors included; sorted by center, then neighbor, then image. The
            same array is returned again while the pairs stay the same: do not write into it.
        vectors
            ``float64 [E, 3]``, from center to neighbor, Å.

        Raises
        ------
        StructureError
            If there are no atoms, or positions or cell are unusable.
        """
        positions = np.ascontiguousarray(positions, dtype=np.float64)
        cell = np.asarray(cell, dtype=np.float64)
        periodic = np.asarray(pbc, dtype=bool)
        geometry = cell.tobytes() + periodic.tobytes()
        if geometry != self._geometry:
            self._follow_cell(positions, cell, periodic, geometry)
        if not self._is_complete(positions):
            self._build(positions, cell, periodic, geometry)
        return self._select(positions)

    def _follow_cell(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        periodic: NDArray[np.bool_],
        geometry: bytes,
    ) -> None:
        if self._reference is None or not np.array_equal(periodic, self._periodic):
            self._reference = None
            return
        check_geometry(positions, cell, periodic)
        complete = complete_cell(cell, periodic)
        self._strain = self._inverse_cell @ complete
        self._sigma = float(np.linalg.svd(self._strain, compute_uv=False)[-1])
        self._shift_vectors = _image_shifts(self._images, complete)
        self._geometry = geometry

    def _is_complete(self, positions: NDArray[np.float64]) -> bool:
        reference = self._reference
        if reference is None or self.skin_A == 0.0 or len(positions) != len(reference):
            return False
        # The hair's breadth covers the rounding of this test itself.
        slack = self._sigma * (self.cutoff_A + self.skin_A) - self.cutoff_A * (1.0 + 1e-12)
        if slack <= 0.0:
            return False
        if self._strain is not None:
            reference = reference @ self._strain
        moved: NDArray[np.float64] = positions - reference
        squared = np.einsum("ij,ij->i", moved, moved)
        largest = float(squared.max())
        if 4.0 * largest <= slack * slack:
            return True
        if not np.isfinite(largest):
            return False
        np.subtract(moved, moved.mean(axis=0), out=moved)
        squared = np.einsum("ij,ij->i", moved, moved)
        two = np.partition(squared, -2)[-2:] if len(squared) > 1 else squared
        return bool(np.sqrt(two).sum() <= slack)

    def _build(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        periodic: NDArray[np.bool_],
        geometry: bytes,
    ) -> None:
        self._reference = None
        check_geometry(positions, cell, periodic)
        if np.abs(positions).max() > _FARTHEST_A:
            raise StructureError(
                f"an atom is more than {_FARTHEST_A:.0e} Å away from the origin; "
                "the structure is damaged or the simulation has blown up"
            )
        complete = complete_cell(cell, periodic)
        radius = self.cutoff_A + self.skin_A + _PADDING_A
        first, second, images = half_pairs(positions, complete, periodic, radius)
        forward, self._order, edges = sort_pairs(first, second, images, len(positions))
        self._first, self._second, self._images = forward
        self._edges = np.ascontiguousarray(edges, dtype=np.int32)
        self._shift_vectors = _image_shifts(self._images, complete)
        self._kept = np.arange(len(self._order))
        self._kept_edges = self._edges

        n_pairs = len(self._first)
        self._directed = np.empty((2 * n_pairs, 3))
        self._scratch: NDArray[np.float64] = np.empty((n_pairs, 3))
        self._inside = np.empty(2 * n_pairs, dtype=bool)

        self._periodic = periodic.copy()
        self._inverse_cell = np.linalg.inv(complete)
        self._strain = None
        self._sigma = 1.0
        self._geometry = geometry
        self._reference = np.array(positions)
        self.n_builds += 1

    def _select(
        self, positions: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        # Each pair is computed once and negated for the way back; all big arrays but the result
        # live in buffers, since fresh ones cost more in page faults than the arithmetic does
        # (mode="clip" is what lets take write into a buffer without a copy).
        n_pairs = len(self._first)
        vectors, scratch = self._directed[:n_pairs], self._scratch
        np.take(positions, self._second, axis=0, out=vectors, mode="clip")
        np.take(positions, self._first, axis=0, out=scratch, mode="clip")
        np.subtract(vectors, scratch, out=vectors)
        if self._shift_vectors is not None:
            np.add(vectors, self._shift_vectors, out=vectors)
        np.negative(vectors, out=self._directed[n_pairs:])
        np.multiply(vectors, vectors, out=scratch)
        squared = scratch[:, 0]
        np.add(squared, scratch[:, 1], out=squared)
        np.add(squared, scratch[:, 2], out=squared)
        self.shortest_A = float(squared.min(initial=np.inf)) ** 0.5
        np.less(squared, self.cutoff_A * self.cutoff_A, out=self._inside[:n_pairs])
        self._inside[n_pairs:] = self._inside[:n_pairs]
        kept = np.flatnonzero(self._inside.take(self._order))
        if not np.array_equal(kept, self._kept):
            self._kept = kept
            self._kept_edges = self._edges.take(kept, axis=1)
        return self._kept_edges, self._directed.take(self._order.take(kept), axis=0)


def _image_shifts(
    images: NDArray[np.int64], cell: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return images @ cell, ``None`` where all are zero.

    Spelled out, because the rounding of a BLAS product depends on the shape of the whole array.
    """
    if not images.any():
        return None
    x, y, z = images.T.astype(np.float64)
    shifts = np.empty((len(images), 3))
    for axis in range(3):
        shifts[:, axis] = x * cell[0, axis] + y * cell[1, axis] + z * cell[2, axis]
    return shifts
