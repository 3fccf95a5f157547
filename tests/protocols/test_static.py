"""The static protocol: sound calculators pass, and each number is what it should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.errors import ConfigError, DataError
from mlff_md.protocols import static, static_cutoff
from mlff_md.protocols.defects import with_defect
from mlff_md.protocols.defects.wrappers import PairTerm, attraction
from mlff_md.protocols.records import Report
from mlff_md.protocols.static import analyze, run, validate_static
from mlff_md.protocols.static_evaluate import Evaluator, representable_in_float32
from mlff_md.protocols.static_scans import level_of
from mlff_md.protocols.thresholds import with_overrides

from .outcome import checks
from .toys import ElasticNetwork, NotANumberAfter, Vortex, Wind, small_molecule

CHECKS = (
    "force_gradient",
    "jacobian_symmetry",
    "force_noise",
    "net_force",
    "net_torque",
    "invariance",
    "cutoff_energy_step",
    "cutoff_force_step",
    "repeatability",
)


def test_sound_calculator_in_float64_is_held_to_float64() -> None:
    report = validate_static(small_molecule(), EMT(), mode="quick")
    found = checks(report)
    assert tuple(found) == CHECKS
    assert report.verdict == "pass", {name: check.summary for name, check in found.items()}
    for check in found.values():
        assert check.details["judged_as"] == "float64"
        assert check.threshold is not None
        assert check.source == check.threshold.source
        assert len(check.source) > 20
        assert len(check.blind_to) > 20
    assert found["force_gradient"].value < 1e-8
    assert found["repeatability"].details["bitwise"]


def test_periodic_structure_has_a_virial_and_no_torque() -> None:
    copper = bulk("Cu", cubic=True)
    found = checks(validate_static(copper, EMT(), mode="quick"))
    assert "net_torque" not in found
    assert found["virial_gradient"].verdict == "pass"
    assert found["virial_gradient"].value < 1e-7
    names = {row["name"] for row in found["invariance"].details["operations"]}
    assert {"images of atoms", "doubled cell", "permutation", "reflection"} <= names


def test_shipped_student_passes_and_says_its_arithmetic() -> None:
    ethanol = molecule("CH3CH2OH")
    for dtype in ("float32", "float64"):
        calculator = StudentForceFieldCalculator("ultra-tiny", dtype=dtype)
        report = validate_static(ethanol, calculator, mode="quick")
        assert report.verdict == "pass", [(c.id, c.summary) for c in report.checks]
        assert {check.details["judged_as"] for check in report.checks} == {dtype}


def test_analysis_repeats_and_other_limits_judge_anew(tmp_path: Path) -> None:
    atoms = small_molecule()
    raw = run(atoms, ElasticNetwork(atoms), tmp_path, mode="quick")
    report = analyze(raw)
    assert analyze(tmp_path).to_json() == report.to_json()
    assert Report.from_json(report.to_json()).to_json() == report.to_json()
    strict = with_overrides({"force_gradient_float64": 1e-20})
    assert checks(analyze(raw, strict))["force_gradient"].verdict == "fail"
    with pytest.raises(ConfigError, match="already holds a run"):
        run(atoms, ElasticNetwork(atoms), tmp_path, mode="quick")
    (raw / "static.npz").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match="damaged"):
        analyze(raw)
    (raw / "static.npz").unlink()
    with pytest.raises(DataError, match="missing"):
        analyze(raw)
    with pytest.raises(ConfigError, match="mode must be one of"):
        run(atoms, ElasticNetwork(atoms), tmp_path, mode="fast", overwrite=True)


def test_wind_and_vortex_are_seen_by_balance() -> None:
    atoms = small_molecule()
    wind = checks(validate_static(atoms, Wind(atoms), mode="quick"))
    assert wind["net_force"].verdict == "fail"
    assert wind["invariance"].verdict == "fail"
    vortex = checks(validate_static(atoms, Vortex(atoms), mode="quick"))
    assert vortex["net_torque"].verdict == "fail"
    assert vortex["jacobian_symmetry"].verdict == "fail"


def test_calculator_that_breaks_down_leaves_checks_undecided() -> None:
    atoms = small_molecule()
    report = validate_static(atoms, NotANumberAfter(atoms, calls=30), mode="quick")
    check = checks(report)["force_gradient"]
    assert (check.verdict, check.value) == ("inconclusive", None)
    assert "not finite" in check.summary
    assert report.verdict == "inconclusive"


class Nothing(Calculator):
    """Atoms that do not feel each other."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms, properties=("energy",), system_changes=()):  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}


