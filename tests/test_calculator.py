"""The ASE calculator: properties, cost, and what it says of input it cannot use."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.errors import ConfigError, StructureError
from mlff_md.student import Student


@pytest.fixture
def calculator(random_student: Student) -> StudentForceFieldCalculator:
    return StudentForceFieldCalculator(random_student)


def test_properties(calculator: StudentForceFieldCalculator, crystal: Atoms) -> None:
    crystal.calc = calculator
    assert crystal.get_potential_energies().sum() == pytest.approx(crystal.get_potential_energy())
    assert crystal.get_potential_energy(force_consistent=True) == crystal.get_potential_energy()
    assert crystal.get_forces().shape == (len(crystal), 3)
    assert crystal.get_stress().shape == (6,)
    assert crystal.get_stress(voigt=False).shape == (3, 3)
    assert calculator.n_evaluations == 1


def test_stress_needs_a_cell(calculator: StudentForceFieldCalculator, ethanol: Atoms) -> None:
    ethanol.calc = calculator
    with pytest.raises(PropertyNotImplementedError, match="periodic"):
        ethanol.get_stress()
    with pytest.raises(PropertyNotImplementedError, match="not a property"):
        calculator.get_property("dipole", ethanol)


def test_one_evaluation_per_step(calculator: StudentForceFieldCalculator, ethanol: Atoms) -> None:
    ethanol.calc = calculator
    thermalize_momenta(ethanol, temperature_K=50, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(ethanol, 0.1 * units.fs)
    dynamics.attach(lambda: (ethanol.get_total_energy(), ethanol.get_forces()))
    dynamics.run(10)
    assert calculator.n_evaluations == 11


def test_every_change_is_seen(calculator: StudentForceFieldCalculator, crystal: Atoms) -> None:
    crystal.calc = calculator
    seen = {crystal.get_potential_energy()}
    crystal.positions[0, 0] += 1e-9
    seen.add(crystal.get_potential_energy())
    crystal.numbers[0] = 1
    seen.add(crystal.get_potential_energy())
    crystal.set_cell(crystal.cell.array * 1.01)
    seen.add(crystal.get_potential_energy())
    crystal.pbc = [True, True, False]
    seen.add(crystal.get_potential_energy())
    del crystal[3]
    seen.add(crystal.get_potential_energy())
    assert calculator.n_evaluations == 6
    assert len(seen) >= 5  # a shift by 1e-9 Å may not change a float32 energy


def test_results_are_the_callers_own(
    calculator: StudentForceFieldCalculator, ethanol: Atoms
) -> None:
    ethanol.calc = calculator
    forces = ethanol.get_forces()
    expected = forces.copy()
    forces[:] = 0.0
    assert np.array_equal(ethanol.get_forces(), expected)


def test_skin_does_not_change_results(random_student: Student, crystal: Atoms) -> None:
    with_skin = StudentForceFieldCalculator(random_student, skin_A=1.5)
    without = StudentForceFieldCalculator(random_student, skin_A=0.0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        crystal.positions += rng.normal(scale=0.05, size=crystal.positions.shape)
        assert np.array_equal(
            with_skin.get_property("forces", crystal), without.get_property("forces", crystal)
        )


def test_evaluate_batches(
    calculator: StudentForceFieldCalculator, ethanol: Atoms, crystal: Atoms
) -> None:
    structures = [ethanol, crystal, molecule("CH4"), crystal * (2, 1, 1)]
    results = calculator.evaluate(structures, max_edges=1000)
    assert len(results) == len(structures)
    for atoms, result in zip(structures, results, strict=True):
        assert np.abs(calculator.get_property("forces", atoms) - result.forces).max() < 2e-5
    assert calculator.evaluate([]) == []
    with pytest.raises(StructureError, match=r"structure 1: .*no atoms"):
        calculator.evaluate([ethanol, Atoms()])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda atoms: atoms.info.update(charge=1), "charge=1"),
        (lambda atoms: atoms.info.update(spin=3), "spin=3"),
        (lambda atoms: atoms.info.update(charge=np.array([1.0, 0.0])), "charge="),
        (lambda atoms: atoms.set_initial_charges([0.5] * len(atoms)), "initial charges"),
        (lambda atoms: atoms.set_initial_magnetic_moments([1.0] * len(atoms)), "magnetic"),
    ],
)
def test_charge_and_spin_are_ignored_loudly(
    change, word: str, calculator: StudentForceFieldCalculator, ethanol: Atoms
) -> None:
    change(ethanol)
    with pytest.warns(UserWarning, match=word):
        calculator.get_property("energy", ethanol)


def test_neutral_singlets_pass_quietly(
    calculator: StudentForceFieldCalculator, ethanol: Atoms
) -> None:
    ethanol.info.update(charge=0, spin=1, multiplicity=1)
    ethanol.set_initial_charges([0.1, -0.1, *[0.0] * (len(ethanol) - 2)])
    calculator.get_property("energy", ethanol)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("Au2", [[0, 0, 0], [2.5, 0, 0]]), "does not know Au; it knows H C N O"),
        (Atoms(), "no atoms"),
        (Atoms("H2", [[0, 0, 0], [0, 0, np.nan]]), "not finite"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0]]), "0.000 Å apart"),
        (Atoms("H", pbc=True), "no volume"),
    ],
)
def test_bad_structures(
    atoms: Atoms, message: str, calculator: StudentForceFieldCalculator
) -> None:
    with pytest.raises(StructureError, match=message) as error:
        calculator.get_property("energy", atoms)
    assert "\n" not in str(error.value)


def test_failed_evaluation_leaves_no_old_results(
    calculator: StudentForceFieldCalculator, ethanol: Atoms
) -> None:
    calculator.get_property("forces", ethanol)
    broken = ethanol.copy()
    broken.positions[0] = np.nan
    with pytest.raises(StructureError):
        calculator.get_property("forces", broken)
    assert calculator.results == {}


def test_ase_sees_a_calculator(calculator: StudentForceFieldCalculator, ethanol: Atoms) -> None:
    assert calculator.calculation_required(ethanol, ["energy"])
    calculator.get_property("energy", ethanol)
    assert not calculator.calculation_required(ethanol, ["energy", "forces"])
    assert calculator.check_state(ethanol) == []
    ethanol.positions += 1.0
    assert calculator.check_state(ethanol) == ["positions"]
    last = calculator.atoms
    assert last is not None
    assert np.allclose(last.positions + 1.0, ethanol.positions)


def test_bad_skin(random_student: Student) -> None:
    with pytest.raises(ConfigError, match="skin_A"):
        StudentForceFieldCalculator(random_student, skin_A=-1.0)


def test_pickles_and_copies(calculator: StudentForceFieldCalculator, ethanol: Atoms) -> None:
    expected = calculator.get_property("forces", ethanol)
    for other in (pickle.loads(pickle.dumps(calculator)), copy.deepcopy(calculator)):
        assert other.n_evaluations == 0
        assert np.array_equal(other.get_property("forces", ethanol), expected)


@pytest.mark.parametrize("engine", ["native", "torchscript"])
def test_threads_that_share_a_calculator_wait_for_each_other(engine: str) -> None:
    calculator = StudentForceFieldCalculator("ultra-tiny", engine=engine)

    def energy(k: int) -> float:
        atoms = molecule(("C6H6", "H2O", "CH3OH")[k % 3])
        atoms.rattle(0.05, seed=k)
        atoms.calc = calculator
        return atoms.get_potential_energy() + np.abs(atoms.get_forces()).max()

    tries = range(600 if engine == "native" else 60)
    alone = [energy(k) for k in tries]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(energy, tries))
    np.testing.assert_allclose(together, alone, rtol=0.0, atol=1e-3)


def test_it_says_what_it_is() -> None:
    calculator = StudentForceFieldCalculator("tiny", engine="torchscript", dtype="float64")
    told = repr(calculator)
    assert told.startswith("StudentForceFieldCalculator('gfn2-tiny-v2', engine='torchscript'")
    assert "dtype='float64'" in told
    assert repr(calculator.student).startswith("Student('gfn2-tiny-v2', num_parameters=68817, sha")
