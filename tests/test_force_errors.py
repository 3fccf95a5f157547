"""Errors of forces and energies on numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mlff_md.force_errors import angles_deg, cosines, force_errors, frames_hash


def test_force_errors_on_known_numbers() -> None:
    reference = np.array([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 0.0]])
    predicted = np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 0.1]])
    errors = force_errors(
        predicted,
        reference,
        np.array([2, 1]),
        np.array([5.0, 1.0]),
        np.array([1.0, 1.0]),
        np.array(["a", "b"]),
    )
    assert errors.mae_eV_per_A == pytest.approx(4.1 / 9)
    assert errors.rmse_eV_per_A == pytest.approx(np.sqrt(8.01 / 9))
    assert errors.max_eV_per_A == pytest.approx(2.0)
    assert errors.angle_deg == pytest.approx(45.0)  # the third atom has no reference force
    assert errors.r2 == pytest.approx(1 - 8.01 / (5.0 - 1.0))
    assert errors.energy_mae_meV_per_atom is None  # each molecule has only one frame


def test_direction_of_a_tiny_force_means_nothing() -> None:
    reference = np.array([[1.0, 0.0, 0.0], [0.0, 0.049, 0.0], [0.0, 0.051, 0.0]])
    predicted = np.array([[-2.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.3, 0.3, 0.0]])
    assert cosines(predicted, reference) == pytest.approx([-1.0, np.nan, np.sqrt(0.5)], nan_ok=True)
    assert angles_deg(predicted, reference) == pytest.approx([180.0, np.nan, 45.0], nan_ok=True)
    none = force_errors(predicted[1:2], reference[1:2], np.array([1]))
    assert none.angle_deg is None


def test_energies_are_compared_within_each_molecule() -> None:
    """A constant for each molecule is removed; a molecule's only frame says nothing."""
    forces = np.ones((6, 3)) * np.arange(6)[:, None]
    counts = np.array([2, 2, 2])
    teacher = np.array([-10.0, -10.5, -99.0])
    errors = force_errors(
        forces,
        forces,
        counts,
        np.add(teacher, [5.001, 5.003, 7.0]),
        teacher,
        np.array(["a", "a", "b"]),
    )
    # 1 meV either way, of two atoms.
    assert errors.energy_mae_meV_per_atom == pytest.approx(0.5)
    alone = force_errors(forces, forces, counts, teacher, teacher, np.array(["a", "b", "c"]))
    assert alone.energy_mae_meV_per_atom is None


def test_hash_of_frames_is_that_of_their_single_precision() -> None:
    numbers, counts = np.array([1, 8]), np.array([2])
    positions = np.array([[0.1, 0.2, 0.3], [1.0, 1.1, 1.2]])
    forces = np.array([[0.5, -0.5, 0.25], [1e-3, 2e-3, 3e-3]])
    whole = frames_hash(numbers, positions, forces, counts)
    single = [array.astype(np.float32) for array in (positions, forces)]
    assert frames_hash(numbers.astype(np.uint8), *single, counts.astype(np.int32)) == whole
    assert frames_hash(numbers, positions + 1e-3, forces, counts) != whole
    assert frames_hash(numbers[::-1], positions, forces, counts) != whole
