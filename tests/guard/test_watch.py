"""A run under a guard: the step is right, frames are kept, a run can be replayed from them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read

from mlff_md import StudentForceFieldCalculator
from mlff_md.errors import ConfigError
from mlff_md.guard import Inspector
from mlff_md.md import UnstableRunError, run_nve, run_nvt


def leaving() -> Atoms:
    """Ethane whose halves fly apart: known at first, two radicals after some 20 fs."""
    atoms = molecule("C2H6")
    upper = atoms.positions[:, 2] > 0
    velocity = np.where(upper[:, None], [0.0, 0.0, 0.9], [0.0, 0.0, -0.9])
    atoms.set_velocities(velocity)
    return atoms


def first_outside(every: int = 1) -> tuple[int, list[Atoms]]:
    """Return the first step outside, by looking at all frames of an unguarded run."""
    calculator = StudentForceFieldCalculator("ultra-tiny")
    frames: list[Atoms] = []
    run = run_nve(leaving(), calculator, steps=0, temperature_K=None)
    atoms = run.atoms
    inspector = Inspector(calculator)
    for step in range(200):
        done = run_nve(leaving(), calculator, steps=step, temperature_K=None)
        frames.append(done.atoms)
        calculator.get_forces(done.atoms)
        if inspector.inspect(done.atoms, current=True):
            return step, frames
    raise AssertionError(f"the structure never leaves the domain: {atoms}")


@pytest.mark.parametrize("every", [1, 7, 20])
def test_the_first_step_is_found_whatever_the_interval(every: int, tmp_path: Path) -> None:
    expected, frames = first_outside()
    assert expected > 5
    file = tmp_path / "flagged.extxyz"
    with pytest.raises(UnstableRunError, match=f"since step {expected}:") as caught:
        run_nve(
            leaving(),
            StudentForceFieldCalculator("ultra-tiny"),
            steps=300,
            temperature_K=None,
            guard="stop",
            guard_every=every,
            guard_file=file,
        )
    assert caught.value.step - expected < every
    assert "--from-flagged" in str(caught.value)
    kept = read(file, index=":")
    steps = [atoms.info["step"] for atoms in kept]
    assert steps == list(range(max(0, expected - 10), caught.value.step + 1))
    for atoms in kept:
        assert bool(atoms.arrays["flagged"].any()) == (atoms.info["step"] >= expected)
        assert atoms.info["first_flagged_step"] == expected
        assert atoms.calc is None  # the student's forces must not be taken for labels
    before = kept[steps.index(expected - 3)]
    np.testing.assert_allclose(before.positions, frames[expected - 3].positions, atol=1e-7)


@pytest.mark.parametrize(
    ("engine", "many_from", "inspections"),
    [("native", 2048, 21), ("native", 9, 3), ("torchscript", 2048, 3)],
)
def test_inspections_that_cost_an_evaluation_are_rarer(
    engine: str, many_from: int, inspections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty steps, looked at every second one, or ten times more rarely."""
    monkeypatch.setattr("mlff_md.guard.inspector.SORTED_FROM_ATOMS", many_from)
    looked: list[Atoms] = []
    inspect = Inspector.inspect

    def counted(self: Inspector, atoms: Atoms, **options: Any) -> Any:
        looked.append(atoms)
        return inspect(self, atoms, **options)

    monkeypatch.setattr(Inspector, "inspect", counted)
    calculator = StudentForceFieldCalculator("ultra-tiny", engine=engine)
    run_nve(molecule("CH3CH2OH"), calculator, steps=40, guard="warn", guard_every=2)
    assert len(looked) == inspections


def test_a_run_can_be_replayed_from_its_frames(tmp_path: Path) -> None:
    file = tmp_path / "flagged.extxyz"
    calculator = StudentForceFieldCalculator("ultra-tiny")
    options = {"steps": 300, "temperature_K": None}
    with pytest.raises(UnstableRunError) as caught:
        run_nve(leaving(), calculator, **options, guard="stop", guard_file=file)
    start = read(file, index=0)
    with pytest.raises(UnstableRunError) as again:
        run_nve(start, calculator, **options, guard="stop", guard_every=1)
    first = caught.value.args[0].split("since step ")[1].split(":")[0]
    assert again.value.step + start.info["step"] == int(first)


def test_warn_and_save_go_on(tmp_path: Path) -> None:
    calculator = StudentForceFieldCalculator("ultra-tiny")
    options = {"steps": 120, "temperature_K": None}
    with pytest.warns(UserWarning, match="outside of the training domain since step") as told:
        warned = run_nve(leaving(), calculator, **options, guard="warn", guard_every=20)
    kinds = len(told)
    assert kinds <= 4  # one of each kind
    file = tmp_path / "run.flagged.extxyz"
    with pytest.warns(UserWarning, match=r"frames go to .*run\.flagged\.extxyz"):
        saved = run_nve(
            leaving(),
            calculator,
            **options,
            guard="save",
            guard_every=20,
            trajectory=tmp_path / "run.traj",
        )
    plain = run_nve(leaving(), calculator, **options)
    # Looking changes nothing.
    np.testing.assert_array_equal(warned.total_energy_eV, plain.total_energy_eV)
    np.testing.assert_array_equal(saved.total_energy_eV, plain.total_energy_eV)
    steps = [atoms.info["step"] for atoms in read(file, index=":")]
    assert steps == sorted(set(steps))
    assert len(steps) < 60


def test_no_word_about_a_molecule_that_is_known(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_nvt(
            molecule("CH3CH2OH"),
            StudentForceFieldCalculator("tiny"),
            steps=400,
            guard="stop",
            guard_file=tmp_path / "none.extxyz",
        )
    assert not (tmp_path / "none.extxyz").exists()


class Breaks(Calculator):
    """Forces that are no numbers from the twelfth evaluation on."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.count += 1
        value = np.nan if self.count > 12 else 0.0
        self.results = {"energy": 0.0, "forces": np.full((len(atoms), 3), value)}


def test_states_before_a_crash_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "flagged.extxyz"
    with pytest.raises(UnstableRunError, match="the forces are not finite"):
        run_nve(molecule("H2O"), Breaks(), steps=50, guard="warn", guard_file=file)
    kept = read(file, index=":")
    assert [atoms.info["step"] for atoms in kept] == list(range(1, 12))
    assert kept[-1].info["reason"] == "the forces are not finite"
    assert kept[-1].has("momenta")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guard": "panic"}, "guard must be one of warn, save, stop, got 'panic'"),
        ({"guard": "warn", "guard_every": 0}, "guard_every must be 1 to 100"),
        ({"guard": "save"}, "needs a guard_file"),
        ({"guard": "save", "guard_file": "x.traj"}, "must end in .extxyz"),
    ],
)
def test_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_nve(molecule("H2O"), StudentForceFieldCalculator("tiny"), steps=1, **options)
