"""The shipped students: walls and no holes for every pair, and hot molecules that stay whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlff_md import StudentForceFieldCalculator, load_student, native
from mlff_md.cards import starts
from mlff_md.distill.dataset import Dataset
from mlff_md.protocols.pair_scans import scan_pairs
from mlff_md.protocols.robustness import short_range_check, stability, stability_check
from mlff_md.student import zoo

TEST_SET = Path(__file__).parents[1] / "data" / "gfn2-test.npz"

students = pytest.mark.parametrize(
    "name", [name for name in zoo.shipped() if name.startswith("gfn2-")]
)


@students
def test_every_pair_has_a_wall_and_no_hole(name: str) -> None:
    """From 0.4 Å out: energy falls to a minimum at a bond length, and is smooth from there on."""
    calculator = StudentForceFieldCalculator(name)
    cutoff_A = calculator.student.cutoff_A
    scans = scan_pairs(calculator, calculator.student.elements, stop_A=cutoff_A + 0.2, step_A=0.04)
    assert len(scans) == 66
    assert all(scan.finite for scan in scans)
    check = short_range_check(scans)
    assert check.verdict == "pass", check.summary
    for scan in scans:
        # Beyond the cutoff a diatomic feels nothing at all.
        if scan.context == "diatomic":
            beyond = scan.distances_A > cutoff_A
            assert np.ptp(scan.energies_eV[beyond]) < 1e-6
            assert np.abs(scan.forces_eV_per_A[beyond]).max() == 0.0


@pytest.mark.slow
@students
def test_force_is_the_slope_of_the_energy_along_a_bond(name: str) -> None:
    """In float64: the difference shrinks with the step of the scan; with a jump it would grow."""
    calculator = StudentForceFieldCalculator(name, dtype="float64")
    # Where atoms penetrate each other forces change within hundredths of an Å.
    for start_A, stop_A, steps_A in ((0.4, 1.6, (0.002, 0.0005)), (1.6, 5.5, (0.008, 0.002))):
        coarse, fine = (
            scan_pairs(calculator, ("H", "C"), start_A=start_A, stop_A=stop_A, step_A=step)
            for step in steps_A
        )
        for wide, narrow in zip(coarse, fine, strict=True):
            place = (wide.pair, wide.context, start_A)
            assert narrow.roughness_eV_per_A < 0.02, place
            assert narrow.roughness_eV_per_A < 0.4 * wide.roughness_eV_per_A, place


@pytest.mark.slow
@pytest.mark.skipif(not native.available(), reason="the native engine was not built")
@students
def test_hot_molecules_stay_whole(name: str) -> None:
    """20,000 steps of 0.5 fs at 600 K; every sixth of the test molecules, the small ones."""
    molecules = [atoms for atoms in starts(Dataset.load(TEST_SET)) if len(atoms) <= 16][::3]
    assert len(molecules) >= 4
    runs = stability(molecules, StudentForceFieldCalculator(load_student(name)), seed=1)
    check = stability_check(runs)
    assert check.verdict == "pass", check.summary
    assert all(run.steps_done == 20_000 for run in runs)
