"""Series as arrays that can be drawn: gaps for missing values, few enough points for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_md.protocols.records import Figure, Series

FloatArray = NDArray[np.float64]

# A figure is about 500 pixels wide: more buckets, or more dots, show nothing more.
MAX_BUCKETS = 600
MAX_POINTS = 2500
# Beyond this the margins and ticks that matplotlib adds would overflow.
_HUGE = 1e150


@dataclass(frozen=True)
class Drawable:
    """Arrays of one series, float64 ``(n,)``; not-a-number marks a gap."""

    x: FloatArray
    y: FloatArray
    low: FloatArray | None
    high: FloatArray | None

    @property
    def visible(self) -> NDArray[np.bool_]:
        """Which points can be drawn, ``(n,)``."""
        return np.isfinite(self.x) & np.isfinite(self.y)


def drawable(series: Series, log_x: bool = False, log_y: bool = False) -> Drawable:
    """Return the arrays of a series, thinned to what a page can show.

    Lines keep the lowest and the highest point of each bucket, so that no spike is lost; clouds
    of points keep a random (seeded) choice, because a fixed stride would beat with the order of
    atoms and components. On a logarithmic axis, values that are not positive become gaps.
    """
    x, y = _array(series.x, log_x), _array(series.y, log_y)
    low = None if series.low is None else _array(series.low, False)
    high = None if series.high is None else _array(series.high, False)
    if log_y and low is not None and (y > 0).any():
        # An error bar that reaches below zero has no end on a logarithmic axis: let it run out
        # of the picture.
        low = np.where(low > 0, low, np.nanmin(y) * 1e-3)
    keep = _kept(x, y, series.style)
    return Drawable(
        x[keep],
        y[keep],
        None if low is None else low[keep],
        None if high is None else high[keep],
    )


def drawable_value(value: float | None, log: bool = False) -> bool:
    """Return whether a value has a place on a linear or logarithmic axis."""
    return value is not None and bool(_in_range(np.array(value, dtype=np.float64), log))


def thinning_note(figure: Figure) -> str:
    """Return a sentence on points left out of the drawing, or an empty string."""
    counts = [len(item.x) for item in figure.series if item.style in ("points", "errorbar")]
    most = max(counts, default=0)
    return f"A random {MAX_POINTS} of up to {most} points are drawn." if most > MAX_POINTS else ""


def _array(values: Sequence[float | None], positive: bool) -> FloatArray:
    array = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    array[~_in_range(array, positive)] = np.nan
    return array


def _in_range(array: FloatArray, positive: bool) -> NDArray[np.bool_]:
    return (np.abs(array) < _HUGE) & ((array > 1 / _HUGE) if positive else True)


def _kept(x: FloatArray, y: FloatArray, style: str) -> NDArray[np.intp]:
    count = len(x)
    if style in ("points", "errorbar"):
        if count <= MAX_POINTS:
            return np.arange(count)
        return np.sort(np.random.default_rng(0).choice(count, MAX_POINTS, replace=False))
    if style == "bars" or count <= 2 * MAX_BUCKETS or not (np.diff(x) >= 0).all():
        return np.arange(count)
    kept: list[np.intp] = []
    for bucket in np.array_split(np.arange(count), MAX_BUCKETS):
        part = y[bucket]
        if np.isnan(part).any():
            # One gap stays visible even if the bucket holds good values too.
            kept.append(bucket[np.argmax(np.isnan(part))])
        if not np.isnan(part).all():
            kept += [bucket[np.nanargmin(part)], bucket[np.nanargmax(part)]]
    return np.unique(np.array([0, *kept, count - 1], dtype=np.intp))
