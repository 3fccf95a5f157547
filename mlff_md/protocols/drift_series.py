"""Energies of one run that someone else made, in the package's units."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import DataError
from mlff_md.units import BOLTZMANN_EV_PER_K

Array = NDArray[np.float64]

MIN_SAMPLES = 10
MOST_ATOMS = 10**12  # of any simulation; a file that tells of more is damaged
# Pieces much shorter than the longest say nothing and would widen the interval over the runs.
_SHORTEST_SHARE = 0.2
# Programs differ by as much in Boltzmann's constant and the units of energy.
_CONSTANTS_DIFFER = 1e-5


@dataclass(frozen=True)
class EnergySeries:
    """Energies of one run.

    Attributes
    ----------
    time_fs, energy_eV
        Times and the energy that should be conserved, of the whole system, shape (n,).
    kinetic_eV
        Kinetic energy, shape (n,), or ``None``.
    n_atoms
        Number of atoms.
    timestep_fs
        Time step of the integrator, ``None`` if it is not known.
    quantum_eV
        Last digit that the energy was printed with; 0 for binary files.
    time_quantum_fs
        The same for the times.
    bath
        What the run exchanges energy with (``fix nvt``), ``None`` for nothing, ``unknown`` if
        the file does not tell.
    quantity
        Name of the energy in the file.
    temperature_K
        Temperature by the file's own count of degrees of freedom, shape (n,), or ``None``.
    counted_bath
        A bath whose exchange the energy counts in, so that it is conserved all the same.
    """

    time_fs: Array
    energy_eV: Array
    kinetic_eV: Array | None
    n_atoms: int
    timestep_fs: float | None
    quantum_eV: float = 0.0
    time_quantum_fs: float = 0.0
    bath: str | None = "unknown"
    quantity: str = "total energy"
    temperature_K: Array | None = None
    counted_bath: str | None = None

    @property
    def spacing_fs(self) -> float:
        """Time from one sample to the next (median), fs."""
        return float(np.median(np.diff(self.time_fs)))


@dataclass(frozen=True)
class Trajectory:
    """All runs of a file, where they come from, and what was noticed while reading."""

    source: str
    runs: tuple[EnergySeries, ...]
    notes: tuple[str, ...] = ()


_MOST_DECIMALS = 300


def quantum(tokens: Iterable[str]) -> float:
    """Return the last digit that numbers were printed with: 0.001 for ``-12.345``."""
    finest = 0
    for token in tokens:
        if not math.isfinite(number(token)):
            continue  # for check_finite to refuse
        mantissa, _, exponent = token.lower().partition("e")
        decimals = len(mantissa.partition(".")[2]) - (int(exponent) if exponent else 0)
        finest = max(finest, decimals)
    return 10.0 ** -min(finest, _MOST_DECIMALS)


def number(token: str) -> float:
    """Return a number, or NaN for what is none."""
    try:
        return float(token)
    except ValueError:
        return math.nan


def told_atoms(token: str) -> int:
    """Return the number of atoms that a file tells.

    Raises
    ------
    DataError
        If no simulation has so many.
    ValueError
        If it is no number.
    """
    if len(token) > len(str(MOST_ATOMS)) and token.isdecimal():
        raise DataError(f"the number of atoms cannot be {token[:20]}...: the file is damaged")
    return int(token)


def check_finite(times_fs: Array, energies_eV: Array) -> None:
    """Refuse energies that are not numbers, naming the first.

    Raises
    ------
    DataError
        The run blew up there, or the file is damaged.
    """
    bad = np.flatnonzero(~(np.isfinite(times_fs) & np.isfinite(energies_eV)))
    if len(bad):
        at = f" at {times_fs[bad[0]] / 1000.0:g} ps" if np.isfinite(times_fs[bad[0]]) else ""
        raise DataError(
            f"the energy is not a number{at} (sample {bad[0]}): the run blew up there; cut the "
            "file off before to judge what came first"
        )


def split(run: EnergySeries) -> tuple[list[EnergySeries], list[str]]:
    """Split a run where time goes back (a restart) or jumps ahead; drop repeated samples.

    Returns
    -------
    pieces
        In the order of the file; those of fewer than ten samples are left out.
    notes
        What was split and dropped.
    """
    notes = []
    steps = np.diff(run.time_fs)
    forward = steps[steps > 0.0]
    usual = float(np.median(forward)) if len(forward) else 0.0
    tolerance = max(0.01 * usual, 2.0 * run.time_quantum_fs)
    same = np.flatnonzero(np.abs(steps) <= 1e-9 * usual)
    same = same[np.isclose(run.energy_eV[same], run.energy_eV[same + 1], rtol=1e-9)]
    if len(same):
        run = _take(run, np.setdiff1d(np.arange(len(run.time_fs)), same + 1))
        steps = np.diff(run.time_fs)
        notes.append(f"{len(same)} repeated samples were left out")
    back = np.flatnonzero(steps <= 0.0)
    gaps = np.flatnonzero(steps > 1.5 * usual + tolerance)
    for places, what in ((back, "goes back"), (gaps, "jumps ahead")):
        if len(places):
            at = run.time_fs[places[0]] / 1000.0
            notes.append(f"time {what} {len(places)} times, first after {at:g} ps: a restart?")
    cuts = [0, *(np.sort(np.concatenate([back, gaps])) + 1), len(run.time_fs)]
    pieces = [_take(run, np.arange(start, end)) for start, end in itertools.pairwise(cuts)]
    return pieces, notes


def long_enough(pieces: Sequence[EnergySeries]) -> tuple[list[EnergySeries], list[str]]:
    """Return the pieces that can be judged, and a note on those that cannot."""
    longest = max((float(np.ptp(piece.time_fs)) for piece in pieces), default=0.0)
    kept = [
        piece
        for piece in pieces
        if len(piece.time_fs) >= MIN_SAMPLES
        and float(np.ptp(piece.time_fs)) >= _SHORTEST_SHARE * longest
    ]
    dropped = len(pieces) - len(kept)
    return kept, [f"{dropped} short runs were left out"] if dropped else []


def freedom_from_temperature(
    kinetic_eV: Array, temperature_K: Array, kinetic_quantum_eV: float, temperature_quantum_K: float
) -> int | None:
    """Return the degrees of freedom f of 2 K = f k_B T, if the printed digits leave one.

    Parameters
    ----------
    kinetic_eV, temperature_K
        Kinetic energies and temperatures of the samples, shape (n,).
    kinetic_quantum_eV, temperature_quantum_K
        Last digits that they were printed with: each is off by up to half of it.

    Returns
    -------
    int or None
        ``None`` if the samples leave several f, or contradict one another.
    """
    warm = (temperature_K > temperature_quantum_K) & np.isfinite(kinetic_eV + temperature_K)
    if not warm.any():
        return None
    kinetic = 2.0 * kinetic_eV[warm] / BOLTZMANN_EV_PER_K
    kinetic_error = kinetic_quantum_eV / BOLTZMANN_EV_PER_K
    kelvin, kelvin_error = temperature_K[warm], 0.5 * temperature_quantum_K
    least = float(np.max((kinetic - kinetic_error) / (kelvin + kelvin_error)))
    most = float(np.min((kinetic + kinetic_error) / (kelvin - kelvin_error)))
    least, most = least * (1.0 - _CONSTANTS_DIFFER), most * (1.0 + _CONSTANTS_DIFFER)
    if not (0.5 < least and most < 3 * MOST_ATOMS) or math.ceil(least) != math.floor(most):
        return None
    return math.ceil(least)


def _take(run: EnergySeries, index: NDArray[np.intp]) -> EnergySeries:
    return replace(
        run,
        time_fs=run.time_fs[index],
        energy_eV=run.energy_eV[index],
        kinetic_eV=None if run.kinetic_eV is None else run.kinetic_eV[index],
        temperature_K=None if run.temperature_K is None else run.temperature_K[index],
    )
