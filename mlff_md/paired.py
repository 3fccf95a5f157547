r"""Comparing two force fields by pairs of runs that begin in the same state.

Each run k is reduced to an array, such as the cumulative distribution of each bond length, for the
model :math:`x_k` and for the teacher :math:`y_k`. What differs between the force fields is

.. math:: \theta = \lVert \tfrac{1}{K} \sum_k (x_k - y_k) \rVert

with a norm that gives the field's name for it: the integral of the absolute difference of
cumulative distributions is the Wasserstein distance. Whatever the two runs share, the start and
much of what follows from it, cancels in the pair.

- Its interval is the jackknife's over pairs with Student's t. (A bootstrap repeats
  pairs, which adds noise to a norm and biases it upwards; with five to ten pairs that shows.)
- Whether there is a difference at all is an exact question: if the two force fields were the
  same, the model's run and the teacher's run of a pair could change names, so the sign of each
  :math:`x_k - y_k` would be a coin's. The share of the :math:`2^{K-1}` distinct choices of
  signs whose distance is as large as the one found is the p-value.
- Whether the difference matters is judged against a margin: the whole interval within it is
  equivalence, the whole interval beyond is a difference, anything else is undecided.

References
----------
Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 11 and 15;
Schuirmann, J. Pharmacokinet. Biopharm. 15, 657 (1987) (equivalence);
Holm, Scand. J. Stat. 6, 65 (1979).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import DataError
from mlff_md.statistics import student_t

Array = NDArray[np.floating]
Norm = Callable[[Array], Array]
"""Maps differences (..., *shape of a run's array) to sizes (...), never negative."""

MAX_SIGN_CHOICES = 1024
_CHUNK = 64


@dataclass(frozen=True)
class PairedDistance:
    """How far two force fields are apart in one observable.

    Attributes
    ----------
    value
        Size of the mean difference.
    standard_error, interval
        Jackknife over pairs; 95 % interval by Student's t, cut at zero.
    p_same
        Probability of a distance this large if the force fields were the same.
    chance
        Median distance over the choices of signs: what is found where nothing differs.
    n_pairs
        Number of pairs.
    """

    value: float
    standard_error: float
    interval: tuple[float, float]
    p_same: float
    chance: float
    n_pairs: int

    def p_within(self, limit: float) -> float:
        """Return the probability of a distance this large if the true one were at the limit.

        One-sided Student t; 1 where a single pair has no error.
        """
        if self.n_pairs < 2 or self.value <= limit:
            return 1.0
        if self.standard_error == 0.0:
            return 0.0
        from scipy.special import stdtr

        t = (self.value - limit) / self.standard_error
        return float(stdtr(self.n_pairs - 1, -t))


def compare_pairs(model: Array, teacher: Array, norm: Norm) -> PairedDistance:
    """Return the distance between two sets of runs, paired along the first axis.

    Parameters
    ----------
    model, teacher
        (K, ...), row k of both from the same start.
    norm
        Size of a difference.

    Raises
    ------
    DataError
        If there is no pair, the arrays are unlike, or a number is not finite.
    """
    model, teacher = np.asarray(model, dtype=float), np.asarray(teacher, dtype=float)
    if model.shape != teacher.shape or len(model) == 0:
        raise DataError(f"cannot pair arrays of shape {model.shape} and {teacher.shape}")
    differences = model - teacher
    if not np.isfinite(differences).all():
        raise DataError("the runs to compare hold a number that is not finite")
    n = len(differences)
    value = float(norm(differences.mean(axis=0)))
    error = _jackknife_error(differences, norm)
    half_width = student_t(n - 1) * error if error > 0.0 or n < 2 else 0.0
    by_chance = _sizes_by_sign(differences, norm)
    # Rounding must not make the identity, which is among the choices, larger than itself.
    as_large = by_chance >= value * (1.0 - 1e-9)
    return PairedDistance(
        value=value,
        standard_error=error,
        interval=(max(0.0, value - half_width), value + half_width),
        p_same=float(as_large.mean()),
        chance=float(np.median(by_chance)),
        n_pairs=n,
    )


def mean_distance(first: Array, second: Array, norm: Norm) -> float:
    """Return the distance between the means of two sets of runs that are not paired."""
    return float(norm(np.mean(first, axis=0) - np.mean(second, axis=0)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's step-down method, in the order given.

    Judging each adjusted value at 5 % keeps the chance of any false alarm among them below 5 %.
    """
    order = np.argsort(p_values)
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(p_values) - rank) * float(p_values[index]))
        adjusted[index] = min(1.0, running)
    return adjusted


def _jackknife_error(differences: Array, norm: Norm) -> float:
    n = len(differences)
    if n < 2:
        return math.inf
    without = (differences.sum(axis=0) - differences) / (n - 1)
    sizes = norm(without)
    return math.sqrt((n - 1) / n * float(np.sum((sizes - sizes.mean()) ** 2)))


def _sizes_by_sign(differences: Array, norm: Norm) -> Array:
    """Return the distance for every choice of signs, or a seeded sample if there are many.

    Turning all signs leaves a size as it is, so that the first sign can stay; the choice that
    turns none is always among them.
    """
    n = len(differences)
    if 2 ** (n - 1) <= MAX_SIGN_CHOICES:
        rest = itertools.product((1.0, -1.0), repeat=n - 1)
        signs = np.array([(1.0, *choice) for choice in rest])
    else:
        rng = np.random.default_rng(0)
        signs = rng.choice((1.0, -1.0), size=(MAX_SIGN_CHOICES, n))
        signs[0] = 1.0
    flat = differences.reshape(n, -1)
    sizes = [
        norm((part @ flat / n).reshape(len(part), *differences.shape[1:]))
        for part in np.split(signs, range(_CHUNK, len(signs), _CHUNK))
    ]
    return np.concatenate(sizes)