@pytest.mark.parametrize(
    ("atoms", "calculator"),
    [(bulk("Cu", cubic=True), Nothing()), (bulk("Cu"), EMT()), (Atoms("Cu"), EMT())],
    ids=["no interaction", "one atom in a cell", "one atom"],
)
def test_without_forces_nothing_is_judged_by_them(atoms: Atoms, calculator: Calculator) -> None:
    """Of one atom in a cell they are rounding, and rounding is as large as rounding."""
    report = validate_static(atoms, calculator, mode="quick")
    assert report.verdict == "inconclusive"
    for check in report.checks:
        if check.id not in ("virial_gradient", "cutoff_energy_step"):
            assert (check.verdict, check.value) == ("inconclusive", None)
            assert check.summary.startswith("no force to compare with")
    assert Report.from_json(report.to_json()).to_json() == report.to_json()


class Boxed(EMT):
    """Takes an atom far outside of the cell for another one than its image inside."""

    def calculate(self, atoms=None, *args, **keywords):  # type: ignore[no-untyped-def]
        super().calculate(atoms, *args, **keywords)
        outside = np.abs(atoms.cell.scaled_positions(atoms.positions) - 0.5) > 1.0
        self.results["free_energy"] += float(outside.sum())


def test_atoms_that_are_taken_for_others_than_their_images_are_seen() -> None:
    check = checks(validate_static(bulk("Cu", cubic=True), Boxed(), mode="quick"))["invariance"]
    change = {row["name"]: row["energy_change_per_atom_A"] for row in check.details["operations"]}
    assert check.verdict == "fail"
    assert change.pop("images of atoms") > 0.1
    assert max(change.values()) < 1e-8


@pytest.mark.parametrize("shifted", [False, True])
def test_step_is_found_where_it_is_with_its_size(shifted: bool) -> None:
    dimer = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 4.1]])

    calculator = PairTerm(Nothing(), 4.2, attraction(4.2, 2e-3, shifted=shifted))
    found = static_cutoff.cutoff(Evaluator(calculator), dimer, points=100, candidates=1)
    stretched = [k for k, path in enumerate(found["step_path"]) if path == "stretch"]
    k = max(stretched, key=lambda k: found["force_step_eV_per_A"][k])
    assert found["step_at"][k] * 4.1 == pytest.approx(4.2, abs=1e-4)
    assert found["force_step_eV_per_A"][k] == pytest.approx(6 * 2e-3 / 4.2, rel=1e-3)
    assert found["energy_step_eV"][k] == pytest.approx(0.0 if shifted else 2e-3, abs=1e-7)


def test_a_cutoff_between_two_shells_of_a_crystal_is_crossed() -> None:
    """Stretching a perfect crystal brings no pair across; its atoms have to leave their places."""
    argon = bulk("Ar", "fcc", a=5.3, cubic=True).repeat(2)
    cut = LennardJones(epsilon=0.0103, sigma=3.4, rc=5.0, smooth=False)
    found = checks(validate_static(argon, cut, mode="quick"))
    assert found["cutoff_force_step"].verdict == "fail"
    assert found["cutoff_force_step"].details["path"] == "disorder"
    smooth = LennardJones(epsilon=0.0103, sigma=3.4, rc=5.0, ro=4.0, smooth=True)
    found = checks(validate_static(argon, smooth, mode="quick"))
    assert found["cutoff_force_step"].verdict == "pass"
    assert found["cutoff_energy_step"].verdict == "pass"


def test_level_of_an_error_is_told_from_rounding() -> None:
    steps = 0.064 * 0.5 ** np.arange(10)
    rounding = 1e-8 / steps + steps**4
    assert level_of(rounding) is None
    assert level_of(rounding + 1e-2) == pytest.approx(1e-2, rel=0.01)
    # A real error that the truncation of the largest step happens to cancel.
    cancelled = np.abs(1e-2 - 300.0 * steps**4 * np.array([2.0] + [1.0] * 9))
    assert cancelled.min() < 0.002
    assert level_of(cancelled) == pytest.approx(1e-2, rel=0.05)


def test_force_of_another_unit_is_no_gradient_but_symmetric() -> None:
    atoms = small_molecule()
    found = checks(validate_static(atoms, with_defect("force_unit", ElasticNetwork(atoms))))
    assert found["force_gradient"].value == pytest.approx(0.05 / 1.05, rel=0.05)
    assert found["jacobian_symmetry"].verdict == "pass"


def test_float32_numbers_are_recognised() -> None:
    values = np.array([0.1, 0.2])
    assert not representable_in_float32(values)
    assert representable_in_float32(values.astype(np.float32).astype(float))


def test_structure_is_left_alone_and_seeds_repeat(tmp_path: Path) -> None:
    atoms = small_molecule()
    before = atoms.positions.copy()
    reports = [
        validate_static(atoms, ElasticNetwork(atoms), mode="quick", seed=seed) for seed in (1, 1, 2)
    ]
    assert np.array_equal(atoms.positions, before)
    values = [[check.value for check in report.checks] for report in reports]
    assert values[0] == values[1] != values[2]
    assert static.EFFORTS["full"].points > static.EFFORTS["quick"].points
