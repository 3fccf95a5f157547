"""A student inside LAMMPS' own ``pair_style python``: the numbers of the ASE calculator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from python_runs import DUMP, RESULT, frames, head, results, run, succeed

from mlff_md import StudentForceFieldCalculator, read_structure
from mlff_md.errors import MissingDependencyError
from mlff_md.lammps.builds import Build
from mlff_md.lammps.launcher import choose_build
from mlff_md.lammps.parity import compare, evaluate_structure

pytestmark = pytest.mark.lammps

STRUCTURES = Path(__file__).parents[2] / "inputs" / "structures"
KCAL_PER_EV = units.mol / units.kcal


@pytest.fixture(scope="module")
def build() -> Build:
    """A LAMMPS with the package PYTHON."""
    try:
        return choose_build(frozenset({"python"}), own_python=True)
    except MissingDependencyError as error:
        pytest.skip(f"no LAMMPS with PYTHON (Debian: apt install lammps): {error}")


@pytest.fixture
def aspirin() -> Atoms:
    return read_structure(STRUCTURES / "aspirin.xyz")


@pytest.fixture
def water() -> Atoms:
    return read_structure(STRUCTURES / "water-box-64.xyz")


def evaluated(atoms: Atoms, dtype: str = "float32") -> Atoms:
    atoms = atoms.copy()
    atoms.calc = StudentForceFieldCalculator("tiny", dtype=dtype)
    atoms.get_forces()
    return atoms


def structure(name: str, crystal: Atoms) -> Atoms:
    if name == "crystal":
        return crystal
    if name == "lone atom":
        return Atoms("O", [[1.0, 2.0, 3.0]])
    if name == "slab":
        atoms = read_structure(STRUCTURES / "water-box-64.xyz")
        atoms.pbc = (True, False, True)
        return atoms
    return read_structure(STRUCTURES / f"{name}.xyz")


@pytest.mark.parametrize("name", ["aspirin", "water-box-64", "crystal", "lone atom", "slab"])
def test_parity(name: str, build: Build, crystal: Atoms) -> None:
    atoms = structure(name, crystal)
    parity = compare(
        evaluate_structure(atoms, lmp=str(build.path)), StudentForceFieldCalculator("tiny")
    )
    assert parity.force_eV_per_A < 2e-5
    assert parity.energy_eV_per_atom < 1e-6
    assert parity.pressure is None or parity.pressure < 1e-5
    assert (parity.pressure is not None) == bool(atoms.pbc.all())


@pytest.mark.parametrize("ranks", [1, 2])
def test_parity_in_double_precision(ranks: int, build: Build, water: Atoms) -> None:
    found = evaluate_structure(water, dtype="float64", ranks=ranks, lmp=str(build.path))
    parity = compare(found, StudentForceFieldCalculator("tiny", dtype="float64"))
    assert parity.force_eV_per_A < 1e-11
    assert parity.energy_eV_per_atom < 1e-11
    # The digits to which LAMMPS knows the units of pressure.
    assert parity.pressure is not None
    assert parity.pressure < 2e-7


def test_another_engine(build: Build, crystal: Atoms) -> None:
    found = evaluate_structure(crystal, engine="torchscript", lmp=str(build.path))
    calculator = StudentForceFieldCalculator("tiny", engine="torchscript")
    parity = compare(found, calculator)
    assert parity.force_eV_per_A < 2e-5
    assert parity.energy_eV_per_atom < 1e-6


def test_student_of_the_environment_and_without_torch(
    build: Build, aspirin: Atoms, tmp_path: Path
) -> None:
    deck = head(aspirin, tmp_path) + "run 0\n" + RESULT
    deck += """python told input 0 here "def told(): import sys; print('torch' in sys.modules)"
