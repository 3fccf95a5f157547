"""g(r) of periodic structures, by MDAnalysis."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md.protocols.observables.base import Array
from mlff_md.protocols.observables.frames import Frames

if TYPE_CHECKING:
    from ase import Atoms


class RadialDistribution:
    """g(r) for each pair of elements of a structure that is periodic in all directions."""

    id = "rdf"
    title = "Radial distribution functions g(r)"
    unit = "1"
    measure_name = "mean absolute difference"
    blind_to = "angles and longer order; distances beyond half the cell"

    bin_A = 0.05
    _FARTHEST_A = 8.0
    _MOST_FRAMES = 60

    def __init__(self, reference: Atoms) -> None:
        heights = 1.0 / np.linalg.norm(np.linalg.inv(reference.cell.array), axis=0)
        self.reach_A = min(self._FARTHEST_A, 0.5 * float(heights.min()))
        symbols = sorted(set(reference.symbols))
        self.pairs = list(itertools.combinations_with_replacement(symbols, 2))
        bins = int(self.reach_A / self.bin_A)
        self.centers = self.bin_A * (np.arange(bins) + 0.5)

    def measure(self, frames: Frames) -> Array:
        """Return g(r) for each pair of elements, shape (pairs, bins)."""
        from MDAnalysis.analysis.rdf import InterRDF

        every = max(1, len(frames) // self._MOST_FRAMES)
        universe = make_universe(frames, every)
        rows = []
        for first, second in self.pairs:
            groups = [universe.select_atoms(f"name {symbol}") for symbol in (first, second)]
            # An atom's distance to itself falls below the range, not into the first bin.
            low = 1e-3
            analysis = InterRDF(
                *groups, nbins=len(self.centers), range=(low, self.bin_A * len(self.centers))
            )
            rows.append(np.asarray(analysis.run().results.rdf, dtype=np.float64))
        return np.array(rows)

    def size(self, difference: Array) -> Array:
        """Return the absolute difference, mean over distances and pairs of elements."""
        return np.abs(difference).mean(axis=(-2, -1))

    def integral(self, difference: Array) -> float:
        """Return the largest integral of the absolute difference over the pairs of elements, Å."""
        return float(self.bin_A * np.abs(difference).sum(axis=-1).max())


def make_universe(frames: Frames, every: int = 1) -> Any:
    """Return frames as an in-memory MDAnalysis universe, turned so that its cell fits.

    MDAnalysis knows a cell by lengths and angles alone: a along x, b in the plane of x and y.
    """
    import MDAnalysis

    atoms = frames.atoms
    positions = frames.positions_A[::every]
    dimensions = None
    if atoms.pbc.any():
        cell = atoms.cell.complete()
        standard, rotation = cell.standard_form()
        positions = positions @ rotation.T * np.sign(np.diag(standard.array))
        dimensions = cell.cellpar()
    universe = MDAnalysis.Universe.empty(len(atoms), trajectory=False)
    symbols = atoms.get_chemical_symbols()
    for name, values in (("names", symbols), ("types", symbols), ("masses", atoms.get_masses())):
        universe.add_TopologyAttr(name, values)
    universe.load_new(positions.astype(np.float32), order="fac", dimensions=dimensions)
    return universe
