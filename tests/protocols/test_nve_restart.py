"""Restart as a check: it passes what depends on positions alone, and catches what has a memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from mlff_md import StudentForceFieldCalculator, validate_nve
from mlff_md.errors import DataError
from mlff_md.protocols.nve import analyze
from mlff_md.protocols.records import Check

OPTIONS = {
    "mode": "quick",
    "replicas": 1,
    "steps": 40,
    "equilibration_fs": 10.0,
    "static": False,
    "order_steps": 0,
    "reversal_steps": 0,
}


class Remembering(Calculator):
    """A spring for each atom, and forces that depend on the evaluations before."""

    implemented_properties = ("energy", "forces")

    def __init__(self, reference: Atoms, memory: float) -> None:
        super().__init__()
        self.reference, self.memory, self.evaluations = reference.positions.copy(), memory, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.evaluations += 1
        moved = self.atoms.positions - self.reference
        pull = 10.0 * (1.0 + self.memory * self.evaluations)
        self.results = {"energy": 5.0 * float((moved**2).sum()), "forces": -pull * moved}


def judged(atoms: Atoms, calculator: Calculator, **options) -> Check | None:
    report = validate_nve(atoms, calculator, **{**OPTIONS, **options})
    return next((check for check in report.checks if check.id == "restart"), None)


def test_what_has_no_memory_passes() -> None:
    ethanol = molecule("CH3CH2OH")
    for calculator in (StudentForceFieldCalculator("ultra-tiny"), EMT(), Remembering(ethanol, 0.0)):
        check = judged(ethanol, calculator)
        assert check is not None
        assert (check.verdict, check.value) == ("pass", 0.0)
        assert check.summary == "cut off at step 50 of 100: equal to the last bit"


def test_a_memory_is_caught() -> None:
    ethanol = molecule("CH3CH2OH")
    check = judged(ethanol, Remembering(ethanol, 1e-9))
    assert check is not None
    assert check.verdict == "fail"
    assert check.value is not None
    assert check.value > 0.0


def test_it_can_be_left_out() -> None:
    assert judged(molecule("CH3CH2OH"), EMT(), restart_steps=0) is None


def test_raw_data_that_lack_it_are_refused(tmp_path: Path) -> None:
    validate_nve(molecule("CH3CH2OH"), EMT(), out=tmp_path, **OPTIONS)
    (tmp_path / "raw" / "restart.npz").unlink()
    with pytest.raises(DataError, match=r"restart\.npz"):
        analyze(tmp_path)
