"""The six figures of a force analysis, as data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlff_md.force_errors import VISIBLE_FORCE_EV_PER_A, angles_deg
from mlff_md.protocols.drawing import short
from mlff_md.protocols.forces_checks import molecules, temperatures
from mlff_md.protocols.forces_data import ForcesData
from mlff_md.protocols.records import Figure, ReferenceLine, Series, Tick
from mlff_md.structures import chemical_symbol

_CELLS = 120
_LEVELS = (1, 10, 100, 1000)
_MAX_MOLECULES = 400
_LEAST_IN_BIN = 20


def figures(data: ForcesData) -> tuple[Figure, ...]:
    """Return the six panels; those without data are left out."""
    made = [_parity(data), _errors(data), _against_size(data), _angles(data), _elements(data)]
    made.append(_molecules(data))
    return tuple(figure for figure in made if figure.series)


def _parity(data: ForcesData) -> Figure:
    """Cells of a grid by how many components fall into them: a cloud of points hides its core."""
    x, y = data.reference_eV_per_A.ravel(), data.predicted_eV_per_A.ravel()
    span = float(max(np.abs(x).max(), np.abs(y).max(), 1e-9))
    edges = np.linspace(-span, span, _CELLS + 1)
    centers = 0.5 * (edges[1:] + edges[:-1])
    counts = np.histogram2d(x, y, [edges, edges])[0]
    series = []
    for low, high in zip(_LEVELS, (*_LEVELS[1:], np.inf), strict=True):
        i, j = np.nonzero((counts >= low) & (counts < high))
        if len(i):
            label = f"{low} or more" if np.isinf(high) else f"{low} to {high - 1:g}"
            series.append(Series(label, short(centers[i]), short(centers[j]), style="points"))
    errors = data.errors()
    diagonal = Series("equal", [-span, span], [-span, span])
    return Figure(
        id="parity",
        title="Parity",
        caption=f"Force components, {len(x):,} of them, by number in a cell of "
        f"{2 * span / _CELLS:.2g} eV/Å. R2 {errors.r2:.5f}.",
        x_label="Teacher (eV/Å)",
        y_label="Student (eV/Å)",
        series=(*series, diagonal),
    )


def _errors(data: ForcesData) -> Figure:
    error = (data.predicted_eV_per_A - data.reference_eV_per_A).ravel()
    span = float(max(np.percentile(np.abs(error), 99.9), 1e-9))
    density, edges = np.histogram(error, np.linspace(-span, span, 81), density=True)
    centers = 0.5 * (edges[1:] + edges[:-1])
    width = float(max(error.std(), 1e-12))
    normal = np.exp(-0.5 * ((centers - error.mean()) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    filled, visible = density > 0, normal > 0.5 * density[density > 0].min()
    return Figure(
        id="error_distribution",
        title="Errors of the components",
        caption=f"Mean {error.mean():.1e}, standard deviation {width:.4f} eV/Å; a mean away from "
        "zero is a bias. The curve is a normal distribution of the same width: tails above it are "
        "rare large errors. 99.9 % of the errors are shown.",
        x_label="Student − teacher (eV/Å)",
        y_label="Density (Å/eV)",
        series=(
            Series("errors", short(centers[filled]), short(density[filled])),
            Series("normal", short(centers[visible]), short(normal[visible])),
        ),
        y_scale="log",
    )


def _against_size(data: ForcesData) -> Figure:
    size = np.linalg.norm(data.reference_eV_per_A, axis=1)
    rows = []
    for chosen in _bins(size, 24):
        error = data.error_sizes[chosen]
        quantiles = np.percentile(error, [5, 50, 95])
        rows.append((float(np.median(size[chosen])), float(error.mean()), *map(float, quantiles)))
    x, mean, low, middle, high = (list(column) for column in zip(*rows, strict=True))
    return Figure(
        id="error_against_force",
        title="Error against the size of the force",
        caption="Length of the error of an atom's force: median with the band of 90 % of the "
        "atoms, and mean. A share of the force that grows to the left means that weak forces are "
        "noise.",
        x_label="Teacher's force on the atom (eV/Å)",
        y_label="Error (eV/Å)",
        series=(Series("median, 90 % of atoms", x, middle, low, high, "band"),
                Series("mean", x, mean)),
        x_scale="log",
        y_scale="log",
    )  # fmt: skip


def _angles(data: ForcesData) -> Figure:
    angle = angles_deg(data.predicted_eV_per_A, data.reference_eV_per_A)
    angle = np.sort(angle[np.isfinite(angle)])
    series: tuple[Series, ...] = ()
    lines: tuple[ReferenceLine, ...] = ()
    caption = "No force is large enough to have a direction."
    if len(angle):
        edges = np.geomspace(max(float(np.percentile(angle, 0.5)), 1e-4), 180.0, 50)
        counts = np.histogram(np.log(np.maximum(angle, 1e-12)), np.log(edges))[0]
        share = 100.0 * counts / len(angle)
        series = (Series("atoms", short(np.sqrt(edges[1:] * edges[:-1])), short(share)),)
        median, mean = float(np.median(angle)), float(angle.mean())
        lines = (
            ReferenceLine(f"median {median:.2f}°", median, "x"),
            ReferenceLine(f"mean {mean:.2f}°", mean, "x"),
        )
        caption = (
            f"Angle between the two forces on an atom, {len(angle):,} atoms with more than "
            f"{VISIBLE_FORCE_EV_PER_A:g} eV/Å; {100 * (angle > 10).mean():.1f} % are off by more "
            "than 10°."
        )
    return Figure(
        id="angles",
        title="Directions",
        caption=caption,
        x_label="Angle (°)",
        y_label="Atoms (% per bin)",
        series=series,
        lines=lines,
        x_scale="log",
    )


def _elements(data: ForcesData) -> Figure:
    numbers = [int(number) for number in np.unique(data.numbers)]
    symbols = [chemical_symbol(number) for number in numbers]
    groups = [(f"{value:g} K", frames) for value, frames in temperatures(data)]
    groups = groups or [("all frames", np.arange(len(data.counts)))]
    size = np.abs(data.predicted_eV_per_A - data.reference_eV_per_A).mean(axis=1)
    series = []
    for label, frames in groups:
        here = np.isin(data.frame_of_atom, frames)
        chosen = [here & (data.numbers == number) for number in numbers]
        places = [float(k + 1) for k, atoms in enumerate(chosen) if atoms.any()]
        values = np.array([size[atoms].mean() for atoms in chosen if atoms.any()])
        series.append(Series(label, places, short(values), style="bars"))
    return Figure(
        id="elements",
        title="Error of each element",
        caption="MAE of the force components on the atoms of each element"
        + (", by the temperature of the frames." if len(series) > 1 else "."),
        x_label="Element",
        y_label="MAE (eV/Å)",
        series=tuple(series),
        x_ticks=tuple(Tick(k + 1.0, symbol) for k, symbol in enumerate(symbols)),
    )


def _molecules(data: ForcesData) -> Figure:
    rows = molecules(data)[::-1][-_MAX_MOLECULES:]
    values = [float(f"{errors.mae_eV_per_A:.5g}") for _, errors in rows]
    ranks = [float(k + 1) for k in range(len(rows))]
    names = ", ".join(name for name, _ in rows[:-4:-1])
    card = (data.record.get("card", {}).get("errors") or {}).get("mae_eV_per_A")
    lines = [ReferenceLine("all frames", data.errors().mae_eV_per_A)]
    if isinstance(card, float):
        lines.append(ReferenceLine("card", card))
    return Figure(
        id="molecules",
        title="Error of each molecule",
        caption=f"MAE of the molecules in order; worst: {names}.",
        x_label="Molecule, best to worst",
        y_label="MAE (eV/Å)",
        series=(Series("molecules", ranks, values, style="points"),),
        lines=tuple(lines),
    )


def _bins(size: NDArray[np.float64], count: int) -> list[NDArray[np.integer]]:
    """Return the atoms of bins of even width in log(size), joined until each holds enough."""
    low = max(float(np.percentile(size, 0.5)), 1e-6)
    edges = np.geomspace(low, max(float(size.max()), 2.0 * low), count + 1)
    owner = np.clip(np.searchsorted(edges, size) - 1, 0, count - 1)
    bins: list[NDArray[np.integer]] = []
    waiting: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    for k in range(count):
        waiting = np.concatenate([waiting, np.flatnonzero(owner == k)])
        if len(waiting) >= _LEAST_IN_BIN:
            bins.append(waiting)
            waiting = np.empty(0, dtype=np.int64)
    return bins or [np.arange(len(size))]
