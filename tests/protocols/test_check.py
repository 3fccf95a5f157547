"""The checklist: a shipped student passes, and each row sees the fault that it is there for."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the checklist exports: pip install 'mlff-md[onnx]'")
pytest.importorskip("onnxruntime", reason="the checklist exports")

from mlff_md.cli import main
from mlff_md.errors import ConfigError, DataError
from mlff_md.protocols import check
from mlff_md.protocols.check_measure import batch, leak, shapes
from mlff_md.protocols.check_rows import ROWS
from mlff_md.protocols.records import Report
from mlff_md.protocols.thresholds import THRESHOLDS, with_overrides
from mlff_md.student import load_student


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("check")
    return check.run("ultra-tiny", out, formats="onnx", evaluations=400)


@pytest.fixture
def found(raw: Path) -> dict[str, Any]:
    return copy.deepcopy(json.loads(raw.read_text()))


def verdict(found: dict[str, Any], name: str) -> str:
    (row,) = [row for row in ROWS if row.__name__ == name]
    return row(found, THRESHOLDS).verdict


# How fast this machine is at the moment is not a matter of the code.
LENIENT = with_overrides({"latency": 1000.0, "leak": 1000.0})


def test_a_shipped_student_passes(raw: Path) -> None:
    report = check.analyze(raw, LENIENT)
    assert {row.id: row.verdict for row in report.checks} == {row.__name__: "pass" for row in ROWS}
    assert report.verdict == "pass"
    assert Report.from_json(report.to_json()) == Report.from_json(report.to_json())
    assert report.provenance["calculator"]["student"] == load_student("ultra-tiny").name
    assert check.analyze(raw.parent.parent, LENIENT).to_json() == report.to_json()


@pytest.mark.parametrize(
    ("row", "place", "value"),
    [
        ("loads", ("formats", "onnx", "of_tolerance"), 1.1),
        ("loads", ("formats", "onnx"), {"error": "was not written"}),
        ("round_trip", ("round_trip", "weights_different"), 1),
        ("round_trip", ("round_trip", "manifest_equal"), False),
        ("shapes", ("shapes",), ["forces of 9 atoms has the shape (9,)"]),
        ("single_atom", ("single_atom", "forces_zero"), False),
        ("single_atom", ("single_atom", "finite"), False),
        ("batch", ("batch", "torchscript", "32"), 1e-4),
        ("repeatability", ("repeatability", "max_difference_eV_per_A"), 1e-7),
        ("latency", ("latency", "median_ms"), 5.1),
        ("large", ("large", "sizes", 1, "finite"), False),
        ("large", ("large",), {"error": "killed"}),
        ("memory", ("large", "peak_MB"), 2100.0),
        ("memory", ("large",), {"error": "killed"}),
        ("devices", ("devices", "cpu", "max_force_error_eV_per_A"), 1e-3),
        ("leak", ("leak", "resident_MB"), "growing"),
    ],
)
def test_each_row_sees_its_fault(
    row: str, place: tuple[str | int, ...], value: Any, found: dict[str, Any]
) -> None:
    if value == "growing":
        found["leak"] = {
            "evaluations": list(range(0, 401, 8)),
            "resident_MB": list(np.linspace(100.0, 100.1, 51)),
        }
    else:
        where: Any = found
        for key in place[:-1]:
            where = where[key]
        where[place[-1]] = value
    assert verdict(found, row) == "fail"


def test_what_this_machine_lacks_is_no_failure(found: dict[str, Any]) -> None:
    found["formats"]["aoti"] = {"skipped": "AOTInductor needs a C++ compiler"}
    found["devices"]["cuda"] = {"skipped": "torch sees no CUDA device"}
    for name in ("loads", "devices"):
        (row,) = [row for row in ROWS if row.__name__ == name]
        judged = row(found, THRESHOLDS)
        assert judged.verdict == "pass"
        assert "C++ compiler" in judged.summary or "no CUDA" in judged.summary


class Faulty:
    """A calculator with the faults that the measurements are there to see."""

    def __init__(self, student: Any, leaks: bool = False) -> None:
        from mlff_md import StudentForceFieldCalculator

        self._inner = StudentForceFieldCalculator(student)
        self._kept: list[np.ndarray] | None = [] if leaks else None

    def evaluate(self, structures: Any) -> list[Any]:
        import dataclasses

        results = self._inner.evaluate(structures)
        # The first structure of a batch feels the others; single results lose an atom.
        first = results[0].forces + 0.01 * (len(results) - 1)
        return [dataclasses.replace(results[0], forces=first, energies=first[1:, 0]), *results[1:]]

    def get_forces(self, atoms: Any) -> Any:
        if self._kept is not None:
            self._kept.append(np.ones(30_000))
        return self._inner.get_forces(atoms)


def test_measurements_see_faults(found: dict[str, Any]) -> None:
    student = load_student("ultra-tiny")
    structures = [check.standard_structure(student.elements)]
    wrong = shapes(Faulty(student), structures)  # type: ignore[arg-type]
    assert wrong == ["energies of 21 atoms has the shape (20,)"]
    assert batch(Faulty(student), structures, (1, 4))["4"] > 0.02  # type: ignore[arg-type]
    found["leak"] = leak(Faulty(student, leaks=True), structures[0], 400)  # type: ignore[arg-type]
    assert verdict(found, "leak") == "fail"
    found["leak"] = leak(Faulty(student), structures[0], 400)  # type: ignore[arg-type]
    assert verdict(found, "leak") == "pass"


def test_options_and_files(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no format"):
        check.run("tiny", tmp_path, formats="tflite")
    with pytest.raises(ConfigError, match="at least 100"):
        check.run("tiny", tmp_path, evaluations=1)
    with pytest.raises(ConfigError, match="exists"):
        check.run("tiny", raw.parent.parent)
    (tmp_path / "check.json").write_text("{}")
    with pytest.raises(DataError, match="not what the checklist measured"):
        check.analyze(tmp_path / "check.json")


@pytest.mark.slow
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report"
    words = ["check", "ultra-tiny", "--formats", "onnx", "--evaluations", "200", "--out", str(out)]
    limits = ["--threshold", "latency=1000", "--threshold", "leak=1000"]
    assert main([*words, *limits]) == 0
    assert "Single atom" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} >= {"report.json", "report.html", "raw"}
    assert main([*words, *limits]) == 3
    assert "--force" in capsys.readouterr().err
    assert main([*words, "--threshold", "latency=1e-6", "--force", "--json"]) == 1
    judged = json.loads(capsys.readouterr().out)
    assert judged["verdict"] == "fail"
