r"""Radial basis of the students: Bessel functions under an envelope, as cubic splines. No torch.

.. math::  b_0(r) = f(r / r_c), \qquad b_k(r) = 1.5\,\frac{\sin(k \pi r / r_c)}{r}\,f(r / r_c)

(Gasteiger et al., ICLR 2020, arXiv:2003.03123) with the polynomial envelope ``f`` of order 6. What
a student evaluates is the cubic spline that interpolates them on a uniform grid, with their exact
slopes at both ends: twice continuously differentiable, and within 1e-3 eV/Å of the functions
themselves in the forces. The splines are part of the model and not an approximation of one engine,
so that engines that tabulate their filters agree with those that do not, to rounding.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlff_md.student.architecture import Architecture

BASIS_SCALE = 1.5
"""Factor of the Bessel functions (1/Å): gives filters of order one at initialisation."""

Array = npt.NDArray[np.float64]


def radial_basis(r: Array, num_rbf: int, cutoff_A: float) -> tuple[Array, Array]:
    """Return the basis and its derivative, [..., K + 1], the envelope last.

    Parameters
    ----------
    r
        Distances, Å, at most the cutoff.
    num_rbf, cutoff_A
        As in :class:`mlff_md.student.Architecture`.
    """
    x = (r / cutoff_A)[..., None]
    envelope = 1.0 + x**6 * (x * (48.0 - 21.0 * x) - 28.0)
    slope = -168.0 / cutoff_A * x**5 * (1.0 - x) ** 2
    frequency = np.arange(1, num_rbf + 1) * np.pi / cutoff_A
    wave = BASIS_SCALE * np.sin(frequency * r[..., None]) / r[..., None]
    wave_slope = (BASIS_SCALE * frequency * np.cos(frequency * r[..., None]) - wave) / r[..., None]
    return (
        np.concatenate([wave * envelope, envelope], -1),
        np.concatenate([wave_slope * envelope + wave * slope, slope], -1),
    )


def radial_splines(shape: Architecture, start_A: float) -> Array:
    """Return the coefficients of 1, t, t^2, t^3 on each interval, [knots - 1, 4, K + 1].

    ``t`` runs from 0 to 1 over an interval; the first begins at ``start_A``, the last ends at the
    cutoff.
    """
    knots = shape.num_knots
    grid = np.linspace(start_A, shape.cutoff_A, knots)
    step = (shape.cutoff_A - start_A) / (knots - 1)
    value, slope = radial_basis(grid, shape.num_rbf, shape.cutoff_A)
    # Slopes at the knots, times the step, that make the second derivative continuous.
    matrix = np.diag(np.full(knots, 4.0)) + np.eye(knots, k=1) + np.eye(knots, k=-1)
    matrix[0, :2], matrix[-1, -2:] = (1.0, 0.0), (0.0, 1.0)
    right = np.empty_like(value)
    right[1:-1] = 3.0 * (value[2:] - value[:-2])
    right[0], right[-1] = step * slope[0], step * slope[-1]
    m = np.linalg.solve(matrix, right)
    rise = value[1:] - value[:-1]
    return np.stack(
        [value[:-1], m[:-1], 3.0 * rise - 2.0 * m[:-1] - m[1:], m[:-1] + m[1:] - 2.0 * rise], 1
    )
