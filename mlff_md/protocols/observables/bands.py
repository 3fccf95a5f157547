r"""By how much the vibrations of a run are shifted against a spectrum that all runs share.

The energy of a mode differs from start to start and wanders between modes, so that heights of a
spectrum scatter far more than places. A band's shift is therefore the factor s that makes the
overlap :math:`\int \sqrt{p(\nu)\, q(\nu / s)}\, d\nu` (Bhattacharyya) of the run's spectrum p
with the shared one q largest: the root weighs a weak line almost like a strong one.
"""

from __future__ import annotations

import numpy as np

from mlff_md.protocols.observables.base import Array
from mlff_md.protocols.observables.spectra import VibrationalSpectrum

BANDS_PER_CM = {
    "fingerprint (600 to 2000)": (600.0, 2000.0),
    "X-H stretch (2000 to 4500)": (2000.0, 4500.0),
}
_SHARE = 0.05
_SCALES = np.linspace(0.85, 1.15, 601)


class BandShift:
    """Shift of the bands of a molecule in cm^-1, or of a whole soft spectrum in percent.

    Parameters
    ----------
    spectrum
        Where spectra come from.
    shared
        Cumulative density of states that shifts are counted from, shape (wavenumbers,).
    """

    measure_name = "largest shift of a band"
    blind_to = (
        "bands below 600 cm^-1 of a molecule, which runs this short do not resolve; shifts that "
        "cancel within a band; how strongly a vibration absorbs light"
    )

    def __init__(self, spectrum: VibrationalSpectrum, shared: Array) -> None:
        self._spectrum = spectrum
        self._shared = np.sqrt(spectrum.density(shared))
        weights = np.diff(shared, prepend=0.0)
        grid = spectrum.wavenumbers
        self.bands = {
            name: (low, high)
            for name, (low, high) in BANDS_PER_CM.items()
            if weights[(grid >= low) & (grid < high)].sum() >= _SHARE
        }
        self.soft = not self.bands
        if self.soft:
            self.bands = {"all": (0.0, float(grid[-1]))}
        self.id = "vibrational_scale" if self.soft else "vibrational_shift"
        self.unit = "%" if self.soft else "cm^-1"
        self.title = "Wavenumbers of the vibrations"

    def measure_spectra(self, cumulative: Array) -> Array:
        """Return the shift of each band of spectra (K, wavenumbers), shape (K, bands)."""
        amplitudes = np.sqrt(np.maximum(self._spectrum.density(cumulative), 0.0))
        columns = [self._shift(amplitudes, low, high) for low, high in self.bands.values()]
        return np.stack(columns, axis=-1)

    def size(self, difference: Array) -> Array:
        """Return the largest shift of a band."""
        return np.abs(difference).max(axis=-1)

    def _shift(self, amplitudes: Array, low: float, high: float) -> Array:
        grid = self._spectrum.wavenumbers
        inside = (grid >= low) & (grid < high)
        stretched = np.array(
            [np.interp(grid[inside] / scale, grid, self._shared) for scale in _SCALES]
        )
        stretched /= np.linalg.norm(stretched, axis=1, keepdims=True)
        scores = amplitudes[:, inside] @ stretched.T
        best = np.clip(scores.argmax(axis=1), 1, len(_SCALES) - 2)
        rows = np.arange(len(scores))
        left, top, right = (scores[rows, best + step] for step in (-1, 0, 1))
        bend = left - 2.0 * top + right
        # A parabola through the highest point and its neighbors finds the top between them.
        between = np.where(bend < 0.0, 0.5 * (left - right) / np.where(bend < 0.0, bend, 1.0), 0.0)
        scale = _SCALES[best] + np.clip(between, -0.5, 0.5) * (_SCALES[1] - _SCALES[0])
        if self.soft:
            return 100.0 * (scale - 1.0)
        squares = self._shared[inside] ** 2
        center = float(squares @ grid[inside] / squares.sum())
        return (scale - 1.0) * center
