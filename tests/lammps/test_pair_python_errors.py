"""What stops a run of ``pair_style python``: one clear line, and never a step with old forces."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ase import Atoms
from python_runs import head, run

from mlff_md import read_structure
from mlff_md.errors import MissingDependencyError
from mlff_md.lammps.builds import Build
from mlff_md.lammps.deck import ATTACH
from mlff_md.lammps.launcher import choose_build

STRUCTURES = Path(__file__).parents[2] / "inputs" / "structures"

pytestmark = pytest.mark.lammps


@pytest.fixture(scope="module")
def build() -> Build:
    """A LAMMPS with the package PYTHON."""
    try:
        return choose_build(frozenset({"python"}), own_python=True)
    except MissingDependencyError as error:
        pytest.skip(f"no LAMMPS with PYTHON (Debian: apt install lammps): {error}")


@pytest.fixture
def water() -> Atoms:
    return Atoms(
        "OH2", [[5.0, 5.0, 5.0], [5.6, 5.6, 5.0], [5.5, 4.3, 5.4]], cell=[12, 12, 12], pbc=True
    )


def message(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of ``mlff_md``, of a run that failed."""
    assert done.returncode != 0, done.stdout
    lines = re.findall(r"^ERROR.*mlff_md: (.*?)-*$", done.stderr + done.stdout, re.M)
    assert lines, done.stdout + done.stderr
    assert len(set(lines)) == 1, lines
    assert "Traceback" not in done.stderr
    return lines[0]


def student(elements: str) -> str:
    return f"pair_style python 5.0\npair_coeff * * mlff_md.lammps.Student {elements}\n"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"pair": student("H Xx")}, "does not know 'Xx'; it knows H C N O"),
        ({"pair": student("h O")}, "did you mean H"),
        ({"pair": student("O H")}, "atom type 1 O, but its mass 1.008 is that of H"),
        ({"before": "variable mlff_student string huge\n"}, "huge"),
        ({"before": "variable mlff_engine string warp\n"}, "no engine is called 'warp'"),
        ({"before": "variable mlff_threads string many\n"}, "must be a number"),
        ({"before": "variable mlff_threads equal 2\n"}, "write: variable mlff_threads string"),
    ],
)
def test_wrong_words(
    change: dict[str, str], expected: str, build: Build, water: Atoms, tmp_path: Path
) -> None:
    assert expected in message(run(build, head(water, tmp_path, **change) + "run 0\n", tmp_path))


def test_masses_that_are_meant(build: Build, water: Atoms, tmp_path: Path) -> None:
    """A deuterium is nobody's mass; an oxygen's on hydrogen has to be meant."""
    deck = head(water, tmp_path) + "mass 1 MASS\nrun 0\n"
    assert run(build, deck.replace("MASS", "2.014"), tmp_path).returncode == 0
    assert "that of O" in message(run(build, deck.replace("MASS", "15.999"), tmp_path))
    deck = "variable mlff_masses string any\n" + deck
    assert run(build, deck.replace("MASS", "15.999"), tmp_path).returncode == 0


def test_other_units(build: Build, water: Atoms, tmp_path: Path) -> None:
    deck = head(water, tmp_path).replace("units metal", "units electron") + "run 0\n"
    assert "units metal or real, not electron" in message(run(build, deck, tmp_path))


def test_respa(build: Build, water: Atoms, tmp_path: Path) -> None:
    deck = head(water, tmp_path) + "run_style respa 2 2 pair 2\nfix motion all nve\nrun 1\n"
    assert "run_style respa" in message(run(build, deck, tmp_path))


def test_lammps_that_has_not_passed_itself(build: Build, water: Atoms, tmp_path: Path) -> None:
    deck = head(water, tmp_path).replace(ATTACH, "") + "run 0\n"
    told = message(run(build, deck, tmp_path))
    assert "LAMMPS has not passed itself" in told
    assert "from mlff_md.lammps import attach" in told


def test_lammps_may_pass_itself_first(build: Build, water: Atoms, tmp_path: Path) -> None:
    deck = ATTACH + head(water, tmp_path).replace(ATTACH, "") + "run 0\n"
    assert run(build, deck, tmp_path).returncode == 0


@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_that_meet_stop_the_run(
    ranks: int, build: Build, water: Atoms, tmp_path: Path
) -> None:
    """At the step at which two atoms lie on each other, whatever the ranks."""
    if ranks > 1 and shutil.which("mpirun") is None:
        pytest.skip("no mpirun")
    deck = (
        head(water, tmp_path, ghosts_A=12.0)
        + """
group one id 1
group two id 2
fix still one move linear 0 0 0
fix moving two move linear -6 -6 0
timestep 0.001
neigh_modify every 1 delay 0
thermo 1
run 200
"""
    )
    done = run(build, deck, tmp_path, ranks=ranks)
    told = message(done)
    assert "Å apart" in told
    steps = [int(step) for step in re.findall(r"^ +(\d+) ", done.stdout, re.M)]
    # 0.6 Å at 6 Å/ps: they meet after 100 steps, and are too close some steps before.
    assert 85 <= max(steps, default=99) < 100


def test_ghosts_that_do_not_reach(build: Build, water: Atoms, tmp_path: Path) -> None:
    liquid = read_structure(STRUCTURES / "water-box-64.xyz")
    short = run(build, head(liquid, tmp_path, ghosts_A=9.5) + "run 0\n", tmp_path, ranks=2)
    assert "comm_modify cutoff 12" in message(short)
    enough = run(build, head(liquid, tmp_path, ghosts_A=10.0) + "run 0\n", tmp_path, ranks=2)
    assert enough.returncode == 0, enough.stderr
    # Where there is nothing to be seen, nothing is missed.
    sparse = run(build, head(water * 2, tmp_path, ghosts_A=9.5) + "run 0\n", tmp_path, ranks=2)
    assert sparse.returncode == 0, sparse.stderr


def test_several_ranks_need_newton(build: Build, water: Atoms, tmp_path: Path) -> None:
    deck = "newton off\n" + head(water, tmp_path, ghosts_A=12.0) + "run 0\n"
    assert "newton on" in message(run(build, deck, tmp_path, ranks=2))


def test_energy_fix_that_was_removed(build: Build, water: Atoms, tmp_path: Path) -> None:
    deck = head(water, tmp_path) + "unfix mlff_md\nrun 0\n"
    assert "do not unfix mlff_md" in message(run(build, deck, tmp_path))


def test_not_a_number(build: Build, water: Atoms, tmp_path: Path) -> None:
    deck = head(water, tmp_path) + "fix motion all nve\ntimestep 1e4\nrun 50\n"
    done = run(build, deck, tmp_path)
    assert done.returncode != 0
    assert "ERROR" in done.stdout + done.stderr