python told invoke
"""
    done = run(build, deck, tmp_path, environment={"MLFF_MD_STUDENT": "ultra-tiny"})
    assert "gfn2-ultra-tiny" in done.stdout
    (found,) = results(done.stdout)
    calculator = StudentForceFieldCalculator("ultra-tiny")
    aspirin.calc = calculator
    assert found.energy == pytest.approx(aspirin.get_potential_energy(), abs=2e-5)
    assert "\nFalse\n" in done.stdout


def test_two_ranks_of_which_one_has_no_atoms(build: Build, tmp_path: Path) -> None:
    atoms = Atoms("OH2", [[2.0, 5.0, 5.0], [2.6, 5.6, 5.0], [2.5, 4.3, 5.4]], cell=[40, 10, 10])
    atoms.pbc = True
    deck = head(atoms, tmp_path, ghosts_A=12.0) + DUMP.format(every=1, name="f.dump") + "run 0\n"
    output = succeed(build, "processors 2 1 1\n" + deck + RESULT, tmp_path, ranks=2)
    assert "Nlocal:        1.50000 ave           3 max           0 min" in output
    (found,) = results(output)
    reference = evaluated(atoms)
    assert found.energy == pytest.approx(reference.get_potential_energy(), abs=3e-6)
    (frame,) = frames(tmp_path / "f.dump")
    assert frame[:, 5:] == pytest.approx(reference.get_forces(), abs=2e-5)


def test_nve_is_that_of_ase(build: Build, aspirin: Atoms, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    aspirin.set_momenta(rng.normal(0.0, 0.05, (21, 3)) * aspirin.get_masses()[:, None] ** 0.5)
    deck = head(aspirin, tmp_path) + DUMP.format(every=100, name="nve.dump")
    deck += "timestep 0.0005\nfix motion all nve\nrun 100\n"
    succeed(build, deck, tmp_path)
    aspirin.calc = StudentForceFieldCalculator("tiny")
    VelocityVerlet(aspirin, 0.5 * units.fs).run(100)
    last = frames(tmp_path / "nve.dump")[-1]
    moved = np.abs(last[:, 2:5] - frames(tmp_path / "nve.dump")[0][:, 2:5]).max()
    assert moved > 0.1
    assert last[:, 2:5] == pytest.approx(aspirin.positions, abs=1e-5)


def test_two_ranks_run_as_one(build: Build, water: Atoms, tmp_path: Path) -> None:
    deck = head(water, tmp_path, ghosts_A=12.0)
    deck += "velocity all create 600 3 loop geom\nfix motion all nve\nneigh_modify delay 0\n"
    deck += DUMP.format(every=20, name="two.dump") + "run 60\n" + RESULT
    two = results(succeed(build, deck, tmp_path, ranks=2))
    again = head(water, tmp_path) + DUMP.format(every=1, name="one.dump")
    again += "rerun two.dump dump x y z\n" + RESULT
    one = results(succeed(build, again, tmp_path))
    assert one[0].energy == pytest.approx(two[0].energy, abs=192e-6)
    assert one[0].pressure == pytest.approx(two[0].pressure, rel=1e-5, abs=0.1)
    for mine, theirs in zip(
        frames(tmp_path / "one.dump"), frames(tmp_path / "two.dump"), strict=True
    ):
        assert mine[:, 5:] == pytest.approx(theirs[:, 5:], abs=2e-5)


def test_runs_in_a_row_and_single_pairs(build: Build, aspirin: Atoms, tmp_path: Path) -> None:
    """Forces are there once, however often LAMMPS looks at the style and starts again."""
    deck = (
        head(aspirin, tmp_path)
        + """
compute pairs all pair/local dist eng force
compute each all pe/atom
compute sum all reduce sum c_each
compute count all reduce sum c_pairs[1]
thermo_style custom step pe c_sum c_count c_virial[1] c_virial[2] c_virial[3] c_virial[4] &
  c_virial[5] c_virial[6]
thermo_modify norm no
"""
    )
    deck += DUMP.format(every=1, name="f.dump") + "run 0\nrun 0\n" + RESULT
    deck += 'print "SUM $(c_sum:%.17g)"\n'
    output = succeed(build, deck, tmp_path)
    reference = evaluated(aspirin)
    (found,) = results(output)
    assert found.energy == pytest.approx(reference.get_potential_energy(), abs=2e-5)
    total = float(output.rpartition("SUM ")[2].split()[0])
    assert total == pytest.approx(found.energy, abs=1e-9)
    for frame in frames(tmp_path / "f.dump"):
        assert frame[:, 5:] == pytest.approx(reference.get_forces(), abs=2e-5)


def test_beside_other_styles(build: Build, water: Atoms, tmp_path: Path) -> None:
    """It adds in hybrid/overlay, leaves with its style, and comes back after clear."""
    lj = "pair_coeff * * lj/cut 0.005 1.0"
    both = f"""\
pair_style hybrid/overlay python 5.0 lj/cut 6.0
pair_coeff * * python mlff_md.lammps.Student H O
{lj}
"""
    only = "pair_style lj/cut 6.0\npair_coeff * * 0.005 1.0\nrun 0\n"
    deck = head(water, tmp_path, pair=both) + "run 0\n" + RESULT + only + RESULT
    again = head(
        water, tmp_path, pair="pair_style python 5.0\npair_coeff * * mlff_md.lammps.Student H O\n"
    )
    deck += "clear\n" + again + "run 0\n" + RESULT
    together, without, alone = results(succeed(build, deck, tmp_path))
    assert together.energy == pytest.approx(without.energy + alone.energy, abs=1e-4)
    assert together.pressure == pytest.approx(without.pressure + alone.pressure, rel=1e-6, abs=0.1)
    assert abs(without.energy) < 100.0
    assert alone.energy == pytest.approx(evaluated(water).get_potential_energy(), abs=192e-6)


def test_types_without_an_element(build: Build, water: Atoms, tmp_path: Path) -> None:
    """Types mapped to NULL are not there for the student."""
    pair = """\
