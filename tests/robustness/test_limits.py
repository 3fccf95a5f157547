"""How much memory a structure takes: said beforehand, and what is said is what is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from mlff_md import StudentForceFieldCalculator, native
from mlff_md.cli import main
from mlff_md.errors import ConfigError
from mlff_md.limits import CHECKED_FROM, bytes_per_atom, check_fits, mean_neighbors
from mlff_md.memory import available_bytes
from mlff_md.neighbors import NeighborList
from mlff_md.student import load_student

WATER = Path(__file__).parents[2] / "inputs" / "structures" / "water-box-64.xyz"

MEASURE = """
import sys
from ase.build import molecule
from ase.io import read
from mlff_md import StudentForceFieldCalculator
from mlff_md.memory import peak_MB
student, engine, dtype, repeats, path = sys.argv[1:]
atoms = read(path).repeat(int(repeats))
calculator = StudentForceFieldCalculator(student, engine=engine, dtype=dtype)
for _ in range(2):
    calculator.calculate(molecule("H2O"))
before = peak_MB()
for _ in range(2):
    calculator.calculate(atoms)
print((peak_MB() - before) * 2**20 / len(atoms))
"""
"""Prints the bytes per atom by which the peak of a process grows."""


def exact_neighbors(atoms: Atoms, radius_A: float) -> float:
    edges, _ = NeighborList(radius_A, skin_A=0.0).update(
        atoms.positions, atoms.cell.array, atoms.pbc
    )
    return edges.shape[1] / len(atoms)


def drop() -> Atoms:
    """A drop of water in vacuum: cut from a box, no periodicity."""
    atoms = read(WATER).repeat(3)
    atoms.pbc = False
    centre = atoms.positions.mean(axis=0)
    return atoms[np.linalg.norm(atoms.positions - centre, axis=1) < 16.0]


@pytest.mark.parametrize(
    "atoms",
    [read(WATER).repeat(2), bulk("Si", cubic=True).repeat(5), drop()],
    ids=["water", "silicon", "drop"],
)
def test_number_of_neighbors(atoms: Atoms) -> None:
    assert mean_neighbors(atoms, 5.0) == pytest.approx(exact_neighbors(atoms, 5.0), rel=0.25)


def test_numbers_far_apart() -> None:
    atoms = Atoms("H2000", np.random.default_rng(0).uniform(0.0, 1e6, (2000, 3)))
    assert mean_neighbors(atoms, 5.0) == pytest.approx(4.0 / 3.0 * np.pi, rel=1e-6)
    atoms.positions *= 1e200
    assert 1.0 < mean_neighbors(atoms, 5.0) <= 2000.0


def test_refused_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    if not native.available():
        pytest.skip(native.why_unavailable() or "")
    atoms = read(WATER).repeat(2)
    assert len(atoms) >= CHECKED_FROM
    calculator = StudentForceFieldCalculator("tiny", engine="native")
    monkeypatch.setattr("mlff_md.limits.available_bytes", lambda: 10_000_000)
    with pytest.raises(ConfigError, match=r"1,536 atoms need about .* MB .* at most about \d+"):
        calculator.calculate(atoms)
    with pytest.raises(ConfigError, match="1,536 atoms"):
        calculator.evaluate([atoms])
    assert calculator.n_evaluations == 0
    calculator.calculate(read(WATER))  # 192 atoms: not asked
    monkeypatch.setattr("mlff_md.limits.available_bytes", lambda: None)
    calculator.calculate(atoms)


def test_what_is_said_to_fit_fits() -> None:
    """The largest size that the message names is accepted, and a tenth more is not."""
    shape = load_student("tiny").manifest.architecture
    atoms, free = read(WATER).repeat(4), 100_000_000
    options = {"engine": "native", "dtype": "float32", "skin_A": 1.0, "free_bytes": free}
    with pytest.raises(ConfigError) as refused:
        check_fits(atoms, shape, **options)
    most = int(str(refused.value).split("at most about ")[1].split(" ")[0].replace(",", ""))
    each = bytes_per_atom(shape, mean_neighbors(atoms, shape.cutoff_A))
    assert most * each <= free < 1.12 * most * each


def test_available_memory() -> None:
    free = available_bytes()
    if free is None:
        pytest.skip("this system does not tell")
    assert 2**20 < free < 2**50


@pytest.mark.parametrize(
    ("limit", "used"),
    [
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ],
)
def test_what_a_container_has_used_is_not_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, used: str
) -> None:
    monkeypatch.setattr("mlff_md.memory._GROUPS", str(tmp_path))
    (tmp_path / "memory").mkdir()
    (tmp_path / limit).write_text("3000000\n")
    (tmp_path / used).write_text("1000000\n")
    assert available_bytes() == 2_000_000
    (tmp_path / used).write_text("4000000\n")
    assert available_bytes() == 0
    (tmp_path / limit).write_text("max\n")
    free = available_bytes()
    assert free is None or free > 4_000_000


def test_md_of_a_huge_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "large.xyz", read(WATER).repeat(2), format="extxyz")
    monkeypatch.setattr("mlff_md.limits.available_bytes", lambda: 10_000_000)
    out = tmp_path / "run.traj"
    assert main(["md", str(tmp_path / "large.xyz"), "--out", str(out), "--steps", "5"]) == 3
    assert "atoms of this density fit" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "engine", "dtype", "repeats"),
    [
        ("tiny", "native", "float32", 4),
        ("tiny", "native", "float64", 4),
        ("original", "native", "float32", 3),
        ("ultra-tiny", "native", "float32", 4),
        ("tiny", "torchscript", "float32", 2),
        ("original", "torchscript", "float32", 2),
        ("ultra-tiny", "torch", "float32", 2),
        ("tiny", "torch", "float32", 2),
        ("tiny", "onnx", "float32", 2),
    ],
)
def test_estimate_against_measurement(
    student: str, engine: str, dtype: str, repeats: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Enough, and less than twice as much as is needed."""
    if engine == "native" and not native.available():
        pytest.skip(native.why_unavailable() or "")
    if engine == "onnx":
        pytest.importorskip("onnxruntime")
    words = [sys.executable, "-c", MEASURE, student, engine, dtype, str(repeats), str(WATER)]
    measured = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    atoms, shape = read(WATER).repeat(repeats), load_student(student).manifest.architecture
    neighbors = mean_neighbors(atoms, shape.cutoff_A)
    said = bytes_per_atom(shape, neighbors, engine=engine, dtype=dtype)
    with capsys.disabled():
        print(
            f"\n{student} {engine} {dtype}, {len(atoms)} atoms: {measured / 1e3:.1f} kB an atom "
            f"measured, {said / 1e3:.1f} kB said"
        )
    assert measured < said < 2.0 * measured
