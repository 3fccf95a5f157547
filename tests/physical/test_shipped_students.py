"""The shipped students: accuracy as their cards say, exact gradients, the teacher's geometries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlff_md import StudentForceFieldCalculator, load_student, read_structure, relax, validate_nve
from mlff_md.distill.accuracy import measure
from mlff_md.distill.dataset import Dataset
from mlff_md.engines import ENGINES, make_engine
from mlff_md.student import zoo

ROOT = Path(__file__).parents[2]
STRUCTURES = ROOT / "inputs" / "structures"
MINIMUM_R2 = {"original": 0.9985, "tiny": 0.997, "ultra-tiny": 0.994}
"""Acceptance criteria."""

SAME_WEIGHTS = tuple(name for name in ENGINES if name not in ("onnx-int8", "aoti"))
"""The former has weights of its own, the latter compiles for minutes."""

students = pytest.mark.parametrize("name", [zoo.ALIASES[size] for size in MINIMUM_R2])


def test_students_are_shipped() -> None:
    assert {zoo.ALIASES[size] for size in MINIMUM_R2} <= set(zoo.shipped())


@pytest.mark.slow
@students
def test_accuracy_on_held_out_molecules(name: str) -> None:
    student = load_student(name)
    dataset = Dataset.load(ROOT / "tests" / "data" / "gfn2-test.npz")
    errors = measure(make_engine(student), dataset)
    claimed = student.manifest.accuracy["test"]["all"]
    assert errors.num_frames == claimed["num_frames"] == len(dataset)
    assert errors.r2 == pytest.approx(claimed["r2"], abs=1e-5)
    assert errors.mae_eV_per_A == pytest.approx(claimed["mae_eV_per_A"], rel=1e-3)
    assert errors.angle_deg == pytest.approx(claimed["angle_deg"], rel=1e-3)
    size = {full: alias for alias, full in zoo.ALIASES.items()}[name]
    assert errors.r2 >= MINIMUM_R2[size]


@students
def test_forces_are_the_gradient(name: str) -> None:
    """Central differences over a scan of the step: 1e-6 relative at the best one in float64."""
    atoms = read_structure(STRUCTURES / "aspirin.xyz")
    atoms.rattle(0.05, seed=0)
    atoms.calc = StudentForceFieldCalculator(name, dtype="float64")
    direction = np.random.default_rng(0).normal(size=atoms.positions.shape)
    exact = -np.sum(atoms.get_forces() * direction)
    start = atoms.positions.copy()
    errors = []
    for step in (1e-2, 1e-3, 1e-4, 1e-5):
        energies = []
        for sign in (1.0, -1.0):
            atoms.positions = start + sign * step * direction
            energies.append(atoms.get_potential_energy())
        errors.append(abs((energies[0] - energies[1]) / (2 * step) / exact - 1.0))
    assert min(errors) < 1e-6
    # Second order: the error falls by a hundred for a step ten times smaller.
    assert 30 < errors[0] / errors[1] < 300


@students
def test_engines_agree_on_real_molecules(name: str) -> None:
    student = load_student(name)
    for path in ("aspirin.xyz", "caffeine.xyz", "sulfadiazine.xyz"):
        atoms = read_structure(STRUCTURES / path)
        atoms.rattle(0.05, seed=0)
        reference = StudentForceFieldCalculator(student, engine="torch", dtype="float64")
        expected = reference.get_property("forces", atoms)
        for engine in SAME_WEIGHTS:
            calculator = StudentForceFieldCalculator(student, engine=engine)
            assert np.abs(calculator.get_property("forces", atoms) - expected).max() <= 1e-5


@students
def test_relaxed_geometry_is_the_teachers(name: str) -> None:
    """The shipped structures are GFN2-xTB minima: the student's are close by."""
    calculator = StudentForceFieldCalculator(name)
    for path in ("ethanol.xyz", "benzene.xyz", "aspirin.xyz"):
        atoms = read_structure(STRUCTURES / path)
        moved = relax(atoms, calculator).get_all_distances() - atoms.get_all_distances()
        bonds = (atoms.get_all_distances() < 1.6) & ~np.eye(len(atoms), dtype=bool)
        assert np.abs(moved[bonds]).max() < 0.03


@pytest.mark.slow
@students
@pytest.mark.parametrize("molecule", ["aspirin", "sulfadiazine"])
def test_passes_the_nve_protocol(name: str, molecule: str) -> None:
    atoms = read_structure(STRUCTURES / f"{molecule}.xyz")
    report = validate_nve(atoms, StudentForceFieldCalculator(name), replicas=3, steps=2000)
    verdicts = {check.id: check.verdict for check in report.checks}
    assert verdicts["drift"] == "pass", report.checks
    assert verdicts["drift_per_100_steps"] == "pass"
    assert verdicts["stability"] == "pass"
