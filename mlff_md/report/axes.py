"""Ranges and ticks of a figure's axes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    ScalarFormatter,
)

from mlff_md.protocols.records import ReferenceLine, Tick
from mlff_md.report.numbers import superscript
from mlff_md.report.sampling import Drawable, drawable_value
from mlff_md.report.wording import one_line

MAX_TICKS = 12
MAX_NAMES, MAX_NAME_LETTERS = 30, 24
MAX_LETTERS = 60  # of their labels, with two blanks each, side by side


def fit_axes(axes: Any, curves: Sequence[Drawable], lines: Sequence[ReferenceLine]) -> None:
    """Set the ticks of x and, on logarithmic axes, the ranges to what is drawn."""
    _tick_at_values(axes, curves)
    x = np.concatenate([data.x[data.visible] for data in curves])
    if axes.get_xscale() == "log" and np.ptp(x) == 0:
        # A lone value has no range of its own: show one decade around it.
        axes.set_xlim(x[0] / 10**0.5, x[0] * 10**0.5)
    if axes.get_yscale() == "log":
        _fit_log_y(axes, curves, lines)


def _fit_log_y(axes: Any, curves: Sequence[Drawable], lines: Sequence[ReferenceLine]) -> None:
    """Span what is drawn and the reference lines, but not error bars that reach far down."""
    values = np.concatenate([data.y[data.visible] for data in curves])
    floor = values.min() / 100
    ends = [end for data in curves for end in (data.low, data.high) if end is not None]
    levels = [line.value for line in lines if line.axis == "y" and drawable_value(line.value, True)]
    values = np.concatenate([values, levels, *(end[end > floor] for end in ends)])
    axes.set_ylim(values.min() / 1.6, values.max() * 1.6)


def _tick_at_values(axes: Any, curves: Sequence[Drawable]) -> None:
    """Put the ticks of x where the data are, if they are few and far enough apart to read."""
    values = np.unique(np.concatenate([data.x[data.visible] for data in curves]))
    if not 1 < len(values) <= MAX_TICKS:
        return
    if sum(len(f"{value:g}  ") for value in values) > MAX_LETTERS:
        return
    places = np.log(values) if axes.get_xscale() == "log" else values
    if np.diff(places).min() * MAX_TICKS >= np.ptp(places):
        axes.xaxis.set_major_locator(FixedLocator(values.tolist()))


def name_ticks(axes: Any, ticks: Sequence[Tick]) -> None:
    """Write names at places of x in place of numbers; slanted where they would touch."""
    low, high = axes.get_xlim()
    shown = [tick for tick in ticks if tick.value is not None and low <= tick.value <= high]
    shown = shown[:MAX_NAMES]
    if not shown:
        return
    labels = [one_line(tick.label)[:MAX_NAME_LETTERS] for tick in shown]
    crowded = sum(len(label) + 2 for label in labels) > MAX_LETTERS
    slant = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks([tick.value for tick in shown], labels, **slant)
    axes.set_xticks([], minor=True)


def format_axis(axis: Any) -> None:
    """Write the ticks of an axis with true minus signs and real exponents."""
    if axis.get_scale() != "log":
        axis.set_major_formatter(_PlainFormatter())
        return
    low, high = sorted(axis.get_view_interval())
    wide = math.log10(high / low) > 2.5
    if not isinstance(axis.get_major_locator(), FixedLocator):
        subs = (1.0,) if wide else (1.0, 2.0, 3.0, 5.0)
        axis.set_major_locator(LogLocator(subs=subs, numticks=9 if wide else 15))
    # One notation for all ticks of an axis.
    plain = low >= 1e-3 and high < 1e5
    axis.set_major_formatter(FuncFormatter(_plain_label if plain else _power_label))
    axis.set_minor_formatter(NullFormatter())


def _plain_label(value: float, _position: int | None = None) -> str:
    return f"{value:g}"


def _power_label(value: float, _position: int | None = None) -> str:
    # matplotlib asks for labels of ticks far outside the picture too.
    if not 0 < value < math.inf:
        return ""
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    power = f"10{superscript(int(exponent))}"
    mantissa = f"{float(mantissa):g}"
    return power if mantissa == "1" else f"{mantissa}×{power}"


class _PlainFormatter(ScalarFormatter):
    """Ticks of a linear axis; the common factor reads ×10⁻³ instead of 1e−3."""

    def get_offset(self) -> str:
        text = super().get_offset()
        return re.sub(
            r"^1e([-−+]?\d+)",
            lambda match: f"×10{superscript(int(match[1].replace('−', '-')))}",
            text,
        )
