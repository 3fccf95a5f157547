"""The radial functions and the splines that stand for them."""

from __future__ import annotations

import numpy as np
import pytest

from mlff_md.student import Architecture
from mlff_md.student.radial import radial_basis, radial_splines

SHAPE = Architecture(num_rbf=12, num_knots=192)
START = 0.4


def evaluate(coefficients: np.ndarray, r: np.ndarray, order: int = 0) -> np.ndarray:
    """Value or derivative of the splines at distances."""
    intervals = len(coefficients)
    step = (SHAPE.cutoff_A - START) / intervals
    place = (r - START) / step
    k = np.clip(place.astype(int), 0, intervals - 1)
    t = (place - k)[:, None]
    a, b, c, d = np.moveaxis(coefficients[k], 1, 0)
    if order == 0:
        return a + t * (b + t * (c + t * d))
    if order == 1:
        return (b + t * (2 * c + 3 * t * d)) / step
    return (2 * c + 6 * t * d) / step**2


def test_derivative_of_the_basis() -> None:
    r = np.linspace(0.5, 4.9, 50)
    step = 1e-6
    _, slope = radial_basis(r, 12, 5.0)
    high, _ = radial_basis(r + step, 12, 5.0)
    low, _ = radial_basis(r - step, 12, 5.0)
    np.testing.assert_allclose(slope, (high - low) / (2 * step), atol=2e-8)


def test_basis_vanishes_smoothly_at_the_cutoff() -> None:
    value, slope = radial_basis(np.array([5.0 - 1e-4, 5.0]), 12, 5.0)
    assert np.abs(value[0]).max() < 1e-11
    assert np.abs(value[1]).max() == np.abs(slope[1]).max() == 0.0


def test_splines_interpolate_with_exact_slopes_at_the_ends() -> None:
    coefficients = radial_splines(SHAPE, START)
    grid = np.linspace(START, 5.0, 192)
    value, slope = radial_basis(grid, 12, 5.0)
    np.testing.assert_allclose(evaluate(coefficients, grid), value, atol=1e-12)
    np.testing.assert_allclose(evaluate(coefficients, grid[[0, -1]], 1), slope[[0, -1]], atol=1e-9)


@pytest.mark.parametrize(("order", "tolerance"), [(0, 1e-12), (1, 1e-10), (2, 1e-8)])
def test_splines_are_twice_continuously_differentiable(order: int, tolerance: float) -> None:
    coefficients = radial_splines(SHAPE, START)
    step = (SHAPE.cutoff_A - START) / 191
    left = {0: coefficients.sum(1), 1: None, 2: None}
    left[1] = (coefficients * np.array([0, 1, 2, 3])[:, None]).sum(1) / step
    left[2] = (coefficients * np.array([0, 0, 2, 6])[:, None]).sum(1) / step**2
    factor = (1.0, 1.0 / step, 2.0 / step**2)[order]
    np.testing.assert_allclose(
        left[order][:-1], coefficients[1:, order] * factor, atol=tolerance / step**order
    )


def test_splines_are_close_to_the_functions_and_converge() -> None:
    r = np.linspace(START, 5.0, 5001)
    value, slope = radial_basis(r, 12, 5.0)
    coefficients = radial_splines(SHAPE, START)
    assert np.abs(evaluate(coefficients, r) - value).max() < 1e-4
    assert np.abs(evaluate(coefficients, r, 1) - slope).max() < 2e-2
    errors = []
    for knots in (96, 192, 384):
        fine = radial_splines(Architecture(num_rbf=12, num_knots=knots), START)
        errors.append(np.abs(evaluate(fine, r)[100:-100] - value[100:-100]).max())
    assert np.all(np.log2(np.array(errors[:-1]) / errors[1:]) > 3.5)  # fourth order
