"""Distributions of bond lengths, angles, dihedrals and distances between atoms.

A run is reduced to cumulative distributions on a fixed grid. The integral of the absolute
difference of two of them is the Wasserstein distance: by how much, on average, values must be
moved to turn one distribution into the other. On a circle the difference is counted from its median
(Delon, Salomon, Sobolevski, SIAM J. Appl. Math. 70, 2239, 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlff_md.protocols.observables.base import Array
from mlff_md.protocols.observables.frames import Frames
from mlff_md.protocols.observables.topology import Terms, Topology, find_topology

if TYPE_CHECKING:
    from ase import Atoms


_SHORT_RUNS = "modes slower than the runs, whose values the two runs share from their start"


class Internal:
    """Bond lengths, angles or dihedrals, one distribution for each group of alike terms.

    Parameters
    ----------
    id
        ``bonds``, ``angles`` or ``dihedrals``.
    topology, reference
        Of the structure; bond lengths are counted from those of the reference.

    Attributes
    ----------
    groups, names
        Terms of each group and a name for it.
    bin, merge
        Width of the bins, and how many of them are taken together for densities.
    """

    def __init__(self, id: str, topology: Topology, reference: Atoms) -> None:
        terms, self.title, self.unit, low, high, self.bin, self.merge = {
            "bonds": (topology.bonds, "Bond lengths", "Å", -0.6, 0.6, 0.002, 5),
            "angles": (topology.angles, "Bond angles", "degree", 0.0, 180.0, 0.5, 4),
            "dihedrals": (topology.dihedrals, "Dihedral angles", "degree", -180.0, 180.0, 1.0, 5),
        }[id]
        self.id = id
        self.circular = id == "dihedrals"
        self.measure_name = f"{'circular ' if self.circular else ''}Wasserstein distance"
        self.blind_to = f"correlations between {self.title.lower()}; {_SHORT_RUNS}"
        self.groups = topology.groups(terms)
        self.names = [topology.name(group, reference.numbers) for group in self.groups]
        self.edges = low + self.bin * np.arange(round((high - low) / self.bin) + 1)
        self._offsets = topology.offsets_A
        # Bond lengths are counted from those of the reference, which differ between bonds.
        self.origins = np.zeros(len(self.groups))
        if id == "bonds":
            first = reference.positions[None] + self._offsets
            self.origins = np.array([_values(first, group).mean() for group in self.groups])

    def measure(self, frames: Frames) -> Array:
        """Return the cumulative distribution of each group, shape (groups, bins)."""
        positions = frames.positions_A + self._offsets
        rows = [
            _cumulative(_values(positions, group) - origin, self.edges)
            for group, origin in zip(self.groups, self.origins, strict=True)
        ]
        return np.array(rows)

    def size(self, difference: Array) -> Array:
        """Return the Wasserstein distance, root mean square over the groups.

        The mean would let one bad bond hide among many good ones.
        """
        return np.sqrt((self.sizes(difference) ** 2).mean(axis=-1))

    def sizes(self, difference: Array) -> Array:
        """Return the Wasserstein distance of each group, shape (..., groups)."""
        if self.circular:
            difference = difference - np.median(difference, axis=-1, keepdims=True)
        return self.bin * np.abs(difference).sum(axis=-1)


class PairDistances:
    """h(r), the distribution of the distances between all atoms of a molecule."""

    id = "pair_distances"
    title = "Distances between atoms h(r)"
    unit = "1"
    measure_name = "integral of the absolute difference"
    blind_to = f"which atoms a distance belongs to; mirror images; {_SHORT_RUNS}"

    _BIN_A = 0.05
    _MOST_DISTANCES = 4_000_000

    def __init__(self, reference: Atoms) -> None:
        self._pairs = np.stack(np.triu_indices(len(reference), 1), axis=1)
        longest = float(reference.get_all_distances().max())
        self.edges = self._BIN_A * np.arange(int((1.3 * longest + 2.0) / self._BIN_A) + 1)
        self.centers = self.edges[:-1] + 0.5 * self._BIN_A

    def measure(self, frames: Frames) -> Array:
        """Return h(r), 1/Å, shape (bins,)."""
        every = max(1, len(frames) * len(self._pairs) // self._MOST_DISTANCES)
        values = _values(frames.positions_A[::every], self._pairs)
        clipped = np.clip(values, self.edges[0], self.edges[-1])
        counts = np.histogram(clipped, self.edges)[0]
        return counts / (values.size * self._BIN_A)

    def size(self, difference: Array) -> Array:
        """Return the integral of the absolute difference: 0 for equal, 2 for disjoint."""
        return self._BIN_A * np.abs(difference).sum(axis=-1)


def internal_coordinates(reference: Atoms) -> list[Internal]:
    """Return bonds, angles and dihedrals, as far as the structure has them."""
    topology = find_topology(reference)
    kinds = {"bonds": topology.bonds, "angles": topology.angles, "dihedrals": topology.dihedrals}
    return [Internal(id, topology, reference) for id, terms in kinds.items() if len(terms)]


def jensen_shannon(first: Array, second: Array, merge: int) -> Array:
    """Return the Jensen-Shannon divergence of cumulative distributions, bits.

    Parameters
    ----------
    first, second
        (..., bins), cumulative.
    merge
        Bins to merge before: the divergence of two samples falls with their number per bin.

    Returns
    -------
    ndarray
        (...), 0 for equal and 1 for disjoint distributions.
    """
    p, q = (
        np.diff(cumulative[..., merge - 1 :: merge], axis=-1, prepend=0.0)
        for cumulative in (first, second)
    )
    middle = 0.5 * (p + q)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(x > 0.0, x * np.log2(x / middle), 0.0).sum(axis=-1) for x in (p, q)]
    return np.maximum(0.5 * (terms[0] + terms[1]), 0.0)


def _values(positions: Array, terms: Terms) -> Array:
    """Return distances (Å), angles or dihedrals (degrees) of all terms in all frames, flat."""
    from MDAnalysis.lib.distances import calc_angles, calc_bonds, calc_dihedrals

    points = [positions[:, atom].reshape(-1, 3) for atom in terms.T]
    function = {2: calc_bonds, 3: calc_angles, 4: calc_dihedrals}[len(points)]
    values = np.asarray(function(*points), dtype=np.float64)
    return values if len(points) == 2 else np.degrees(values)


def _cumulative(values: Array, edges: Sequence[float] | Array) -> Array:
    """Return the share of values below the upper edge of each bin; those outside go to the ends."""
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    return np.cumsum(counts) / len(values)
