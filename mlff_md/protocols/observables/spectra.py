"""Velocity autocorrelation and vibrational density of states.

The density of states is the power spectrum of the mass-weighted velocities, which by the
Wiener-Khinchin theorem is the Fourier transform of their autocorrelation. It is normalised to
one, so that it can be compared as a distribution over wavenumbers: moving all bands by 10 cm^-1
is a Wasserstein distance of 10 cm^-1.
"""

from __future__ import annotations

import numpy as np

from mlff_md.protocols.observables.base import Array
from mlff_md.protocols.observables.frames import Frames
from mlff_md.units import LIGHT_SPEED_CM_PER_FS

_HIGHEST_PER_CM = 4500.0


class VibrationalSpectrum:
    """Vibrational density of states, as its cumulative distribution over wavenumbers."""

    id = "vibrational_dos"
    title = "Vibrational density of states"
    unit = "cm^-1"
    measure_name = "Wasserstein distance"
    blind_to = (
        "how strongly a vibration absorbs light; couplings that only show in longer runs than "
        "these, which resolve bands no finer than their inverse length"
    )

    def __init__(self, n_frames: int, interval_fs: float, timestep_fs: float) -> None:
        # Zeros behind the data draw the spectrum on a grid finer than its resolution.
        self._size = 1 << (8 * n_frames - 1).bit_length()
        frequency = np.fft.rfftfreq(self._size, interval_fs)
        sampled = 2.0 * np.pi * frequency
        # Verlet turns a harmonic mode a little too fast, by a known amount: undo it.
        true = 2.0 / timestep_fs * np.sin(0.5 * timestep_fs * sampled)
        wavenumbers = true / (2.0 * np.pi * LIGHT_SPEED_CM_PER_FS)
        # The second half of a period of the sine, should frames be that close, is no frequency.
        self._keep = np.concatenate([[True], np.diff(wavenumbers) > 0.0])
        self._keep &= wavenumbers <= _HIGHEST_PER_CM
        self.wavenumbers = wavenumbers[self._keep]
        self.spacing = np.gradient(self.wavenumbers)

    def measure(self, frames: Frames) -> Array:
        """Return the cumulative density of states, shape (wavenumbers,)."""
        weights = np.sqrt(frames.atoms.get_masses())[:, None]
        velocities = (weights * frames.velocities_A_per_fs).reshape(len(frames), -1)
        window = np.hanning(len(frames) + 2)[1:-1, None]
        power = np.zeros(len(self._keep))
        # A block at a time: the padded transform of a large structure would not fit.
        for block in np.array_split(velocities, max(1, velocities.shape[1] // 256), axis=1):
            spectrum = np.fft.rfft(window * block, self._size, axis=0)
            power += (spectrum.real**2 + spectrum.imag**2).sum(axis=1)
        kept = power[self._keep] * self.spacing
        return np.cumsum(kept) / max(float(kept.sum()), 1e-300)

    def size(self, difference: Array) -> Array:
        """Return the Wasserstein distance, cm^-1."""
        return np.abs(difference) @ self.spacing

    def density(self, cumulative: Array) -> Array:
        """Return the density, 1/cm^-1, of cumulative distributions (..., wavenumbers)."""
        return np.diff(cumulative, axis=-1, prepend=0.0) / self.spacing

    def overlap(self, first: Array, second: Array) -> float:
        """Return the shared area of two cumulative distributions: 1 for equal, 0 for disjoint."""
        shared = np.minimum(self.density(first), self.density(second))
        return float(np.sum(shared * self.spacing))


class VelocityCorrelation:
    """Autocorrelation of the mass-weighted velocities, 1 at the start."""

    id = "vacf"
    title = "Velocity autocorrelation"
    unit = "1"
    measure_name = "mean absolute difference"
    blind_to = "which atoms move"

    _LONGEST_FS = 200.0

    def __init__(self, n_frames: int, interval_fs: float) -> None:
        lags = min(n_frames // 2, int(self._LONGEST_FS / interval_fs))
        self._lags = max(lags, 2)
        self.times_fs = interval_fs * np.arange(self._lags)

    def measure(self, frames: Frames) -> Array:
        """Return the autocorrelation at each lag, shape (lags,)."""
        weights = np.sqrt(frames.atoms.get_masses())[:, None]
        velocities = (weights * frames.velocities_A_per_fs).reshape(len(frames), -1)
        spans = np.arange(len(frames), 0, -1)[: self._lags]
        sums = [
            float(np.sum(velocities[: len(frames) - lag] * velocities[lag:]))
            for lag in range(len(spans))
        ]
        series = np.array(sums) / spans
        series = np.pad(series, (0, self._lags - len(series)))
        return series / max(float(series[0]), 1e-300)

    def size(self, difference: Array) -> Array:
        """Return the absolute difference, mean over the lags."""
        return np.abs(difference).mean(axis=-1)


def spectra(
    n_frames: int, interval_fs: float, timestep_fs: float
) -> tuple[VibrationalSpectrum, VelocityCorrelation]:
    """Return both observables for runs of this length."""
    return (
        VibrationalSpectrum(n_frames, interval_fs, timestep_fs),
        VelocityCorrelation(n_frames, interval_fs),
    )
