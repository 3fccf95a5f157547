"""Comparison of real force fields: shipped students, GFN2-xTB, Stillinger-Weber in LAMMPS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlff_md import StudentForceFieldCalculator, read_structure, teacher
from mlff_md.errors import MissingDependencyError
from mlff_md.protocols.compare import QUICK, analyze, compare, run
from mlff_md.protocols.defects import with_defect
from mlff_md.protocols.records import Report

STRUCTURES = Path(__file__).parents[2] / "inputs" / "structures"
SW = "lammps:pair_style sw; pair_coeff * * Si.sw Si"
TERSOFF = "lammps:pair_style tersoff; pair_coeff * * Si.tersoff Si"


def verdicts(report: Report) -> dict[str, str]:
    return {check.id: check.verdict for check in report.checks}


def student(name: str) -> StudentForceFieldCalculator:
    return StudentForceFieldCalculator(name)


def made(spec: str) -> Any:
    """A teacher, or a skip where its program is not installed."""
    try:
        return teacher(spec)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_quantised_weights_are_seen_here_and_nowhere_else(tmp_path: Path) -> None:
    """A potential that is 2 % off but conservative: only the comparison can see it."""
    atoms = read_structure(STRUCTURES / "ethanol.xyz")
    tiny = student("tiny")
    raw = run(atoms, with_defect("quantised_weights", student("tiny")), tiny, tmp_path / "off")
    found = verdicts(analyze(raw))
    assert found["vibrational_shift"] == "fail"
    shift = {q.id: q.value for q in analyze(raw).quantities}
    # The square root of 1.02, of about 3000 and 1300 cm^-1.
    assert shift["band_shift_x-h"] == pytest.approx(30.0, abs=4.0)
    assert shift["band_shift_fingerprint"] == pytest.approx(13.0, abs=4.0)


@pytest.mark.slow
def test_students_of_one_teacher_agree(tmp_path: Path) -> None:
    atoms = read_structure(STRUCTURES / "ethanol.xyz")
    report = compare(atoms, student("ultra-tiny"), student("tiny"), out=tmp_path)
    assert "fail" not in verdicts(report).values(), verdicts(report)
    assert verdicts(report)["vibrational_shift"] == "pass"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "ultra-tiny"])
def test_students_against_gfn2_xtb(name: str) -> None:
    atoms = read_structure(STRUCTURES / "ethanol.xyz")
    report = compare(atoms, student(name), made("gfn2-xtb"), **QUICK)
    found = verdicts(report)
    assert "fail" not in found.values(), found
    for id in ("survival", "on_policy_force_error", "teacher_frames_force_error", "bonds"):
        assert found[id] == "pass", id
    assert report.provenance["held_out"]["part"] == "300 K"


@pytest.mark.lammps
@pytest.mark.parametrize(("spec", "same"), [(SW, True), (TERSOFF, False)], ids=["sw", "tersoff"])
def test_silicon(spec: str, same: bool) -> None:
    """Stillinger-Weber equals itself; Tersoff's silicon is stiffer and is told from it."""
    atoms = bulk("Si", cubic=True) * (2, 2, 2)
    options: dict[str, Any] = {**QUICK, "timestep_fs": 2.0, "temperature_K": 600.0}
    report = compare(atoms, made(spec), made(SW), **options)
    found = verdicts(report)
    assert set(found) >= {"rdf", "msd", "vibrational_scale"}
    if same:
        assert set(found.values()) == {"pass"}, found
    else:
        assert "fail" in found.values(), found


@pytest.mark.slow
def test_a_liquid_of_molecules() -> None:
    """Water: bonds within molecules that cross the cell, g(r), and displacement."""
    atoms: Atoms = read_structure(STRUCTURES / "water-box-64.xyz")
    options: dict[str, Any] = {**QUICK, "steps": 120, "replicas": 3, "kicked_replicas": 0}
    options |= {"floor_replicas": 1, "relax_first": False, "equilibration_fs": 20.0}
    report = compare(atoms, student("tiny"), student("tiny"), **options)
    found = verdicts(report)
    assert {"bonds", "angles", "rdf", "msd", "vibrational_shift"} <= set(found)
    assert found["bonds"] == found["rdf"] == "pass"
    names = {figure.id for figure in report.figures}
    assert {"rdf_H_H", "rdf_H_O", "rdf_O_O", "msd"} <= names
    assert all(np.isfinite(check.value) for check in report.checks if check.value is not None)