pair_style hybrid/overlay python 5.0 zero 5.0
pair_coeff * * python mlff_md.lammps.Student NULL O
pair_coeff * * zero
"""
    deck = head(water, tmp_path, pair=pair) + "run 0\n" + RESULT
    (found,) = results(succeed(build, deck, tmp_path))
    oxygens = evaluated(water[water.numbers == 8])
    assert found.energy == pytest.approx(oxygens.get_potential_energy(), abs=64e-6)


def test_units_real_and_newton_off(build: Build, water: Atoms, tmp_path: Path) -> None:
    deck = head(water, tmp_path) + "run 0\n" + RESULT
    metal, real = (
        results(succeed(build, deck.replace("units metal", f"units {name}\nnewton off"), tmp_path))
        for name in ("metal", "real")
    )
    plain = results(succeed(build, deck, tmp_path))[0]
    assert metal[0].energy == plain.energy
    assert metal[0].pressure == pytest.approx(plain.pressure, rel=1e-6, abs=0.1)
    assert real[0].energy == pytest.approx(plain.energy * KCAL_PER_EV, rel=1e-6)
    assert real[0].pressure * 1.01325 == pytest.approx(plain.pressure, rel=1e-5, abs=0.2)


def test_minimisation(build: Build, aspirin: Atoms, tmp_path: Path) -> None:
    deck = "variable mlff_dtype string float64\n" + head(aspirin, tmp_path)
    deck += "run 0\n" + RESULT + "minimize 0 1e-3 1000 3000\n"
    deck += DUMP.format(every=1, name="m.dump") + "run 0\n" + RESULT
    start, end = results(succeed(build, deck, tmp_path))
    assert end.energy < start.energy - 0.005
    last = frames(tmp_path / "m.dump")[-1]
    assert np.linalg.norm(last[:, 5:]) < 1e-3
    aspirin.positions = last[:, 2:5]
    reference = evaluated(aspirin, "float64")
    assert end.energy == pytest.approx(reference.get_potential_energy(), abs=1e-9)


def test_restart_goes_on_as_if_unbroken(build: Build, aspirin: Atoms, tmp_path: Path) -> None:
    motion = "fix motion all nve\ntimestep 0.0005\n"
    start = head(aspirin, tmp_path) + "velocity all create 300 5 loop geom\n" + motion
    deck = start + "run 20\nwrite_restart half.restart\nrun 20\n" + RESULT
    unbroken = results(succeed(build, deck, tmp_path))
    deck = head(aspirin, tmp_path).replace("read_data structure.data", "read_restart half.restart")
    (restarted,) = results(succeed(build, deck + motion + "run 20\n" + RESULT, tmp_path))
    assert restarted.energy == pytest.approx(unbroken[0].energy, abs=1e-6)


def test_triclinic_barostat(build: Build, crystal: Atoms, tmp_path: Path) -> None:
    deck = (
        head(crystal, tmp_path)
        + DUMP.format(every=40, name="npt.dump")
        + """
velocity all create 300 6
fix motion all npt temp 300 300 0.1 tri 1 1 1
timestep 0.0002
run 40
"""
    )
    deck += RESULT + 'print "CELL $(lx:%.17g) $(ly:%.17g) $(lz:%.17g) $(xy:%.17g) $(xz:%.17g) '
    deck += '$(yz:%.17g)"\n'
    output = succeed(build, deck, tmp_path)
    lx, ly, lz, xy, xz, yz = map(float, output.rpartition("CELL ")[2].split()[:6])
    last = frames(tmp_path / "npt.dump")[-1]
    numbers = np.array([0, *sorted({6, 7, 8})])[last[:, 1].astype(int)]
    atoms = Atoms(numbers, last[:, 2:5], cell=[[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]], pbc=True)
    (found,) = results(output)
    reference = evaluated(atoms)
    assert found.energy == pytest.approx(reference.get_potential_energy(), abs=8e-6)
    mine = -reference.get_stress()[[0, 1, 2, 5, 4, 3]] / units.bar
    assert found.pressure == pytest.approx(mine, abs=1e-5 * np.abs(mine).max())
