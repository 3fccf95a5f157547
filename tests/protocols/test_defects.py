"""Defects made on purpose: each wrapper does what it says, and each is caught by its check."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.fd import FiniteDifferenceCalculator

from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.errors import ConfigError
from mlff_md.protocols.defects import DEFECTS, self_test, table, with_defect
from mlff_md.protocols.thresholds import THRESHOLDS


def test_there_are_twelve_each_with_a_check_of_its_own() -> None:
    assert len(DEFECTS) == 12
    named = {defect.caught_by for defect in DEFECTS.values()} - {None}
    assert named <= set(THRESHOLDS)
    harmless = {name for name, defect in DEFECTS.items() if defect.caught_by is None}
    assert harmless == {"float32_forces", "float32_all", "quantised_weights"}
    with pytest.raises(ConfigError, match="no defect 'bug'"):
        with_defect("bug", EMT())
    with pytest.raises(ConfigError, match="no defect 'bug'"):
        self_test(molecule("CH3OH"), EMT(), defects=["bug"])


@pytest.mark.parametrize("name", DEFECTS)
def test_defect_changes_little_and_keeps_the_interface(name: str) -> None:
    copper = bulk("Cu", cubic=True) * (2, 1, 1)
    copper.rattle(0.1, seed=3)
    clean, spoiled = copper.copy(), copper.copy()
    clean.calc, spoiled.calc = EMT(), with_defect(name, EMT())
    right, wrong = clean.get_forces(), spoiled.get_forces()
    size = np.sqrt(np.mean(right**2))
    assert 0.0 < np.sqrt(np.mean((wrong - right) ** 2)) < 0.3 * size
    assert spoiled.get_potential_energy() == pytest.approx(clean.get_potential_energy(), abs=3.0)
    assert np.isfinite(spoiled.get_stress()).all()
    assert spoiled.calc.describe()["defect"]
    if name == "direct_head":  # the sum of the forces must not give it away
        assert np.abs(wrong.sum(axis=0)).max() < 1e-10


def test_pair_terms_have_the_forces_and_stress_of_their_energy() -> None:
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.1, seed=1)
    copper.calc = with_defect("truncated_shifted", EMT())
    numerical = copper.copy()
    numerical.calc = FiniteDifferenceCalculator(copper.calc, eps_disp=1e-4, eps_strain=1e-5)
    assert np.allclose(copper.get_forces(), numerical.get_forces(), atol=1e-5)
    assert np.allclose(copper.get_stress(), numerical.get_stress(), atol=1e-5)


@pytest.mark.slow
def test_every_defect_of_a_student_is_caught_by_the_static_protocol() -> None:
    ethanol = molecule("CH3CH2OH")
    report = self_test(ethanol, StudentForceFieldCalculator("ultra-tiny"), starts=0)
    assert report.verdict == "pass", [(c.id, c.summary) for c in report.checks]
    assert [check.id for check in report.checks] == ["clean", *DEFECTS]
    for check in report.checks:
        caught_by = DEFECTS[check.id].caught_by if check.id in DEFECTS else None
        if caught_by is not None:
            assert check.details["verdicts"][caught_by] == "fail"
            assert f"caught by {caught_by}" in check.summary
    text = table(report)
    assert "force_noise" in text
    assert len(text.splitlines()) > 20


@pytest.mark.slow
def test_calculator_with_a_fault_of_its_own_is_not_vouched_for() -> None:
    faulty = with_defect("force_unit", StudentForceFieldCalculator("ultra-tiny"))
    defects = ["direct_head", "rounded_forces"]
    report = self_test(molecule("CH3OH"), faulty, starts=0, defects=defects)
    verdicts = {check.id: check.verdict for check in report.checks}
    assert verdicts == {"clean": "fail", "direct_head": "inconclusive", "rounded_forces": "pass"}


def test_check_that_is_too_lax_is_told() -> None:
    from mlff_md.protocols.thresholds import with_overrides

    lax = with_overrides({"force_noise": 1.0, "force_noise_float64": 1.0})
    report = self_test(
        molecule("CH3OH"),
        StudentForceFieldCalculator("ultra-tiny"),
        starts=0,
        defects=["rounded_forces"],
        thresholds=lax,
    )
    check = report.checks[-1]
    assert (check.verdict, report.verdict) == ("fail", "fail")
    assert "force_noise does not see it" in check.summary
