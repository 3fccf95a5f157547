"""Several processes at once: in one folder, in one cache. Real processes, started together."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import write
from loaders import student_bytes

from mlff_md.native import available

ROOT = Path(__file__).parents[2]
HOW_MANY = 3


def start(words: list[str], folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    ended = []
    for process in processes:
        out, error = process.communicate(timeout=240)
        assert "Traceback" not in error, error
        ended.append((process.returncode, out, error))
    return ended


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.slow
def test_one_folder_for_several_reports(tmp_path: Path) -> None:
    """One run gets the folder; the others say so, or find its report. What is there is whole."""
    log = ROOT / "inputs" / "logs" / "lammps-melt.log"
    words = ["-m", "mlff_md", "drift", str(log), "--out", "out"]
    ended = finish([start(words, tmp_path) for _ in range(HOW_MANY)])
    codes = [code for code, _, _ in ended]
    assert codes.count(0) >= 1
    assert set(codes) <= {0, 3}
    for code, _, error in ended:
        assert code == 0 or "--force" in error, error
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["verdict"] == "pass"
    for figure in report["figures"]:
        assert (tmp_path / "out" / "figures" / f"{figure['id']}.svg").stat().st_size > 1000
    assert not leftovers(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="minutes without the native engine")
def test_one_folder_for_several_runs(tmp_path: Path) -> None:
    write(tmp_path / "water.xyz", molecule("H2O"))
    words = ["-m", "mlff_md", "validate-nve", "water.xyz", "--out", "out", "--replicas", "2"]
    words += ["--steps", "400", "--equilibration-fs", "5"]
    ended = finish([start(words, tmp_path) for _ in range(HOW_MANY)])
    judged = [code for code, _, _ in ended if code in (0, 1, 2)]
    assert len(judged) == 1, ended
    refused = [error for code, _, error in ended if code == 3]
    assert len(refused) == HOW_MANY - 1
    assert all("out" in error for error in refused)
    record = json.loads((tmp_path / "out" / "report.json").read_text())
    assert record["provenance"]["settings"]["replicas"] == 2
    assert not leftovers(tmp_path)


def test_one_trajectory_for_several_runs(tmp_path: Path) -> None:
    """The frames of two runs never end up in one file."""
    from ase.io import read

    write(tmp_path / "water.xyz", molecule("H2O"))
    words = ["-m", "mlff_md", "md", "water.xyz", "--steps", "400", "--out", "run.extxyz"]
    words += ["--timestep-fs", "0.2"]
    ended = finish(
        [start([*words, "--seed", str(seed)], tmp_path) for seed in range(1, HOW_MANY + 1)]
    )
    assert [code for code, _, _ in ended].count(0) >= 1
    frames = read(tmp_path / "run.extxyz", index=":")
    assert [atoms.info["step"] for atoms in frames] == list(range(0, 401, 20))
    total = [atoms.get_total_energy() for atoms in frames]
    assert max(total) - min(total) < 0.05, "frames of different runs"


@pytest.mark.slow
def test_one_cache_for_several_exports(tmp_path: Path) -> None:
    """Each makes what it needs, and what is kept is whole."""
    pytest.importorskip("onnxruntime")
    (tmp_path / "small.safetensors").write_bytes(student_bytes(quantised=False))
    code = (
        "from ase.build import molecule; from mlff_md import StudentForceFieldCalculator as C;"
        "a = molecule('CH3OH'); a.calc = C('small.safetensors', engine='onnx-int8');"
        "print(repr(a.get_potential_energy()))"
    )
    cache = tmp_path / "cache"
    together = [start(["-c", code], tmp_path, MLFF_MD_CACHE=str(cache)) for _ in range(HOW_MANY)]
    ended = finish(together)
    assert [code for code, _, _ in ended] == [0] * HOW_MANY
    ((again, out, _),) = finish([start(["-c", code], tmp_path, MLFF_MD_CACHE=str(cache))])
    assert again == 0
    assert {text for _, text, _ in ended} == {out}
    kept = [path for path in cache.rglob("*") if path.is_file()]
    assert len(kept) == 1
    assert not leftovers(tmp_path)


def test_one_cache_for_several_packed_students(tmp_path: Path) -> None:
    """What LAMMPS' ranks would do if each packed the student for itself."""
    words = ["-m", "mlff_md.lammps.pack", "ultra-tiny"]
    together = [start(words, tmp_path, MLFF_MD_CACHE=str(tmp_path)) for _ in range(HOW_MANY)]
    ended = finish(together)
    assert [code for code, _, _ in ended] == [0] * HOW_MANY
    (path,) = {out.splitlines()[0] for _, out, _ in ended}
    from mlff_md.lammps.pack import pack
    from mlff_md.student import load_student

    expected = hashlib.sha256(pack(load_student("ultra-tiny"))).hexdigest()
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == expected
    assert not leftovers(tmp_path)


@pytest.mark.lammps
def test_one_cache_for_several_compilations(tmp_path: Path) -> None:
    """The plugin is compiled by the first, and all get the same file."""
    from mlff_md.errors import MissingDependencyError
    from mlff_md.lammps import plugin

    try:
        plugin.installed()
        plugin._find_compiler(None)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    code = "from mlff_md.lammps.plugin import build; p = build(); print(p, p.stat().st_ino)"
    together = [start(["-c", code], tmp_path, MLFF_MD_CACHE=str(tmp_path)) for _ in range(2)]
    ended = finish(together)
    assert [code for code, _, _ in ended] == [0, 0]
    assert len({out for _, out, _ in ended}) == 1
