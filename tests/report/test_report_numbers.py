import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlff_md.report.numbers import (
    format_column,
    format_compact,
    format_number,
    format_with_interval,
    pretty_unit,
    with_unit,
)


def _plain(text):
    return text.replace("\u00a0", " ")


NUMBERS = st.one_of(st.none(), st.floats(), st.integers(-(10**30), 10**30))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (math.nan, "—"),
        (math.inf, "—"),
        (0.0, "0"),
        (5, "5"),
        (-0.0312499, "−0.0312"),
        (0.00099999, "0.00100"),
        (12345.6, "12346"),
        (99999.9, "1.00 × 10⁵"),
        (-3.14159e-8, "−3.14 × 10⁻⁸"),
        (5e-324, "4.94 × 10⁻³²⁴"),
    ],
)
def test_number(value, text):
    assert _plain(format_number(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.05, "0.05"), (1e-5, "10⁻⁵"), (3e-3, "0.003"), (2.5e-9, "2.5 × 10⁻⁹"), (1500.0, "1500")],
)
def test_limit(value, text):
    assert _plain(format_compact(value, 6)) == text


@pytest.mark.parametrize(
    ("value", "interval", "texts"),
    [
        (0.30151, (0.28412, 0.31893), ("0.302", "0.284 to 0.319")),
        (0.00012, (-0.0003, 0.0019), ("0.0001", "−0.0003 to 0.0019")),
        (2.4e-13, (1.9e-13, 2.9e-13), ("2.40 × 10⁻¹³", "(1.90 to 2.90) × 10⁻¹³")),
        (-0.001, (-40.0, 40.0), ("0", "−40 to 40")),
        (1.0, None, ("1.00", "")),
        (1.0, (math.nan, 2.0), ("1.00", "")),
        (None, (1.0, 2.0), ("—", "1.00 to 2.00")),
        (2.0, (2.0, 2.0), ("2.00", "2.00 to 2.00")),
    ],
)
def test_interval(value, interval, texts):
    assert tuple(map(_plain, format_with_interval(value, interval))) == texts


@given(NUMBERS, NUMBERS, NUMBERS)
def test_any_number_can_be_shown(value, low, high):
    texts = [format_number(value), format_compact(value), *format_with_interval(value, (low, high))]
    for text in texts:
        assert len(text) < 60
        assert "-" not in text
        assert "nan" not in text


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=6))
def test_column_keeps_one_text_for_each_value(values):
    assert len(format_column(values)) == len(values)


def test_column_shares_decimals_where_sizes_are_alike():
    assert format_column([0.31, 0.3193]) == ["0.3100", "0.3193"]
    assert format_column([0.1012, 0.00712]) == ["0.1012", "0.00712"]


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("meV/atom/ps", "meV/atom/ps"),
        ("eV/A", "eV/Å"),
        ("A^2/ps", "Å²/ps"),
        ("cm^-1", "cm⁻¹"),
        ("1", ""),
        ("1/ps", "1/ps"),
        ("us/atom", "µs/atom"),
        ("deg", "°"),
        ("", ""),
    ],
)
def test_unit(unit, text):
    assert pretty_unit(unit) == text


def test_joining_number_and_unit():
    assert with_unit("3", "°") == "3°"
    assert with_unit("3", "ps") == "3\u00a0ps"
    assert with_unit("—", "ps") == "—"
