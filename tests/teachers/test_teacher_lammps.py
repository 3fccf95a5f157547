"""LAMMPS as a teacher: its commands, its box, its forces against ASE's."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones

from mlff_md.errors import ConfigError, MissingDependencyError, StructureError
from mlff_md.teachers import teacher, teacher_name
from mlff_md.teachers.lammps import LammpsTeacher, box, load_lammps, parse_commands

from .asking import evaluate

LJ = "lammps:pair_style lj/cut 6.0; pair_coeff * * 0.0103 3.4; pair_modify shift yes; elements Ar"
TRICLINIC = np.array([[12.0, 0, 0], [4, 13, 0], [-3, 5, 14]])


def test_lammps_commands():
    commands, elements = parse_commands("pair_style sw;pair_coeff * * My.sw Si  C ;")
    assert commands == ("pair_style sw", "pair_coeff * * My.sw Si  C")
    assert elements == ("Si", "C")
    assert parse_commands("pair_style lj/cut 5; pair_coeff * * 1 1; elements Ar")[1] == ("Ar",)
    for bad in ("python f", "pair_style sw\nshell ls", "pair_style sw &", "include x", "variable"):
        with pytest.raises(ConfigError, match="not a command that defines"):
            parse_commands(f"pair_style sw; {bad}; elements Si")
    with pytest.raises(ConfigError, match="which element"):
        parse_commands("pair_style sw; elements Qq")


def test_lammps_box_fits_and_stays():
    atoms = molecule("CH3CH2OH")
    first = box(atoms)
    atoms.positions += [1e3, 0, 0]
    np.testing.assert_array_equal(box(atoms), first)
    assert (np.diag(first) >= 50.0 + np.ptp(atoms.positions, axis=0)).all()
    slab = Atoms("Ar", cell=[[0, 3, 0], [3, 0, 0], [0, 0, 0]], pbc=[True, True, False])
    assert np.linalg.det(box(slab)) > 0.0
    np.testing.assert_array_equal(box(slab)[:2], slab.cell.array[:2])


@pytest.fixture
def lammps():
    try:
        return load_lammps()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.mark.lammps
@pytest.mark.parametrize(
    ("pbc", "cell"),
    [
        (False, None),
        (True, TRICLINIC),
        (True, TRICLINIC[[1, 0, 2]]),
        ([True, False, True], TRICLINIC),
        ([False, False, True], np.diag([0, 0, 14.0])),
    ],
    ids=["open", "periodic", "left-handed", "slab", "wire"],
)
def test_lammps_equals_ase_along_a_trajectory(lammps, argon, pbc, cell):
    atoms = Atoms(argon.numbers, argon.positions, cell=cell, pbc=pbc)
    atoms.calc = teacher(LJ)
    rng = np.random.default_rng(0)
    for step in range(5):
        reference = atoms.copy()
        reference.calc = LennardJones(epsilon=0.0103, sigma=3.4, rc=6.0)
        expected = reference.get_potential_energy()
        assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-12)
        np.testing.assert_allclose(atoms.get_forces(), reference.get_forces(), atol=1e-12)
        if atoms.pbc.all():
            np.testing.assert_allclose(atoms.get_stress(), reference.get_stress(), atol=1e-9)
        atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape) + 30.0 * (step == 1)
        if step == 2:
            atoms.set_cell(atoms.cell.array * 1.01, scale_atoms=bool(atoms.pbc.all()))
            atoms.wrap()
        if step == 3:
            del atoms[5]


@pytest.mark.lammps
def test_lammps_finds_its_own_potentials(lammps):
    silicon = bulk("Si", cubic=True)
    energy, forces = evaluate(silicon, teacher("lammps:pair_style sw; pair_coeff * * Si.sw Si"))
    assert energy / len(silicon) == pytest.approx(-4.3366, abs=1e-3)  # Stillinger & Weber 1985
    np.testing.assert_allclose(forces, 0.0, atol=1e-10)


@pytest.mark.lammps
def test_lammps_errors_are_one_line(lammps, argon):
    for text, message in [
        ("pair_style swx; elements Ar", "Unrecognized pair style 'swx'"),
        ("pair_style sw; pair_coeff * * none.sw Ar", "cannot open sw potential file"),
    ]:
        with pytest.raises(ConfigError, match=message) as caught:
            evaluate(argon, teacher(f"lammps:{text}"))
        assert "\n" not in str(caught.value)
    with pytest.raises(StructureError, match="does not know Cu; it knows Ar"):
        evaluate(bulk("Cu"), teacher(LJ))
    long_ranged = "pair_style lj/cut 120; pair_coeff * * 1e4 3.4; elements Ar"
    with pytest.raises(ConfigError, match="reaches further than 50 Å"):
        evaluate(Atoms("Ar2", [[0, 0, 0], [0, 0, 3.8]]), teacher(f"lammps:{long_ranged}"))


@pytest.mark.lammps
def test_lammps_copies_travel_as_strings(lammps, argon):
    calculator = teacher(LJ)
    expected = evaluate(argon, calculator)
    twin = pickle.loads(pickle.dumps(calculator))
    assert isinstance(twin, LammpsTeacher)
    assert teacher_name(twin) == teacher_name(calculator) == teacher_name(LJ)
    np.testing.assert_array_equal(evaluate(argon, twin)[1], expected[1])
