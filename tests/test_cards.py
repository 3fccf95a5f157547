"""Cards: measured, written into the file, shown; what was not measured is not shown."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mlff_md import StudentForceFieldCalculator, analyze_forces, load_student
from mlff_md.cards import measure_card, starts
from mlff_md.cli import main
from mlff_md.distill.dataset import Dataset
from mlff_md.errors import ConfigError
from mlff_md.student import Student, save_student
from mlff_md.student.card import card

ROOT = Path(__file__).parents[1]
TEST_SET = ROOT / "tests" / "data" / "gfn2-test.npz"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cards") / "few.npz"
    Dataset.load(TEST_SET).select(np.arange(0, 984, 10)).save(path)
    return path


def test_accuracy_and_domain_are_measured_and_kept(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "measured.safetensors"
    told: list[str] = []
    measure_card("ultra-tiny", out, validation=str(few), intended_use="tests", tell=told.append)
    student = load_student(out)
    shipped = load_student("ultra-tiny")
    assert student.manifest.accuracy["test"] == shipped.manifest.accuracy["test"]
    section = student.manifest.accuracy["validation"]
    assert section["num_molecules"] == 41
    assert {"all", "300 K", "600 K", "1000 K", "H", "C", "S"} <= set(section)
    assert (
        sum(section[symbol]["num_atoms"] for symbol in student.elements)
        == (section["all"]["num_atoms"])
    )
    for name, weight in shipped.weights.items():
        np.testing.assert_array_equal(student.weights[name], weight)
    assert len(told) == 1
    text = card(student)
    assert "validation set of 41 molecules, held out whole" in text
    assert "for         tests" in text


def test_the_force_analysis_confirms_the_card(few: Path, tmp_path: Path) -> None:
    def verdict(student: Student) -> str:
        report = analyze_forces(Dataset.load(few), StudentForceFieldCalculator(student))
        return next(check.verdict for check in report.checks if check.id == "card")

    student = measure_card("tiny", tmp_path / "measured.safetensors", test=str(few))
    assert verdict(student) == "pass"
    # A card that lies is found out.
    accuracy = json.loads(json.dumps(student.manifest.accuracy))
    accuracy["test"]["all"]["r2"] += 1e-4
    lying = dataclasses.replace(student.manifest, accuracy=accuracy)
    assert verdict(dataclasses.replace(student, manifest=lying)) == "fail"


def test_domain_only_from_the_frames_it_was_trained_on(few: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="was not trained on these frames"):
        measure_card("tiny", tmp_path / "a.safetensors", train=str(few))
    student = load_student("tiny")
    training = {**student.manifest.training, "dataset_sha256": Dataset.load(few).sha256}
    own = tmp_path / "own.safetensors"
    save_student(own, dataclasses.replace(student.manifest, training=training), student.weights)
    measured = measure_card(own, tmp_path / "b.safetensors", train=str(few))
    assert measured.manifest.domain["num_frames"] == 99
    text = card(measured)
    assert "domain: what 99 training frames hold" in text
    assert "H-C " in text


def test_refusals(tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(ConfigError, match="give test as well"):
        measure_card("tiny", out, robustness=True)
    with pytest.raises(ConfigError, match=r"written as \.safetensors"):
        measure_card("tiny", tmp_path / "a.pt")
    out.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists"):
        measure_card("tiny", out)
    assert out.read_bytes() == b"mine"


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "measure", "tiny"]) == 3
    assert "give --out FILE.safetensors" in capsys.readouterr().err
    out = tmp_path / "a.safetensors"
    words = ["models", "measure", "tiny", "--out", str(out), "--limits", "ions"]
    assert main(words) == 0
    assert "not for     ions" in capsys.readouterr().out
    assert main(words) == 3
    assert main(["models", "show", str(out)]) == 0


def test_nothing_is_shown_that_was_not_measured(random_student: Student) -> None:
    text = card(random_student)
    for word in ("errors", "NVE", "robustness", "speed", "domain", "trained on", "not for"):
        assert word not in text


@pytest.mark.parametrize("section", ["nve", "robustness", "speed", "domain"])
def test_damaged_sections_do_not_hide_the_card(random_student: Student, section: str) -> None:
    manifest = dataclasses.replace(random_student.manifest, **{section: {"x": 1}})
    text = card(dataclasses.replace(random_student, manifest=manifest))
    assert f"{section}: this section of the file is damaged" in text


@pytest.mark.slow
def test_everything_measured(few: Path, tmp_path: Path) -> None:
    few_molecules = tmp_path / "small.npz"
    small = Dataset.load(TEST_SET)
    small.select(np.flatnonzero(small.counts <= 11)[::12]).save(few_molecules)
    out = tmp_path / "a.safetensors"
    measure_card(
        "ultra-tiny",
        out,
        test=str(few_molecules),
        nve=[str(ROOT / "inputs" / "structures" / "water.xyz")],
        robustness=True,
        speed=True,
    )
    text = card(load_student(out))
    assert "NVE (mlff-md validate-nve)" in text
    assert "water" in text
    assert "0 holes in 66 scans" in text
    assert "ns/day at 0.5 fs" in text
    manifest = load_student(out).manifest
    assert manifest.nve["water"]["verdict"] in ("pass", "inconclusive")
    assert manifest.robustness["hot"]["whole"] == manifest.robustness["hot"]["molecules"]
    assert {row["n_atoms"] for row in manifest.speed["times"]} == {9, 21, 501}


def test_hot_runs_start_from_the_coolest_frame_of_each_molecule() -> None:
    test = Dataset.load(TEST_SET)
    for atoms, name in zip(starts(test), dict.fromkeys(test.molecules.tolist()), strict=True):
        mine = test.select(test.molecules == name)
        coolest = mine.select(mine.temperature_K == mine.temperature_K.min()).frame(0)
        assert np.array_equal(atoms.positions, coolest.positions)
        assert atoms.calc is None
