"""Data files and decks: what is written is the structure, and what is chosen fits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read

from mlff_md import StudentForceFieldCalculator
from mlff_md.errors import ConfigError, MissingDependencyError
from mlff_md.lammps.builds import Build, find_mpirun, mpi_of
from mlff_md.lammps.data_file import data_file, place
from mlff_md.lammps.deck import ATTACH, write_deck
from mlff_md.lammps.elements import check_masses
from mlff_md.lammps.launcher import prepare, styles_of, with_attach
from mlff_md.lammps.parity import _until_first_run, is_deck

BUILD = Build(Path("/usr/bin/lmp"), "29 Sep 2021", frozenset({"PYTHON"}), "Open MPI")


def back(atoms: Atoms) -> Atoms:
    """Read the data file of a structure with ASE."""
    file = io.StringIO(data_file(atoms).text)
    return read(file, format="lammps-data", atom_style="atomic", units="metal")


def energy(atoms: Atoms) -> float:
    atoms.calc = StudentForceFieldCalculator("tiny", dtype="float64")
    return float(atoms.get_potential_energy())


@pytest.mark.parametrize("skew", [0.0, 0.9, -1.7])
def test_crystals_keep_their_energy(skew: float, crystal: Atoms) -> None:
    """Also where the tilt is beyond what LAMMPS takes, so that another cell of the lattice is."""
    crystal.cell[1] += skew * crystal.cell[0]
    crystal.cell[2] -= skew * crystal.cell[1]
    found = back(crystal)
    assert energy(found) == pytest.approx(energy(crystal), abs=1e-9)
    cell = found.cell.array
    assert not np.triu(cell, 1).any()
    for row, column in ((1, 0), (2, 0), (2, 1)):
        assert abs(cell[row, column]) <= 0.5 * cell[column, column] + 1e-9


def test_left_handed_cells_keep_their_energy(crystal: Atoms) -> None:
    crystal.cell = crystal.cell[[1, 0, 2]]
    assert np.linalg.det(crystal.cell.array) < 0.0
    assert energy(back(crystal)) == pytest.approx(energy(crystal), abs=1e-9)


def test_open_directions_have_room(ethanol: Atoms) -> None:
    placed = place(ethanol)
    inside = ethanol.positions @ placed.rotation - placed.origin
    assert (inside >= 10.0 - 1e-9).all()
    assert (np.diag(placed.cell) - inside >= 10.0 - 1e-9).all()


def test_all_digits_and_velocities(ethanol: Atoms) -> None:
    rng = np.random.default_rng(1)
    ethanol.set_momenta(rng.normal(size=(9, 3)))
    found = back(ethanol)
    assert found.positions == pytest.approx(ethanol.positions, abs=1e-13)
    assert found.get_velocities() == pytest.approx(ethanol.get_velocities(), rel=1e-12)
    assert data_file(ethanol).has_velocities
    assert not data_file(molecule("H2O")).has_velocities


def test_isotopes_are_types_of_their_own() -> None:
    water = molecule("H2O")
    water.set_masses([15.999, 1.008, 2.014])
    assert data_file(water).elements == ("H", "H", "O")


def test_masses_of_another_element() -> None:
    check_masses({1: "H", 2: "O"}, np.array([0.0, 3.024, 15.999]))
    check_masses({1: "H"}, np.array([0.0, 0.0]))
    with pytest.raises(ConfigError, match=r"type 2 C, but its mass 15\.999 is that of O"):
        check_masses({1: "H", 2: "C"}, np.array([0.0, 1.008, 15.999]))


def test_deck_says_what_was_asked(ethanol: Atoms, tmp_path: Path) -> None:
    deck = write_deck(
        ethanol, tmp_path, ensemble="nvt", steps=7, timestep_fs=0.25, temperature_K=350.0, ranks=4
    )
    text = deck.read_text()
    assert styles_of(deck) == {"python"}
    for line in (
        "pair_coeff * * mlff_md.lammps.Student C H O",
        "comm_modify cutoff 12",
        "boundary m m m",
        "fix motion all nvt temp 350 350 0.1",
        "timestep 0.00025",
        "run 7",
    ):
        assert f"\n{line}\n" in text
    with pytest.raises(ConfigError, match="already holds a deck"):
        write_deck(ethanol, tmp_path)
    write_deck(ethanol, tmp_path, overwrite=True, style="mlff", dtype="float64")
    assert 'pair_style mlff dtype float64\npair_coeff * * "tiny" C H O' in deck.read_text()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"style": "eam"}, "style must be one of python, mlff"),
        ({"ensemble": "nph"}, "ensemble must be one of"),
        ({"ensemble": "npt"}, "periodic in all three"),
        ({"steps": 0}, "at least 1"),
        ({"timestep_fs": -1.0}, "cannot be run"),
    ],
)
def test_decks_that_cannot_be(options: dict, expected: str, ethanol: Atoms, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=expected):
        write_deck(ethanol, tmp_path / "deck", **options)
    assert not (tmp_path / "deck").exists()


def test_elements_that_the_student_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not know 'Au'"):
        write_deck(Atoms("Au"), tmp_path)


def test_lines_are_put_where_they_lack() -> None:
    two_lines = "pair_style python 5\npair_coeff * * mlff_md.lammps.Student H\n"
    assert with_attach(two_lines, BUILD) == ATTACH + two_lines
    assert with_attach(ATTACH + two_lines, BUILD) == ATTACH + two_lines
    assert with_attach("pair_style sw\n", BUILD) == "pair_style sw\n"
    wheel = Build(Path("lmp"), "22 Jul 2025", frozenset({"PLUGIN"}), "MPICH", wheel=True)
    assert with_attach(two_lines, wheel) == two_lines


def test_the_start_of_a_deck() -> None:
    deck = "units metal # run\ndump d all custom 1 &\n  f id\nfix 1 all nve\nrun 5\nfix 2 all x\n"
    assert _until_first_run(deck) == "units metal # run\nfix 1 all nve"


def test_decks_and_structures_are_told_apart(tmp_path: Path) -> None:
    for name, text in (("in.water", ""), ("a.lmp", ""), ("b.txt", "units metal\npair_style sw\n")):
        (tmp_path / name).write_text(text)
        assert is_deck(tmp_path / name)
    (tmp_path / "c.xyz").write_text("1\n\nO 0 0 0\n")
    assert not is_deck(tmp_path / "c.xyz")


def _fake_mpirun(folder: Path, version: str) -> Path:
    path = folder / "mpirun"
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)
    return path


def test_mpirun_of_another_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would start as many runs of one rank, without a word."""
    hydra = _fake_mpirun(tmp_path, "HYDRA build details: Version: 4.3")
    assert mpi_of(hydra) == "MPICH"
    (tmp_path / "in.lmp").write_text("units metal\n")
    with pytest.raises(ConfigError, match="2 runs of one rank each"):
        prepare(tmp_path / "in.lmp", BUILD, ranks=2, mpirun=hydra)
    (tmp_path / "srun").mkdir()
    srun = _fake_mpirun(tmp_path / "srun", "slurm 23.02")
    with pytest.raises(ConfigError, match="does not tell which MPI library it belongs to"):
        prepare(tmp_path / "in.lmp", BUILD, ranks=2, mpirun=srun)
    with pytest.raises(ConfigError, match=r"there is no program .*absent; leave --mpirun out"):
        prepare(tmp_path / "in.lmp", BUILD, ranks=2, mpirun=tmp_path / "absent")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("mlff_md.lammps.builds._USUAL_FOLDERS", ())
    alone = Build(tmp_path / "lmp", "29 Sep 2021", frozenset(), "Open MPI")
    with pytest.raises(MissingDependencyError, match="openmpi-bin"):
        find_mpirun(alone)
    serial = Build(tmp_path / "lmp", "29 Sep 2021", frozenset(), "none")
    with pytest.raises(ConfigError, match="without MPI"):
        find_mpirun(serial)
    with pytest.raises(ConfigError, match="without MPI"):
        prepare(tmp_path / "in.lmp", serial, ranks=2, mpirun=hydra)


def test_python_of_another_version_is_refused() -> None:
    other = Build(
        Path("/opt/lmp"), "2 Aug 2023", frozenset({"PYTHON"}), "MPICH", python_version="3.7"
    )
    with pytest.raises(ConfigError, match=r"embeds Python 3\.7"):
        other.environment()
