"""Numbers and units as a reader should see them: few digits, true minus signs, real exponents."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TypeGuard

MISSING = "—"
# Plain notation from 10^-3 up to, and not including, 10^5.
_PLAIN_EXPONENTS = range(-3, 5)
# Below this, powers of ten leave the range of doubles.
_TINY = 1e-290
_SUPERSCRIPTS = str.maketrans("-−0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNIT_WORDS = {
    "A": "Å",
    "Ang": "Å",
    "angstrom": "Å",
    "Angstrom": "Å",
    "us": "µs",
    "deg": "°",
    "degree": "°",
    "percent": "%",
    "dimensionless": "",
}


def superscript(exponent: int) -> str:
    """Return an integer in superscript digits."""
    return str(exponent).translate(_SUPERSCRIPTS)


def pretty_unit(unit: str) -> str:
    """Return a unit in its printed form: ``eV/A^2`` becomes ``eV/Å²``."""
    text = re.sub(r"[^\W\d_]+", lambda m: _UNIT_WORDS.get(m[0], m[0]), unit.strip())
    text = "" if text == "1" else text
    return re.sub(r"(?:\^|\*\*)\(?(-?\d+)\)?", lambda match: superscript(int(match[1])), text)


def with_unit(number: str, unit: str) -> str:
    """Join a number and a printed unit with a no-break space (none before a degree sign)."""
    if not unit or number == MISSING:
        return number
    return f"{number}{unit}" if unit == "°" else f"{number}\u00a0{unit}"


def format_number(value: float | None, digits: int = 3) -> str:
    """Return ``value`` to ``digits`` significant digits; a dash if it is absent or not finite."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0 or (isinstance(value, int) and abs(value) < 100_000):
        return _minus(str(int(value)))
    exponent = _exponent(value, digits)
    if exponent in _PLAIN_EXPONENTS:
        return _fixed(value, max(digits - 1 - exponent, 0))
    mantissa = f"{value:.{digits - 1}e}".partition("e")[0]
    return f"{_minus(mantissa)}\u00a0×\u00a010{superscript(exponent)}"


def format_compact(value: float | None, digits: int = 4) -> str:
    """Return ``value`` to at most ``digits`` significant digits, without trailing zeros."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    mantissa, _, tail = f"{value:.{digits - 1}e}".partition("e")
    exponent = int(tail)
    if exponent in _PLAIN_EXPONENTS:
        return _minus(f"{value:.{digits}g}" if exponent < digits else f"{value:.0f}")
    mantissa = mantissa.rstrip("0").rstrip(".")
    power = f"10{superscript(exponent)}"
    return power if mantissa == "1" else f"{_minus(mantissa)}\u00a0×\u00a0{power}"


def format_column(values: Sequence[float]) -> list[str]:
    """Return the numbers of a table column, with equal decimals where they are of like size."""
    texts = [format_compact(value) for value in values]
    sizes = [abs(value) for value in values if value]
    if any("10" in text and "×" in text for text in texts) or MISSING in texts or not sizes:
        return texts
    # With more spread, equal decimals would claim digits that the largest does not have.
    if max(sizes) > 10 * min(sizes) or max(sizes) < 1e-3 or max(sizes) >= 1e5:
        return texts
    decimals = max(len(text.partition(".")[2]) for text in texts)
    return [_fixed(value, decimals) for value in values]


def format_with_interval(
    value: float | None, interval: Sequence[float | None] | None
) -> tuple[str, str]:
    """Return a value and its interval, both to the digits that the interval warrants.

    Two significant digits of the half width decide, as is usual for stated uncertainties; value
    and ends share one exponent so that they can be compared at a glance.

    Returns
    -------
    tuple of str
        The value, and ``low to high`` (empty if there is no finite interval).
    """
    if interval is None:
        return format_number(value), ""
    low, high = interval
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return format_number(value), ""
    numbers = [number for number in (value, low, high) if _is_finite(number)]
    scale = max(abs(number) for number in numbers)
    half_width = abs(high - low) / 2
    if scale < _TINY or half_width < _TINY:
        return format_number(value), f"{format_number(low)} to {format_number(high)}"
    exponent = _exponent(scale, 2)
    shift = 0 if exponent in _PLAIN_EXPONENTS else exponent
    decimals = 1 - (_exponent(half_width, 2) - shift)
    # A needle-thin interval would otherwise print every digit of a double.
    decimals = min(decimals, 5 - (exponent - shift))
    power = f"\u00a0×\u00a010{superscript(shift)}" if shift else ""
    shown = [_fixed(number / 10.0**shift, decimals) for number in (low, high)]
    span = f"{shown[0]} to {shown[1]}"
    middle = MISSING if not _is_finite(value) else _fixed(value / 10.0**shift, decimals) + power
    return middle, f"({span}){power}" if power else span


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _exponent(value: float, digits: int) -> int:
    """Return the decimal exponent of ``value`` after rounding to ``digits``."""
    return int(f"{value:.{digits - 1}e}".partition("e")[2])


def _fixed(value: float, decimals: int) -> str:
    text = f"{round(value, decimals):.{max(decimals, 0)}f}"
    return _minus(text.lstrip("-") if float(text) == 0 else text)


def _minus(text: str) -> str:
    return text.replace("-", "−")
