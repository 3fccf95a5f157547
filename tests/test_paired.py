"""Paired statistics: intervals, exact p-values, Holm, and what they do by chance."""

from __future__ import annotations

import numpy as np
import pytest

from mlff_md.errors import DataError
from mlff_md.paired import MAX_SIGN_CHOICES, compare_pairs, holm, mean_distance
from mlff_md.statistics import mean_ci


def absolute(difference: np.ndarray) -> np.ndarray:
    return np.abs(difference)


def area(difference: np.ndarray) -> np.ndarray:
    return np.abs(difference).sum(axis=-1)


def test_same_runs_have_no_distance() -> None:
    runs = np.random.default_rng(0).normal(size=(6, 40))
    found = compare_pairs(runs, runs, area)
    assert (found.value, found.interval, found.p_same, found.chance) == (0.0, (0.0, 0.0), 1.0, 0.0)
    assert found.p_within(0.0) == 1.0


def test_interval_of_a_number_is_students() -> None:
    """Far from zero the size of a number is linear, and the jackknife gives the usual interval."""
    rng = np.random.default_rng(1)
    teacher = rng.normal(size=9)
    model = teacher + rng.normal(5.0, 0.3, size=9)
    found = compare_pairs(model, teacher, absolute)
    usual = mean_ci(model - teacher)
    assert found.value == pytest.approx(usual.mean)
    assert found.interval == pytest.approx(usual.interval)
    assert found.standard_error == pytest.approx(usual.standard_error)


@pytest.mark.parametrize("n", [4, 8])
def test_p_value_is_the_share_of_sign_choices(n: int) -> None:
    teacher = np.random.default_rng(2).normal(size=(n, 5))
    found = compare_pairs(teacher + 1.0, teacher, area)
    assert found.p_same == pytest.approx(0.5 ** (n - 1))
    assert found.chance <= 0.5 * found.value


def test_many_pairs_are_sampled_and_keep_the_identity() -> None:
    teacher = np.random.default_rng(3).normal(size=(20, 3))
    assert compare_pairs(teacher + 9.0, teacher, area).p_same == 1.0 / MAX_SIGN_CHOICES


def test_false_alarms_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(400):
        shared = rng.normal(size=(8, 12))
        model, teacher = (shared + 0.5 * rng.normal(size=(8, 12)) for _ in range(2))
        alarms += compare_pairs(model, teacher, area).p_same <= 0.05
    # 5 % of 400 are 20, with a standard deviation of 4.4.
    assert 4 <= alarms <= 34


def test_interval_covers_the_true_distance() -> None:
    rng = np.random.default_rng(5)
    true = np.linspace(0.5, 1.5, 10)
    covered = 0
    for _ in range(300):
        teacher = rng.normal(size=(8, 10))
        model = teacher + true + 0.3 * rng.normal(size=(8, 10))
        low, high = compare_pairs(model, teacher, area).interval
        covered += low <= true.sum() <= high
    assert 0.91 <= covered / 300 <= 0.985


def test_pairing_removes_what_the_runs_share() -> None:
    rng = np.random.default_rng(6)
    shared = 10.0 * rng.normal(size=(6, 4))
    found = compare_pairs(shared + 0.01 + 1e-4 * rng.normal(size=(6, 4)), shared, area)
    assert found.value == pytest.approx(0.04, rel=0.02)
    other = 10.0 * rng.normal(size=(6, 4))
    assert mean_distance(shared, other, area) > 100 * found.value


def test_probability_beyond_a_limit() -> None:
    rng = np.random.default_rng(7)
    teacher = np.zeros(8)
    found = compare_pairs(teacher + rng.normal(1.0, 0.1, size=8), teacher, absolute)
    assert found.p_within(1.5) == 1.0
    assert found.p_within(0.5) < 1e-4
    assert 0.01 < found.p_within(found.value - found.standard_error) < 0.5
    single = compare_pairs(np.ones(1), np.zeros(1), absolute)
    assert single.interval == (0.0, np.inf)
    assert single.p_within(0.5) == 1.0


def test_holm() -> None:
    # Holm's own procedure by hand: 0.01 * 4, then max with 0.02 * 3, 0.03 * 2, 0.5.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="cannot pair"):
        compare_pairs(np.ones((2, 3)), np.ones((3, 3)), area)
    with pytest.raises(DataError, match="cannot pair"):
        compare_pairs(np.ones((0, 3)), np.ones((0, 3)), area)
    with pytest.raises(DataError, match="not finite"):
        compare_pairs(np.full((2, 3), np.nan), np.ones((2, 3)), area)
