"""The guard in LAMMPS: one line, a return code, and the numbers of the guard in ASE."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from plugin_runs import error_line, write_data
from plugin_runs import run as run_plugin
from python_runs import head
from python_runs import run as run_python

from mlff_md import StudentForceFieldCalculator
from mlff_md.errors import MissingDependencyError
from mlff_md.guard import Inspector
from mlff_md.lammps.launcher import choose_build

pytestmark = pytest.mark.lammps

STEPS = "velocity all create 300 1\nfix 1 all nve\ntimestep 0.0005\nrun 60\n"


def sf6() -> Atoms:
    arms = 1.58 * np.vstack([np.eye(3), -np.eye(3)])
    return Atoms("SF6", 6.0 + np.vstack([np.zeros(3), arms]), cell=[12.0] * 3, pbc=True)


def ethanol() -> Atoms:
    return molecule("CH3CH2OH", vacuum=5.0, pbc=True)


def with_python(
    atoms: Atoms, folder: Path, guard: str, student: str = "ultra-tiny"
) -> subprocess.CompletedProcess[str]:
    try:
        build = choose_build(frozenset({"python"}), own_python=True)
    except MissingDependencyError as error:
        pytest.skip(f"no LAMMPS with PYTHON (Debian: apt install lammps): {error}")
    variables = f"variable mlff_student string {student}\nvariable mlff_guard string {guard}\n"
    return run_python(build, head(atoms, folder, before=variables) + STEPS, folder)


def score(atoms: Atoms) -> str:
    """Return what the guard of an ASE run says of the atom furthest outside."""
    calculator = StudentForceFieldCalculator("ultra-tiny")
    calculator.get_forces(atoms)
    (found,) = (
        f for f in Inspector(calculator).inspect(atoms, current=True) if f.kind == "environment"
    )
    return re.search(r"[\d.]+ of the limit", found.text)[0]


def test_python_stops_where_ase_would(tmp_path: Path) -> None:
    done = with_python(sf6(), tmp_path, "stop")
    assert done.returncode != 0
    lines = re.findall(r"^ERROR: mlff_md: (.*)$", done.stdout + done.stderr, re.M)
    assert len(set(lines)) == 1
    assert "outside of the training domain at step 0: the surroundings of atom" in lines[0]
    assert score(sf6()) in lines[0]


def test_python_lets_pass_what_is_known(tmp_path: Path) -> None:
    assert with_python(ethanol(), tmp_path, "stop").returncode == 0


def test_python_off(tmp_path: Path) -> None:
    assert with_python(sf6(), tmp_path, "off").returncode == 0
    done = with_python(sf6(), tmp_path, "maybe")
    assert "mlff_guard must be stop or off, not 'maybe'" in done.stdout + done.stderr


DECK = f"""
units metal
atom_style atomic
read_data atoms.data
pair_style mlff guard GUARD
pair_coeff * * ultra-tiny ELEMENTS
{STEPS}"""


def with_plugin(
    atoms: Atoms,
    folder: Path,
    wheel_environment: dict[str, str],
    guard: str = "stop",
    ranks: int = 1,
) -> subprocess.CompletedProcess[str]:
    elements = list(dict.fromkeys(atoms.get_chemical_symbols()))
    write_data(folder / "atoms.data", atoms, elements)
    deck = DECK.replace("GUARD", guard).replace("ELEMENTS", " ".join(elements))
    return run_plugin(deck, folder, wheel_environment, ranks=ranks)


def test_plugin_stops_where_ase_would(tmp_path: Path, wheel_environment: dict[str, str]) -> None:
    line = error_line(with_plugin(sf6(), tmp_path, wheel_environment))
    assert "outside of the training domain at step 0: the surroundings of atom 1 (S)" in line
    assert score(sf6()) in line


@pytest.mark.parametrize("ranks", [1, 2])
def test_plugin_lets_pass_what_is_known(
    ranks: int, tmp_path: Path, wheel_environment: dict[str, str]
) -> None:
    done = with_plugin(ethanol(), tmp_path, wheel_environment, ranks=ranks)
    assert done.returncode == 0, done.stdout


def test_plugin_names_the_pair(tmp_path: Path, wheel_environment: dict[str, str]) -> None:
    near = ethanol()
    near.positions[8] = near.positions[2] + [0.5, 0.0, 0.0]
    for engine in ("", " engine torchscript"):
        line = error_line(with_plugin(near, tmp_path, wheel_environment, guard=f"stop{engine}"))
        assert "atoms 3 and 9 are 0.500 Angstrom apart, closer than any such pair" in line


def test_plugin_off(tmp_path: Path, wheel_environment: dict[str, str]) -> None:
    assert with_plugin(sf6(), tmp_path, wheel_environment, guard="off").returncode == 0
    line = error_line(with_plugin(sf6(), tmp_path, wheel_environment, guard="maybe"))
    assert "cannot use 'guard maybe'" in line


def test_pair_style_python_of_the_plugin(tmp_path: Path, wheel_environment: dict[str, str]) -> None:
    """The same deck is under guard on both builds, by a variable or by the environment."""
    write_data(tmp_path / "atoms.data", sf6(), ["S", "F"])
    lines = "pair_style python 5.0\npair_coeff * * mlff_md.lammps.Student S F\n"
    told = "variable mlff_student string ultra-tiny\nvariable mlff_guard string stop\n"
    deck = DECK.replace("pair_style mlff guard GUARD\npair_coeff * * ultra-tiny ELEMENTS\n", lines)
    line = error_line(run_plugin(told + deck, tmp_path, wheel_environment))
    assert "outside of the training domain at step 0: the surroundings of atom 1 (S)" in line
    free = run_plugin(deck, tmp_path, wheel_environment)
    assert free.returncode == 0, free.stdout
    line = error_line(run_plugin(deck, tmp_path, {**wheel_environment, "MLFF_MD_GUARD": "stop"}))
    assert "outside of the training domain at step 0" in line
