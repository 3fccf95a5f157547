"""Teachers: from a string to a calculator, and what a mistake is told."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from mlff_md.errors import ConfigError, StructureError
from mlff_md.teachers import TEACHERS, TeacherSpec, is_teacher, teacher, teacher_name

from .asking import evaluate


@pytest.mark.parametrize(
    ("text", "name", "argument", "options"),
    [
        ("gfn2-xtb", "gfn2-xtb", "", {}),
        ("GFN2-xTB", "gfn2-xtb", "", {}),
        ("gfn1?charge=1&accuracy=0.1", "gfn1-xtb", "", {"charge": 1, "accuracy": 0.1}),
        ("lj:0.01,3.4", "lj", "0.01,3.4", {}),
        ("mace:/a/b.model?trust=true&device=cuda:0", "mace", "/a/b.model",
         {"trust": True, "device": "cuda:0"}),
        ("lammps:pair_style sw; pair_coeff * * Si.sw Si", "lammps",
         "pair_style sw; pair_coeff * * Si.sw Si", {}),
        ("ase.calculators.emt:EMT?asap_cutoff=True", "ase.calculators.emt", "EMT",
         {"asap_cutoff": True}),
    ],
)  # fmt: skip
def test_strings_are_taken_apart(text, name, argument, options):
    spec = TeacherSpec.parse(text)
    assert (spec.name, spec.argument, dict(spec.options)) == (name, argument, options)
    assert TeacherSpec.parse(str(spec)) == spec
    assert is_teacher(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gfn3-xtb", r"did you mean gfn2-xtb or gfn1-xtb\?"),
        ("orbb:orb-v2", r"unknown teacher"),
        ("lamps:pair_style lj/cut 5", r"did you mean lammps\?"),
        ("", "there are gfn2-xtb"),
        ("zzz", "there are gfn2-xtb"),
        ("students/tiny.safetensors", "unknown teacher"),
        ("emt?fast", "not name=value"),
    ],
)
def test_what_is_no_teacher(text, message):
    assert not is_teacher(text)
    with pytest.raises(ConfigError, match=message) as caught:
        teacher(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("orbit:Model", r"no module 'orbit' .* did you mean orb\?"),
        ("ase.calculators.emt:EMD", r"has no class 'EMD'; did you mean EMT"),
        ("ase.calculators.emt:EMT?x=1&self=2", "cannot be made"),
        ("collections:OrderedDict", "not an ASE calculator"),
        ("emt:gold", r"emt takes no argument, got 'gold'; options: emt\?NAME=VALUE"),
        ("emt?asap_cutof=True", "no option 'asap_cutof'; did you mean asap_cutoff"),
        ("lj:a,b", "three positive numbers"),
        ("lj:1,2,3,4", "three positive numbers"),
        ("lj:1,-2", "three positive numbers"),
        ("lj?epsilon=nan", "three positive numbers"),
        ("lj?eps=1", "no option 'eps'"),
        ("mace:no-such-file.model", "no MACE model file"),
        ("lammps:", "pair_style STYLE"),
        ("lammps:pair_style sw; shell rm -rf x", "not a command that defines"),
        ("lammps:pair_style lj/cut 6; pair_coeff * * 1 1", "which element"),
    ],
)
def test_wrong_options_get_one_clear_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        teacher(text)
    assert "\n" not in str(caught.value)


def test_a_calculator_is_returned_as_it_is():
    calculator = EMT()
    assert teacher(calculator) is calculator
    with pytest.raises(ConfigError, match="takes no options"):
        teacher(calculator, charge=1)


def test_lennard_jones(argon):
    energy, forces = evaluate(argon, teacher("lj:0.0103,3.4,8.0"))
    expected = evaluate(argon, LennardJones(epsilon=0.0103, sigma=3.4, rc=8.0, smooth=True))
    assert energy == expected[0]
    np.testing.assert_array_equal(forces, expected[1])
    energy, _ = evaluate(argon, teacher("lj:0.0103", rc=8.0, sigma=3.4, smooth=False))
    assert energy == evaluate(argon, LennardJones(epsilon=0.0103, sigma=3.4, rc=8.0))[0]


@pytest.mark.parametrize("text", ["emt", "ase.calculators.emt:EMT"])
def test_emt(text):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    energy, forces = evaluate(atoms, teacher(text))
    expected = evaluate(atoms, EMT())
    assert energy == expected[0]
    np.testing.assert_array_equal(forces, expected[1])


def test_guard():
    calculator = teacher("emt")
    with pytest.raises(StructureError, match=r"EMT cannot evaluate .* Ar"):
        evaluate(bulk("Ar", "fcc", a=5.3), calculator)
    with pytest.raises(StructureError, match="atom 0 is not finite"):
        evaluate(Atoms("Cu", [[np.nan, 0, 0]]), calculator)
    with pytest.raises(StructureError, match=r"are 0.000 Å apart"):
        evaluate(Atoms("Cu2"), calculator)
    with pytest.raises(PropertyNotImplementedError):
        calculator.get_property("dipole", bulk("Cu"))
    evaluate(bulk("Cu"), calculator)


def test_copies_travel_as_strings(argon):
    calculator = teacher("lj:0.0103,3.4", rc=7.0)
    expected = evaluate(argon, calculator)[0]
    for twin in (pickle.loads(pickle.dumps(calculator)), copy.deepcopy(calculator)):
        assert twin is not calculator
        assert evaluate(argon, twin)[0] == expected


def test_provenance(tmp_path):
    from importlib.metadata import version

    described = {"name": "emt", "package": "ase", "version": version("ase")}
    assert teacher_name("emt") == teacher_name(teacher("emt")) == described
    assert teacher_name(teacher("lj:0.01,3", rc=6))["name"] == "lj:0.01,3?rc=6"
    assert teacher_name(EMT()) == {**described, "name": "EMT"}
    file = tmp_path / "a.model"
    file.write_bytes(b"abc")
    assert teacher_name(f"mace:{file}")["sha256"].startswith("ba7816bf")


def test_every_teacher_is_described():
    for name, backend in TEACHERS.items():
        assert backend.usage.startswith(name)
        assert backend.meaning


def test_importing_teachers_is_light():
    code = (
        "import sys, mlff_md.teachers\n"
        "heavy = {'torch', 'tblite', 'lammps', 'ase.io', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
