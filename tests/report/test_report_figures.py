import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mlff_md.protocols.records import Figure, ReferenceLine, Series, Tick
from mlff_md.report.figures import draw_figure
from mlff_md.report.sampling import MAX_BUCKETS, MAX_POINTS, drawable, thinning_note
from mlff_md.report.svg import inline_svg

from .samples import hostile_report


def _figure(*series, **options):
    return Figure("f", "Title", "Caption", "x / ps", "y / eV", series, **options)


def _texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.text]


@pytest.fixture(scope="module")
def energy(failing):
    return draw_figure(failing.figures[0])


def test_drawing_is_reproducible(failing, energy):
    assert draw_figure(failing.figures[0]) == energy


def test_png_is_a_png_without_version(energy):
    _, png = energy
    assert png.startswith(b"\x89PNG")
    assert b"matplotlib" not in png.lower()


def test_legend_names_the_series_and_lines_are_labelled(failing, energy):
    assert {f"replica {i}" for i in range(1, 6)} <= set(_texts(energy[0]))
    svg, _ = draw_figure(failing.figures[1])
    assert _texts(svg).count("class B limit") == 2


def test_labels_are_not_read_as_formulas():
    svg, _ = draw_figure(_figure(Series("$x_1$ and _y", [0.0, 1.0], [1.0, 2.0])))
    assert "$x_1$ and _y" in _texts(svg)


def test_long_legends_are_cut():
    series = [Series(f"run {i}", [0.0, 1.0], [float(i), i + 1.0]) for i in range(30)]
    texts = _texts(draw_figure(_figure(*series))[0])
    assert "first 10 of 30 series" in texts
    assert "run 9" in texts
    assert "run 10" not in texts


def test_logarithmic_axis_drops_what_it_cannot_show():
    svg, _ = draw_figure(
        _figure(
            Series("a", [1.0, 2.0, 3.0], [1e-8, 0.0, 1e-2], [-1.0, 0.0, 1e-3], [1e-7, 1.0, 1.0]),
            lines=[ReferenceLine("zero", 0.0), ReferenceLine("limit", 1e-5)],
            y_scale="log",
        )
    )
    texts = _texts(svg)
    assert "limit" in texts
    assert "zero" not in texts
    assert "10⁻⁵" in texts


def test_ticks_stand_at_the_values_only_where_their_labels_fit():
    few = draw_figure(_figure(Series("a", [0.125, 0.25, 0.5], [1.0, 2.0, 3.0]), x_scale="log"))
    assert {"0.125", "0.25", "0.5"} <= set(_texts(few[0]))
    steps = [3.13e-5 * 2.0**k for k in range(10)]
    many = _texts(draw_figure(_figure(Series("a", steps, steps), x_scale="log"))[0])
    assert "10⁻⁴" in many
    assert "3.13×10⁻⁵" not in many


def test_named_ticks_stand_in_place_of_numbers():
    bars = Series("a", [1.0, 2.0], [300.0, 400.0], style="bars")
    ticks = (Tick(1.0, "H"), Tick(2.0, "C"), Tick(9.0, "far"), Tick(math.nan, "none"))
    texts = _texts(draw_figure(_figure(bars, x_ticks=ticks))[0])
    assert {"H", "C"} <= set(texts)
    assert not {"far", "none", "1.00", "1.0"} & set(texts)
    lone = Series("a", [0.0], [3.0], style="points")
    assert "only" in _texts(draw_figure(_figure(lone, x_ticks=(Tick(0.0, "only"),)))[0])


def test_nothing_to_draw_is_said():
    svg, _ = draw_figure(_figure(Series("a", [1.0], [float("nan")]), y_scale="log"))
    assert "no finite values" in _texts(svg)


def test_two_figures_on_a_page_share_no_identifier(energy):
    pages = [inline_svg(energy[0], prefix, "<b>'\"") for prefix in ("a-", "b-")]
    found = [set(re.findall(r' id="([^"]+)"', page)) for page in pages]
    assert found[0]
    assert not found[0] & found[1]
    assert 'aria-label="&lt;b&gt;' in pages[0]


def test_every_style_survives_gaps(hostile):
    assert len(hostile.figures) == 2 * len(hostile_report().figures)
    for path in hostile.figures:
        if path.suffix == ".svg":
            ElementTree.parse(path)


def test_thinned_lines_keep_spikes_ends_and_gaps():
    y = np.zeros(100_000)
    y[54_321], y[12_345], y[77_777] = 9.0, -9.0, np.nan
    data = drawable(Series("s", list(range(100_000)), list(y)))
    assert len(data.x) < 3 * MAX_BUCKETS
    assert np.nanmax(data.y) == 9.0
    assert np.nanmin(data.y) == -9.0
    assert np.isnan(data.y).any()
    assert (data.x[0], data.x[-1]) == (0, 99_999)


def test_thinned_clouds_are_a_fair_choice_and_say_so():
    x = list(np.arange(9_000) % 3)
    cloud = Series("s", x, x, style="points")
    data = drawable(cloud)
    assert len(data.x) == MAX_POINTS
    assert np.bincount(data.x.astype(int)) == pytest.approx([MAX_POINTS / 3] * 3, rel=0.1)
    assert "2500 of up to 9000" in thinning_note(_figure(cloud))
    assert thinning_note(_figure(Series("s", x, x))) == ""


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize(
    "values", [[1e308, -1e308], [5e-324, 1e-300], [1e149, 1e-149], [3.0], [2.0, 2.0], [0.0, 0.0]]
)
def test_extreme_numbers_are_drawn_or_left_out(values, scale):
    low, high = [value / 2 for value in values], [value * 1.5 for value in values]
    figure = _figure(
        Series("line", values, values, low, high),
        Series("points", values, values, low, high, "errorbar"),
        Series("bars", values, values, low, high, "bars"),
        lines=[ReferenceLine("limit", values[0])],
        x_scale=scale,
        y_scale=scale,
    )
    draw_figure(figure)
