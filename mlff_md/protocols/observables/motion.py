"""How far atoms move: fluctuations of a molecule, mean square displacement in a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_md.protocols.observables.base import Array
from mlff_md.protocols.observables.frames import Frames
from mlff_md.protocols.observables.radial import make_universe

if TYPE_CHECKING:
    from ase import Atoms

# Fewer do not fix how a molecule lies.
_MIN_HEAVY = 4


class Fluctuations:
    """RMSF of each atom of a molecule, after superposition on the reference.

    Superposition and comparison are by the atoms other than hydrogen, as is usual, if there are
    four or more: a methyl group that jumps in one run and not in the other says little.
    """

    id = "rmsf"
    title = "Fluctuations of the atoms (RMSF)"
    unit = "Å"
    measure_name = "mean absolute difference"
    blind_to = "hydrogens; directions and timing of the motion; motion slower than the runs"

    def __init__(self, reference: Atoms) -> None:
        self._reference = reference
        heavy = np.flatnonzero(reference.numbers > 1)
        self._judged = heavy if len(heavy) >= _MIN_HEAVY else np.arange(len(reference))

    def measure(self, frames: Frames) -> Array:
        """Return the RMSF of each atom, Å, shape (N,)."""
        from MDAnalysis.analysis.align import AlignTraj
        from MDAnalysis.analysis.rms import RMSF

        universe = make_universe(frames)
        target = make_universe(frames.select(slice(0, 1)))
        target.atoms.positions = self._reference.positions
        chosen = "index " + " ".join(str(atom) for atom in self._judged)
        AlignTraj(universe, target, select=chosen, in_memory=True).run()
        return np.asarray(RMSF(universe.atoms).run().results.rmsf, dtype=np.float64)

    def size(self, difference: Array) -> Array:
        """Return the absolute difference, mean over the judged atoms, Å."""
        return np.abs(difference[..., self._judged]).mean(axis=-1)


class Displacement:
    """Mean square displacement over time of the atoms in a periodic cell.

    Parameters
    ----------
    n_frames, interval_fs
        Of a whole run: frames, and the time from one to the next, fs.

    Attributes
    ----------
    scale_A2
        What :meth:`size` is counted in: the teacher's mean displacement, Å^2, once that is known.
    """

    id = "msd"
    title = "Mean square displacement"
    unit = "%"
    measure_name = "mean absolute difference, of the teacher's"
    blind_to = "which atoms move; diffusion that sets in after the runs have ended"

    _MOST_LAGS = 100

    def __init__(self, n_frames: int, interval_fs: float) -> None:
        # Half the run: longer lags rest on few independent spans.
        self._every = max(1, n_frames // (2 * self._MOST_LAGS))
        self._lags = max(2, (n_frames - 1) // (2 * self._every) + 1)
        self.times_ps = 1e-3 * interval_fs * self._every * np.arange(self._lags)
        self.scale_A2 = 1.0

    def measure(self, frames: Frames) -> Array:
        """Return the displacement at each lag, Å^2, shape (lags,); the first is zero."""
        from MDAnalysis.analysis.msd import EinsteinMSD

        universe = make_universe(frames, self._every)
        analysis = EinsteinMSD(universe, select="all", msd_type="xyz", fft=False).run()
        series = np.asarray(analysis.results.timeseries, dtype=np.float64)
        # A run that ended early has fewer lags; its last one stands for those that it lacks.
        short = max(0, self._lags - len(series))
        return np.pad(series, (0, short), mode="edge")[: self._lags]

    def size(self, difference: Array) -> Array:
        """Return the absolute difference in percent of :attr:`scale_A2`, mean over the lags."""
        return 100.0 * np.abs(difference).mean(axis=-1) / self.scale_A2

    def diffusion_A2_per_ps(self, displacement: Array) -> float:
        """Return D by Einstein's relation, from the second half of the lags."""
        half = self._lags // 2
        slope = np.polynomial.Polynomial.fit(self.times_ps[half:], displacement[half:], 1).convert()
        return float(slope.coef[1]) / 6.0 if len(slope.coef) > 1 else 0.0
