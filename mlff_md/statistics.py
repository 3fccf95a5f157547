"""Statistics of correlated time series and of replicas: slopes, intervals, verdicts.

A time series from MD is correlated, so its n samples are worth only n / g independent ones,
where g is the statistical inefficiency. Replicas with their own seeds are independent, so
their spread needs no such correction.

References
----------
Chodera, Swope, Pitera, Seok, Dill, J. Chem. Theory Comput. 3, 26 (2007);
Grossfield et al., Living J. Comp. Mol. Sci. 1, 5067 (2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlff_md.errors import DataError

Outcome = Literal["pass", "fail", "inconclusive"]

# Anticorrelated fast motion dips below zero at once; pymbar and we sum at least this many lags.
_MIN_LAG = 3
_SQUARES_OVERFLOW = 1e100


@dataclass(frozen=True)
class Slope:
    """Least-squares slope of a correlated series.

    Attributes
    ----------
    value
        Slope, in units of y per unit of t.
    standard_error
        sqrt(g sigma_res^2 / sum (t - tbar)^2).
    g
        Statistical inefficiency of the residuals.
    n_eff
        Number of samples divided by g.
    intercept
        Value of the fitted line at t = 0.
    """

    value: float
    standard_error: float
    g: float
    n_eff: float
    intercept: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval, Student t with n_eff - 2 degrees of freedom.

        Infinite when fewer than about three independent samples stand behind the slope.
        """
        half_width = student_t(self.n_eff - 2.0, confidence) * self.standard_error
        if math.isnan(half_width):
            half_width = math.inf
        return self.value - half_width, self.value + half_width


@dataclass(frozen=True)
class MeanInterval:
    """Mean of independent values with its confidence interval (``n`` values)."""

    mean: float
    lower: float
    upper: float
    standard_error: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the confidence interval."""
        return self.lower, self.upper


def statistical_inefficiency(x: ArrayLike) -> float:
    """Return g = 1 + 2 sum_t (1 - t/n) C(t), the sum ending where C(t) first falls to zero.

    Parameters
    ----------
    x
        Series sampled at even intervals, shape (n,).

    Returns
    -------
    float
        At least 1; exactly 1 for a constant series or for fewer than three samples.

    Raises
    ------
    DataError
        If the series is not one-dimensional or holds a value that is not finite.
    """
    series = _finite_series(x, "series")
    n = len(series)
    if n < 3:
        return 1.0
    largest = float(np.abs(series).max())
    if largest > _SQUARES_OVERFLOW:
        series, largest = series / largest, 1.0
    deviation = series - series.mean()
    variance = float(np.mean(deviation**2))
    # The scale decides what is constant: rounding alone must not look like correlation.
    if variance <= (1e-15 * largest) ** 2:
        return 1.0
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(deviation, size)
    lags = np.arange(n)
    correlation = np.fft.irfft(spectrum * np.conj(spectrum), size)[:n] / ((n - lags) * variance)
    # Lag n - 1 rests on one product and is left out, as in pymbar.
    considered = correlation[: n - 1]
    ends = np.flatnonzero((considered <= 0.0) & (lags[: n - 1] > _MIN_LAG))
    stop = int(ends[0]) if len(ends) else n - 1
    g = 1.0 + 2.0 * float(np.sum(considered[1:stop] * (1.0 - lags[1:stop] / n)))
    return max(1.0, g)


def ols_slope(t: ArrayLike, y: ArrayLike) -> Slope:
    """Fit y = a + b t by least squares, with a standard error that knows of correlation.

    Parameters
    ----------
    t, y
        Abscissa (evenly spaced, increasing) and values, shape (n,) each, n >= 3.

    Raises
    ------
    DataError
        If the series are too short, of unlike length, or not finite.
    """
    times = _finite_series(t, "times")
    values = _finite_series(y, "values")
    if len(times) != len(values):
        raise DataError(f"{len(times)} times but {len(values)} values: cannot fit a slope")
    if len(times) < 3:
        raise DataError(f"a slope needs at least 3 samples, got {len(times)}")
    centered_t = times - times.mean()
    centered_y = values - values.mean()
    s_tt = float(centered_t @ centered_t)
    if s_tt == 0.0:
        raise DataError("a slope needs samples at different times")
    slope = float(centered_t @ centered_y) / s_tt
    residuals = centered_y - slope * centered_t
    g = statistical_inefficiency(residuals)
    variance = float(residuals @ residuals) / (len(times) - 2)
    return Slope(
        value=slope,
        standard_error=math.sqrt(g * variance / s_tt),
        g=g,
        n_eff=len(times) / g,
        intercept=float(values.mean()) - slope * float(times.mean()),
    )


def mean_ci(values: ArrayLike, confidence: float = 0.95) -> MeanInterval:
    """Return the mean of independent values, +- t(confidence, K - 1) s / sqrt(K).

    One value has an infinite interval: it says nothing about its own scatter.

    Raises
    ------
    DataError
        If there is no value, or one is not finite.
    """
    sample = _finite_series(values, "values")
    n = len(sample)
    if n == 0:
        raise DataError("a mean needs at least one value")
    mean = float(sample.mean())
    if n == 1:
        return MeanInterval(mean, -math.inf, math.inf, math.inf, 1)
    error = float(sample.std(ddof=1)) / math.sqrt(n)
    half_width = student_t(n - 1, confidence) * error
    return MeanInterval(mean, mean - half_width, mean + half_width, error, n)


def student_t(degrees_of_freedom: float, confidence: float = 0.95) -> float:
    """Return the two-sided quantile of Student's t (infinite without degrees of freedom)."""
    if not 0.0 < confidence < 1.0:
        raise DataError(f"a confidence must lie between 0 and 1, got {confidence}")
    if not degrees_of_freedom > 0.0:
        return math.inf
    # scipy.special loads several times faster than scipy.stats.
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, 0.5 * (1.0 + confidence)))


def gaussian_sigmas(t: float, degrees_of_freedom: float) -> float:
    """Return how many standard deviations of a Gaussian are as unlikely as Student's t.

    A few replicas make large t cheap: t = 3 with four degrees of freedom is 2.05 sigma.
    """
    from scipy.special import ndtri, stdtr

    tail = float(stdtr(degrees_of_freedom, -abs(t)))
    return -float(ndtri(tail)) if tail > 0.0 else math.inf


def abs_interval(interval: tuple[float, float]) -> tuple[float, float]:
    """Return the range of abs(x) for x in ``interval``."""
    lower, upper = sorted(interval)
    if lower <= 0.0 <= upper:
        return 0.0, max(-lower, upper)
    return min(abs(lower), abs(upper)), max(abs(lower), abs(upper))


def judge_upper(abs_ci: tuple[float, float], limit: float) -> Outcome:
    """Judge a magnitude against an upper limit by the ends of its confidence interval.

    ``pass`` if all of the interval lies within the limit, ``fail`` if all of it lies beyond,
    else ``inconclusive``: a wide interval is never a pass.
    """
    lower, upper = abs_ci
    if upper <= limit:
        return "pass"
    if lower > limit:
        return "fail"
    return "inconclusive"


def _finite_series(x: ArrayLike, what: str) -> NDArray[np.float64]:
    series = np.asarray(x, dtype=np.float64)
    if series.ndim != 1:
        raise DataError(f"the {what} must be one-dimensional, got shape {series.shape}")
    if not np.isfinite(series).all():
        raise DataError(f"the {what} hold a number that is not finite")
    return series
