"""Figures of single observables: model and teacher side by side, with the teacher's own floor."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mlff_md.protocols.drawing import short
from mlff_md.protocols.observables.base import Array
from mlff_md.protocols.observables.distributions import Internal, PairDistances
from mlff_md.protocols.observables.motion import Displacement, Fluctuations
from mlff_md.protocols.observables.radial import RadialDistribution
from mlff_md.protocols.observables.spectra import VelocityCorrelation, VibrationalSpectrum
from mlff_md.protocols.records import Figure, Series

if TYPE_CHECKING:
    from mlff_md.protocols.compare_observables import Observed


OTHER = "teacher, other starts"
_SMOOTH_PER_CM = 15.0


def curve(
    label: str,
    x: ArrayLike,
    y: ArrayLike,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    style: Literal["line", "points", "bars"] = "line",
) -> Series:
    """Return a series with as many digits as a drawing can show."""
    rows = [None if values is None else short(values) for values in (x, y, low, high)]
    return Series(label, rows[0] or [], rows[1] or [], rows[2], rows[3], style)


def of_observable(item: Observed) -> list[Figure]:
    """Return the figures of one observable; it has at least one pair of runs."""
    about = item.observable
    for kind, draw in _DRAWERS:
        if isinstance(about, kind):
            return draw(item, about)
    return []


def _internal(item: Observed, about: Internal) -> list[Figure]:
    """Draw the group of terms that differs most."""
    worst = int(np.argmax(about.sizes(item.model.mean(axis=0) - item.teacher.mean(axis=0))))
    merge = about.merge
    edges = about.edges[::merge] + about.origins[worst]
    centers = 0.5 * (edges[:-1] + edges[1:])

    def density(rows: Array) -> Array:
        cumulative = rows[..., worst, merge - 1 :: merge]
        return np.diff(cumulative, axis=-1, prepend=0.0) / (merge * about.bin)

    series = _three(item, centers, density)
    seen = np.flatnonzero(np.sum([np.abs(s.y) for s in series], axis=0) > 0)
    if len(seen):
        span = slice(max(0, int(seen[0]) - 2), int(seen[-1]) + 3)
        series = tuple(_cut(one, span) for one in series)
    # Density maps need a name that a chemist reads.
    names = {"bonds": "Bond length", "angles": "Angle", "dihedrals": "Dihedral about"}
    return [
        Figure(
            id=about.id,
            title=f"{names[about.id]} {about.names[worst]}",
            caption=f"Distribution of the {about.title.lower()} that differ most between model and "
            f"teacher ({about.measure_name} {item_size(item, worst):.3g} {about.unit}). Atoms are "
            "numbered from 0 in the order of the structure file"
            + (
                "; all dihedrals about the bond are taken together."
                if about.id == "dihedrals"
                else "; those that are alike by symmetry are taken together."
            ),
            x_label=f"{names[about.id].removesuffix(' about')} ({about.unit})",
            y_label=f"Density (1/{about.unit})",
            series=series,
        )
    ]


def item_size(item: Observed, term: int) -> float:
    """Return the distance of one group of internal coordinates."""
    assert isinstance(item.observable, Internal)
    difference = item.model.mean(axis=0) - item.teacher.mean(axis=0)
    return float(item.observable.sizes(difference)[term])


def _pair_distances(item: Observed, about: PairDistances) -> list[Figure]:
    return [
        Figure(
            id=about.id,
            title="Distances between atoms",
            caption="h(r): distribution of the distances between all pairs of atoms.",
            x_label="Distance (Å)",
            y_label="h(r) (1/Å)",
            series=_three(item, about.centers, lambda rows: rows),
        )
    ]


def _radial(item: Observed, about: RadialDistribution) -> list[Figure]:
    return [
        Figure(
            id=f"rdf_{first}_{second}",
            title=f"g(r) of {first} and {second}",
            caption="Radial distribution function, bonded neighbors included; mean over the runs.",
            x_label="Distance (Å)",
            y_label="g(r)",
            series=_three(item, about.centers, itemgetter((..., index, slice(None)))),
        )
        for index, (first, second) in enumerate(about.pairs)
    ]


def _fluctuations(item: Observed, about: Fluctuations) -> list[Figure]:
    atoms = np.arange(item.model.shape[-1], dtype=np.float64)
    return [
        Figure(
            id=about.id,
            title="Fluctuations of the atoms",
            caption="RMSF of each atom about its mean position in a run, after superposition (by "
            "the atoms other than hydrogen, where there are four or more); mean over the runs, "
            "atoms numbered from 0 in the order of the structure file.",
            x_label="Atom",
            y_label="RMSF (Å)",
            series=_three(item, atoms, lambda rows: rows, style="points"),
        )
    ]


def _spectrum(item: Observed, about: VibrationalSpectrum) -> list[Figure]:
    grid = np.arange(0.0, about.wavenumbers[-1], 5.0)
    offsets = (grid[:, None] - about.wavenumbers) / _SMOOTH_PER_CM
    kernel = np.exp(-0.5 * offsets**2) / (_SMOOTH_PER_CM * np.sqrt(2.0 * np.pi))

    def smooth(rows: Array) -> Array:
        weights = np.diff(rows, axis=-1, prepend=0.0)
        return 1e3 * weights @ kernel.T

    return [
        Figure(
            id=about.id,
            title="Vibrational density of states",
            caption="Power spectrum of the mass-weighted velocities, normalised to one, smoothed "
            f"with a Gaussian of {_SMOOTH_PER_CM:g} cm⁻¹ and corrected for the time step. How the "
            "energy is spread over the modes differs from start to start: pairs share it, the runs "
            "from other starts do not.",
            x_label="Wavenumber (cm⁻¹)",
            y_label="Density (10⁻³ cm)",
            series=_three(item, grid, smooth),
        )
    ]


def _correlation(item: Observed, about: VelocityCorrelation) -> list[Figure]:
    return [
        Figure(
            id=about.id,
            title="Velocity autocorrelation",
            caption="Autocorrelation of the mass-weighted velocities, mean over the runs.",
            x_label="Time (fs)",
            y_label="VACF",
            series=_three(item, about.times_fs, lambda rows: rows),
        )
    ]


def _displacement(item: Observed, about: Displacement) -> list[Figure]:
    return [
        Figure(
            id=about.id,
            title="Mean square displacement",
            caption="Mean over atoms, times of origin and runs. A plateau is a crystal, a straight "
            "line a liquid.",
            x_label="Time (ps)",
            y_label="MSD (Å²)",
            series=_three(item, about.times_ps, lambda rows: rows),
        )
    ]


_DRAWERS: tuple[tuple[type, Callable[[Observed, Any], list[Figure]]], ...] = (
    (Internal, _internal),
    (PairDistances, _pair_distances),
    (RadialDistribution, _radial),
    (Fluctuations, _fluctuations),
    (VibrationalSpectrum, _spectrum),
    (VelocityCorrelation, _correlation),
    (Displacement, _displacement),
)


def _three(
    item: Observed,
    x: Array,
    draw: Callable[[Array], Array],
    style: Literal["line", "points"] = "line",
) -> tuple[Series, ...]:
    """Return model, teacher, and the teacher from other starts, as means over their runs."""
    rows = [("model", item.model), ("teacher", item.teacher), (OTHER, item.other)]
    return tuple(
        curve(label, x, draw(runs.mean(axis=0)), style=style) for label, runs in rows if len(runs)
    )


def _cut(series: Series, span: slice) -> Series:
    return Series(series.label, series.x[span], series.y[span], style=series.style)
