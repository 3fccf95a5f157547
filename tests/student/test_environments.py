"""How unusual the surroundings of an atom are: distances from what training saw."""

from __future__ import annotations

import numpy as np
import pytest

from mlff_md.student.environments import Environments

WIDTH = 4


def fitted() -> Environments:
    """An element of 4000 atoms that spread by 1 each way, and one of two atoms on a line."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(4000, WIDTH))
    rare = np.array([[10.5, 0.0, 0.0, 0.0], [9.5, 0.0, 0.0, 0.0]])
    return Environments.fit(
        np.repeat([0, 1], [4000, 2]),
        np.concatenate([common, rare]),
        np.zeros(4002),
        np.repeat(np.arange(2001), 2),
        num_species=3,
        quantile=0.99,
    )


def test_distances_are_in_standard_deviations_for_each_feature() -> None:
    away = np.array([[3.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    found = fitted().unusual(np.array([0, 0]), away)
    assert found == pytest.approx([3.0 / np.sqrt(WIDTH), 1.0], rel=0.05)


def test_a_rare_element_takes_the_spread_of_the_others() -> None:
    """Its own two atoms say nothing about the directions in which they do not differ."""
    (found,) = fitted().unusual(np.array([1]), np.array([[10.0, 3.0, 0.0, 0.0]]))
    assert 3.0 / np.sqrt(WIDTH) < found < 3.0 * 3.0 / np.sqrt(WIDTH)


def test_an_element_that_was_not_there_is_infinitely_unusual() -> None:
    assert fitted().unusual(np.array([2]), np.zeros((1, WIDTH)))[0] == np.inf


def test_the_limit_holds_for_the_quantile_of_the_frames() -> None:
    """99 % of the frames lie within it with both of their atoms."""
    rng = np.random.default_rng(1)
    environments = fitted()
    atoms = environments.unusual(np.zeros(8000, int), rng.normal(size=(8000, WIDTH)))
    within = (atoms.reshape(-1, 2).max(axis=1) <= environments.limit).mean()
    assert within == pytest.approx(0.99, abs=0.007)
