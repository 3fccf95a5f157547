"""Exported files: the same numbers through the calculator, and nothing else is ever written."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from mlff_md import StudentForceFieldCalculator, load_student
from mlff_md.cli import main
from mlff_md.engines import load_exported
from mlff_md.engines.exported import parse_exported
from mlff_md.errors import ConfigError, DataError, MlffError
from mlff_md.exporters import FORMATS, ExportResult, export, onnx
from mlff_md.exporters.parity import graphs
from mlff_md.student import Student

GATED = ("onnx", "onnx-int8", "torchscript")


def weights_of(result: ExportResult, student: Student) -> Student:
    return student if result.student_path is None else load_student(result.student_path)


@pytest.mark.parametrize("format", GATED)
def test_file_runs_in_the_calculator(
    format: str,
    exported: dict[str, ExportResult],
    random_student: Student,
    ethanol: Atoms,
    crystal: Atoms,
) -> None:
    result = exported[format]
    student = weights_of(result, random_student)
    reference = StudentForceFieldCalculator(student, engine="torch", dtype="float64")
    tested = StudentForceFieldCalculator(result.path, trust=True)
    far = Atoms("OHO", [[0, 0, 0], [50, 0, 0], [0, 50, 0]])
    for atoms in (ethanol, crystal, Atoms("C"), far, crystal.repeat((3, 2, 2))):
        one, two = (calculator.evaluate([atoms])[0] for calculator in (reference, tested))
        scale = max(1.0, float(np.sqrt(np.mean(one.forces**2))))
        assert np.abs(two.forces - one.forces).max() < 3e-5 * scale
        assert abs(two.energy - one.energy) < 1e-5 * len(atoms)
        assert (one.stress is None) == (two.stress is None)
    told = tested.describe()
    assert told["engine"] == load_exported(result.path, trust=True).engine
    assert told["parent_sha256"] == student.sha256
    again = copy.deepcopy(tested)
    assert np.array_equal(again.get_forces(ethanol), tested.get_forces(ethanol))


@pytest.mark.parametrize("format", GATED)
def test_file_says_what_it_is_and_not_where_it_was_made(
    format: str, exported: dict[str, ExportResult], random_student: Student
) -> None:
    result = exported[format]
    student = weights_of(result, random_student)
    file = load_exported(result.path, trust=True)
    assert file.format == format
    assert file.manifest == student.manifest
    assert file.parent_sha256 == student.sha256
    content = result.path.read_bytes()
    for trace in (b"/home", b"/tmp", b"site-packages", b".py\x00", str(Path.cwd()).encode()):
        assert trace not in content


def test_cases_of_the_gate(random_student: Student) -> None:
    cases = dict(graphs(random_student))
    assert {"single atoms", "pairs of atoms", "ghost atoms", "2000 atoms"} <= set(cases)
    assert cases["2000 atoms"].n_atoms == 2000
    assert cases["single atoms"].n_edges == 0
    assert 0 < cases["ghost atoms"].local.sum() < cases["ghost atoms"].n_atoms
    pairs = cases["pairs of atoms"]
    kinds = set(zip(*pairs.species[pairs.edges].tolist(), strict=True))
    assert len(kinds) == len(random_student.elements) ** 2
    assert np.linalg.norm(pairs.vectors, axis=1).min() < 0.5


def test_a_file_that_is_not_the_student_is_not_written(
    random_student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = onnx.content

    def wrong(student: Student) -> bytes:
        weights = dict(student.weights)
        name = "layers.2.update_in.weight"
        weights[name] = weights[name] * np.float32(1.001)
        return right(Student(student.manifest, weights, student.sha256))

    monkeypatch.setattr(onnx, "content", wrong)
    with pytest.raises(DataError, match="was not written"):
        export(random_student, tmp_path / "wrong.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_what_cannot_be_had(
    random_student: Student, exported: dict[str, ExportResult], tmp_path: Path
) -> None:
    path = exported["onnx"].path
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists"):
        export(random_student, path)
    assert path.read_bytes() == before
    with pytest.raises(ConfigError, match=r"there are .*onnx-int8"):
        export(random_student, format="tflite")
    with pytest.raises(ConfigError, match=r"end in \.pt"):
        export(random_student, tmp_path / "small.onnx", format="torchscript")
    with pytest.raises(ConfigError, match="calibration"):
        export(random_student, tmp_path / "small.onnx", calibration=[Atoms("C")])
    for options, message in (
        ({"engine": "native"}, "runs on the engine onnx"),
        ({"dtype": "float64"}, "float32 on the cpu"),
    ):
        with pytest.raises(ConfigError, match=message):
            StudentForceFieldCalculator(path, **options)
    engine = StudentForceFieldCalculator(path, engine="onnx").engine
    with pytest.raises(MlffError):
        engine.compute(Atoms())


def test_command(
    random_student: Student,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    exported: dict[str, ExportResult],
) -> None:
    source = exported["onnx-int8"].student_path
    out = tmp_path / "again.int8.onnx"
    assert main(["export", str(source), "--format", "onnx-int8", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"{out.stat().st_size:,} bytes" in said
    assert "against torch in float64" in said
    # The same quantised student gives the same file.
    assert out.read_bytes() == exported["onnx-int8"].path.read_bytes()
    assert main(["export", str(source), "--format", "onnx-int8", "--out", str(out)]) == 3
    assert "--force" in capsys.readouterr().err


def test_suffixes_are_those_that_load() -> None:
    for suffix in FORMATS.values():
        assert Path(f"x{suffix}").suffix in (".onnx", ".pt", ".pt2")


@pytest.mark.slow
def test_aoti(random_student: Student, tmp_path: Path, ethanol: Atoms, own_cache: Path) -> None:
    import shutil

    if shutil.which("g++") is None:
        pytest.skip("AOTInductor needs a C++ compiler")
    result = export(random_student, tmp_path / "small.pt2", format="aoti")
    assert result.parity.passed
    with pytest.raises(MlffError, match="program"):
        StudentForceFieldCalculator(result.path)
    tested = StudentForceFieldCalculator(result.path, trust=True)
    # The second time it comes out of the cache.
    (kept,) = own_cache.glob("*.pt2")
    assert kept.read_bytes() == result.path.read_bytes()
    engine = StudentForceFieldCalculator(random_student, engine="aoti")
    reference = StudentForceFieldCalculator(random_student, engine="torch", dtype="float64")
    for atoms in (ethanol, Atoms("C"), Atoms("OH", [[0, 0, 0], [1.0, 0, 0]])):
        expected = reference.get_forces(atoms)
        for calculator in (tested, engine):
            assert np.abs(calculator.get_forces(atoms) - expected).max() < 3e-5
    # The machine code names torch's headers, wherever they are, but not where it was compiled.
    assert str(tmp_path).encode() not in result.path.read_bytes()
    parse_exported(result.path.read_bytes(), "copy.pt2", "aoti", trust=result_hash(result))


def result_hash(result: ExportResult) -> str:
    import hashlib

    return hashlib.sha256(result.path.read_bytes()).hexdigest()
