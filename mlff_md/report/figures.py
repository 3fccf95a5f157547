"""Draw a figure that is data; matplotlib's global state stays as the caller left it."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from cycler import cycler
from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from mlff_md.protocols.records import Figure, ReferenceLine, Series
from mlff_md.report.axes import fit_axes, format_axis, name_ticks
from mlff_md.report.sampling import Drawable, drawable, drawable_value
from mlff_md.report.svg import GRID, INK, MUTED, PALETTE, PAPER
from mlff_md.report.wording import one_line

SIZE_INCHES = (4.6, 3.0)
PNG_DPI = 220
PANELS_DPI = 130
MAX_LEGEND_ENTRIES = 10
MAX_LABEL_CHARACTERS = 48
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))

_RC: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": PAPER,
    "axes.formatter.limits": (-3, 5),
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "mlff-md",
    "text.color": INK,
    # Labels are data: a dollar sign in them is a dollar sign.
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
}


def draw_figure(figure: Figure) -> tuple[str, bytes]:
    """Return ``figure`` as SVG text and as a PNG image.

    The same figure gives the same bytes: no dates, no random identifiers.
    """
    with _look():
        canvas = Canvas(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasAgg(canvas)
        _fill(canvas, figure)
        svg, png = io.StringIO(), io.BytesIO()
        # The keys that matplotlib would fill in by itself, with its version or the date.
        bare = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.savefig(svg, format="svg", metadata=bare)
        canvas.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def draw_panels(figures: Sequence[Figure], columns: int = 3) -> bytes:
    """Return several figures as one PNG image, row by row, each with its title."""
    rows = math.ceil(len(figures) / columns)
    width, height = SIZE_INCHES
    with _look():
        canvas = Canvas(figsize=(columns * width, rows * height), layout="constrained")
        FigureCanvasAgg(canvas)
        panels = canvas.subfigures(rows, columns, squeeze=False).ravel()
        for panel, figure in zip(panels, figures, strict=False):
            _fill(panel, figure)
            panel.axes[0].set_title(one_line(figure.title), loc="left", fontsize=10, color=INK)
        png = io.BytesIO()
        canvas.savefig(png, format="png", dpi=PANELS_DPI, metadata={"Software": None})
    return png.getvalue()


@contextlib.contextmanager
def _look() -> Iterator[None]:
    """Draw with our own settings, whatever the caller's are."""
    with rc_context(), warnings.catch_warnings():
        # A label may hold glyphs that the font lacks, or leave no room: neither ends a report.
        warnings.simplefilter("ignore")
        rcdefaults()
        rcParams.update(_RC)
        yield


def _fill(canvas: Any, figure: Figure) -> None:
    """Draw a figure onto a canvas, or onto a part of one."""
    axes = canvas.subplots()
    log_x, log_y = figure.x_scale == "log", figure.y_scale == "log"
    curves = [(series, drawable(series, log_x, log_y)) for series in figure.series]
    drawn = [(series, data) for series, data in curves if data.visible.any()]
    # A logarithmic axis without one positive value would have no range at all.
    if drawn and log_x:
        axes.set_xscale("log")
    if drawn and log_y:
        axes.set_yscale("log")
    bars = [index for index, (series, _) in enumerate(drawn) if series.style == "bars"]
    for index, (series, data) in enumerate(drawn):
        place = (bars.index(index), len(bars)) if index in bars else (0, 1)
        _draw_series(axes, series, data, index, place)
    if drawn:
        fit_axes(axes, [data for _, data in drawn], figure.lines)
    else:
        axes.text(0.5, 0.5, "no finite values", ha="center", transform=axes.transAxes, color=MUTED)
    _draw_lines(axes, figure.lines)
    axes.set_xlabel(one_line(figure.x_label))
    axes.set_ylabel(one_line(figure.y_label))
    format_axis(axes.xaxis)
    format_axis(axes.yaxis)
    if drawn:
        name_ticks(axes, figure.x_ticks)
    _legend(canvas, axes)


