"""Numbers for figures: with the digits that a drawing can show, since the rest bloats a report."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def short(values: ArrayLike, digits: int = 5) -> list[float]:
    """Return numbers rounded to so many significant digits."""
    return [float(f"{value:.{digits}g}") for value in np.asarray(values, dtype=np.float64)]
