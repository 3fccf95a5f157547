"""Statistics against pymbar, scipy and series whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlff_md.errors import DataError
from mlff_md.statistics import (
    Slope,
    abs_interval,
    gaussian_sigmas,
    judge_upper,
    mean_ci,
    ols_slope,
    statistical_inefficiency,
    student_t,
)


def autoregressive(n: int, memory: float, seed: int) -> np.ndarray:
    """AR(1) series, whose statistical inefficiency is (1 + a) / (1 - a)."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(n)
    series = np.empty(n)
    series[0] = noise[0] / math.sqrt(1.0 - memory**2)
    for k in range(1, n):
        series[k] = memory * series[k - 1] + noise[k]
    return series


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_inefficiency_of_an_autoregressive_series(memory: float) -> None:
    estimates = [statistical_inefficiency(autoregressive(8000, memory, s)) for s in range(8)]
    assert np.mean(estimates) == pytest.approx((1.0 + memory) / (1.0 - memory), rel=0.12)


def test_inefficiency_agrees_with_pymbar() -> None:
    timeseries = pytest.importorskip("pymbar.timeseries")
    swing = np.cos(np.arange(700) * 0.31) + 0.1 * autoregressive(700, 0.5, 3)
    for series in (autoregressive(900, 0.8, 1), autoregressive(901, 0.0, 2), swing):
        expected = timeseries.statistical_inefficiency(series)
        assert statistical_inefficiency(series) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("series", [np.full(50, 0.1), [1.0, 2.0], [], np.zeros(10)])
def test_inefficiency_of_what_cannot_correlate_is_one(series: list[float]) -> None:
    assert statistical_inefficiency(series) == 1.0


def test_inefficiency_ignores_offset_and_scale() -> None:
    series = autoregressive(500, 0.7, 4)
    reference = statistical_inefficiency(series)
    assert statistical_inefficiency(1e3 - 1e-3 * series) == pytest.approx(reference, rel=1e-6)


@given(st.floats(-5, 5), st.floats(-100, 100), st.integers(3, 60))
def test_slope_of_a_line_is_exact(slope: float, offset: float, n: int) -> None:
    t = np.linspace(0.0, 2.0, n)
    fit = ols_slope(t, offset + slope * t)
    assert fit.value == pytest.approx(slope, abs=1e-10)
    assert fit.intercept == pytest.approx(offset, abs=1e-10)
    assert fit.standard_error <= 1e-10


def test_slope_error_of_white_noise_is_that_of_least_squares() -> None:
    from scipy.stats import linregress

    rng = np.random.default_rng(0)
    t = np.arange(400) * 0.5
    y = rng.standard_normal(400)
    fit, reference = ols_slope(t, y), linregress(t, y)
    assert fit.value == pytest.approx(reference.slope)
    assert fit.standard_error == pytest.approx(reference.stderr * math.sqrt(fit.g))


def test_slope_interval_of_correlated_noise_covers_the_truth() -> None:
    t = np.arange(1500.0)
    covered = naive = 0
    for seed in range(60):
        fit = ols_slope(t, autoregressive(1500, 0.9, seed))
        low, high = fit.interval()
        covered += low <= 0.0 <= high
        naive += abs(fit.value) <= 1.96 * fit.standard_error / math.sqrt(fit.g)
    assert covered >= 51
    assert naive < 40  # without g the interval is an illusion


def test_slope_of_too_few_independent_samples_says_nothing() -> None:
    assert Slope(1.0, 0.1, 20.0, 1.5, 0.0).interval() == (-math.inf, math.inf)
    assert Slope(1.0, 0.0, 20.0, 1.5, 0.0).interval() == (-math.inf, math.inf)
    low, high = Slope(1.0, 0.1, 20.0, 6.0, 0.0).interval()
    assert (high - low) / 2.0 == pytest.approx(0.1 * 2.776445)


def test_mean_interval_agrees_with_scipy() -> None:
    from scipy import stats

    values = [1.0, 2.5, 0.5, 1.7, 2.0]
    ours = mean_ci(values)
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert ours.interval == pytest.approx(expected)
    assert ours.n == 5


def test_mean_of_one_value_has_no_end() -> None:
    assert mean_ci([3.0]).interval == (-math.inf, math.inf)


def test_student_t_values() -> None:
    assert student_t(4) == pytest.approx(2.776445, rel=1e-6)
    assert student_t(0.0) == math.inf
    assert gaussian_sigmas(3.0, 4) == pytest.approx(2.0526, rel=1e-3)
    assert gaussian_sigmas(3.0, 1e6) == pytest.approx(3.0, rel=1e-4)
    assert gaussian_sigmas(math.inf, 4) == math.inf


@given(st.floats(-10, 10), st.floats(0, 5), st.floats(0, 1))
def test_abs_interval_holds_every_magnitude(center: float, width: float, place: float) -> None:
    low, high = center - width, center + width
    x = low + place * (high - low)
    small, large = abs_interval((low, high))
    assert small - 1e-12 <= abs(x) <= large + 1e-12
    assert (small == 0.0) == (low <= 0.0 <= high)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.0, 1.0), "pass"),
        ((0.0, 1.0 + 1e-9), "inconclusive"),
        ((1.1, 2.0), "fail"),
        ((0.0, math.inf), "inconclusive"),
        ((math.nan, math.nan), "inconclusive"),
    ],
)
def test_verdict_by_the_ends_of_the_interval(interval: tuple[float, float], verdict: str) -> None:
    assert judge_upper(interval, 1.0) == verdict


@pytest.mark.parametrize(
    "call",
    [
        lambda: statistical_inefficiency([1.0, math.nan, 2.0]),
        lambda: statistical_inefficiency(np.zeros((2, 2))),
        lambda: ols_slope([0.0, 1.0], [0.0, 1.0]),
        lambda: ols_slope([0.0, 1.0, 2.0], [0.0, 1.0]),
        lambda: ols_slope([1.0, 1.0, 1.0], [0.0, 1.0, 2.0]),
        lambda: mean_ci([]),
        lambda: student_t(3, 1.5),
    ],
)
def test_bad_series_are_told_in_one_line(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_numbers_whose_squares_overflow() -> None:
    series = np.random.default_rng(0).normal(size=200).cumsum()
    assert statistical_inefficiency(1e305 * series) == pytest.approx(
        statistical_inefficiency(series), rel=1e-9
    )