def _draw_series(
    axes: Any, series: Series, data: Drawable, index: int, place: tuple[int, int]
) -> None:
    color = PALETTE[index % len(PALETTE)]
    label = _short(series.label)
    has_range = data.low is not None and data.high is not None
    if series.style == "bars":
        _draw_bars(axes, data, color, label, place)
        return
    if series.style in ("points", "errorbar"):
        marker = _MARKERS[index % len(_MARKERS)]
        many = len(data.x) > 200
        style: dict[str, Any] = {"color": color, "marker": marker, "linestyle": "none"}
        style |= {"markersize": 2.2 if many else 4.5, "alpha": 0.45 if many else 1.0}
        # Above the labels of reference lines, which must not hide a point.
        style |= {"markeredgewidth": 0, "label": label, "zorder": 4}
        if has_range:
            axes.errorbar(data.x, data.y, yerr=_offsets(data), capsize=2.5, elinewidth=1.1, **style)
        else:
            axes.plot(data.x, data.y, **style)
        return
    if has_range:
        axes.fill_between(data.x, data.low, data.high, color=color, alpha=0.18, linewidth=0)
    dash = _DASHES[index // len(PALETTE) % len(_DASHES)]
    # One point makes no line.
    lone = "o" if np.count_nonzero(data.visible) == 1 else None
    axes.plot(data.x, data.y, color=color, linestyle=dash, marker=lone, markersize=4, label=label)


def _draw_bars(axes: Any, data: Drawable, color: str, label: str, place: tuple[int, int]) -> None:
    """Draw one series of bars; ``place`` is its position among the series that share the slots."""
    position, count = place
    x = np.unique(data.x[np.isfinite(data.x)])
    slot = 0.82 * (np.diff(x).min() if len(x) > 1 else 1.0)
    width = slot / count
    centers = data.x + (position - (count - 1) / 2) * width
    errors = _offsets(data) if data.low is not None and data.high is not None else None
    axes.bar(
        centers, data.y, width, color=color, label=label, yerr=errors,
        error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2.5},
    )  # fmt: skip


def _offsets(data: Drawable) -> Any:
    """Return error-bar lengths below and above, never negative."""
    assert data.low is not None
    assert data.high is not None
    return np.maximum(np.array([data.y - data.low, data.high - data.y]), 0.0)


def _draw_lines(axes: Any, lines: Sequence[ReferenceLine]) -> None:
    sides: dict[str, Any] = {axis: cycle(("end", "start")) for axis in "xy"}
    for line in lines:
        scale = axes.get_xscale() if line.axis == "x" else axes.get_yscale()
        if not drawable_value(line.value, log=scale == "log"):
            continue
        # Neighboring lines carry their labels at opposite ends.
        at_end = next(sides[line.axis]) == "end"
        style = {"color": INK, "linewidth": 1.0, "linestyle": (0, (4, 2.5))}
        text = {"fontsize": 7.5, "color": INK}
        box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
        if line.axis == "y":
            axes.axhline(line.value, **style)
            axes.text(
                0.995 if at_end else 0.01, line.value, _short(line.label), bbox=box, va="bottom",
                ha="right" if at_end else "left", transform=axes.get_yaxis_transform(), **text,
            )  # fmt: skip
        else:
            axes.axvline(line.value, **style)
            axes.text(
                line.value, 0.99 if at_end else 0.01, _short(line.label), bbox=box, ha="right",
                va="top" if at_end else "bottom", rotation=90,
                transform=axes.get_xaxis_transform(), **text,
            )  # fmt: skip


def _legend(canvas: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    entries = [(handle, label) for handle, label in zip(handles, labels, strict=True) if label]
    if not entries:
        return
    shown = entries[:MAX_LEGEND_ENTRIES]
    title = None
    if len(shown) < len(entries):
        title = f"first {len(shown)} of {len(entries)} series"
    for rows in range(1, len(shown) + 1):
        columns = math.ceil(len(shown) / rows)
        legend = canvas.legend(
            [handle for handle, _ in shown], [label for _, label in shown],
            loc="outside upper left", ncols=columns, frameon=False, title=title,
            alignment="left", fontsize=8, title_fontsize=7.5, borderaxespad=0.2,
            columnspacing=1.4, handlelength=1.6, handletextpad=0.6,
        )  # fmt: skip
        if columns == 1 or legend.get_window_extent().width < canvas.bbox.width:
            break
        legend.remove()
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)


def _short(label: str) -> str:
    text = one_line(label)
    if len(text) > MAX_LABEL_CHARACTERS:
        text = text[: MAX_LABEL_CHARACTERS - 1] + "…"
    # matplotlib leaves labels that begin with an underscore out of the legend.
    return f"\u200b{text}" if text.startswith("_") else text
