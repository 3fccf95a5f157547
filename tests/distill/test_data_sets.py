"""Data sets that are missing or do not fit are found before anything costly begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import write

from mlff_md.distill import flagged
from mlff_md.distill.config import DataConfig, DistillConfig, StudentConfig
from mlff_md.distill.data_sets import largest_force, load_data_sets
from mlff_md.distill.dataset import Dataset
from mlff_md.distill.train import distill
from mlff_md.errors import DataError

ROOT = Path(__file__).parents[2]


def labelled(*names: str) -> Dataset:
    frames = []
    for name in names:
        atoms = molecule(name)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    return Dataset.from_atoms(frames)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    labelled("CH4", "C2H6").save(tmp_path / "hydrocarbons.npz")
    labelled("CH4", "NH3", "H2O").save(tmp_path / "more.npz")
    flagged_frame = molecule("CH4")
    flagged_frame.set_array("flagged", np.array([True] * 5))
    write(tmp_path / "flagged.extxyz", [flagged_frame] * 3)
    return tmp_path


def config(folder: Path, train: str, validation: str, *elements: str) -> DistillConfig:
    return DistillConfig(
        StudentConfig("test", elements=elements or ("H", "C")),
        DataConfig((str(folder / train),), (str(folder / validation),), teacher="emt"),
    )


def test_an_element_that_is_not_in_elements_is_named_with_its_data_set(folder: Path) -> None:
    path = folder / "more.npz"
    with pytest.raises(DataError) as error:
        distill(config(folder, "hydrocarbons.npz", "more.npz"), folder / "out")
    assert str(error.value) == (
        f"[data] validation: {path} holds N, O, and the student knows only H C; add what is "
        "missing to 'elements' in [student], or leave that data set out"
    )


def test_no_data_set_at_all(folder: Path) -> None:
    empty = DataConfig((), (str(folder / "more.npz"),))
    with pytest.raises(DataError, match=r"\[data\] train names no data set; 'mlff-md label' makes"):
        load_data_sets(empty, ("H", "C", "N", "O"), "")


@pytest.mark.parametrize(
    ("train", "validation", "student", "message"),
    [
        ("absent.npz", "more.npz", "tiny", r"\[data\] train: .*absent.npz does not exist"),
        ("more.npz", "absent.npz", "tiny", r"\[data\] validation: .*absent.npz does not exist"),
        ("hydrocarbons.npz", "more.npz", "si-sw", "the flagged frames hold H, C, and sw-si-v1"),
    ],
)
def test_nothing_is_labelled_before_all_data_are_there(
    train: str,
    validation: str,
    student: str,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(_: object) -> None:
        raise AssertionError("the teacher was asked")

    monkeypatch.setattr(flagged, "make_teacher", never)
    settings = config(folder, train, validation, "H", "C", "N", "O")
    with pytest.raises(DataError, match=message):
        flagged.repair(settings, [folder / "flagged.extxyz"], folder / "out", student=student)
    assert not (folder / "out").exists()


def test_elements_beyond_a_finished_student_want_another_student(folder: Path) -> None:
    silicon = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])
    silicon.set_array("flagged", np.array([True, True]))
    write(folder / "flagged.extxyz", [silicon] * 3)
    with pytest.raises(DataError, match=r"more.npz holds H, C, N, O, .*choose another --student"):
        flagged.repair(
            config(folder, "more.npz", "more.npz"),
            [folder / "flagged.extxyz"],
            folder / "out",
            student="si-sw",
        )


def test_paths_are_told_without_detours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = ROOT / "inputs" / "training" / "tiny.toml"
    monkeypatch.chdir(ROOT)
    assert DistillConfig.load("inputs/training/tiny.toml").data.train == ("labels/train",)
    monkeypatch.chdir(tmp_path)
    assert DistillConfig.load(path).data.train == (str(ROOT / "labels" / "train"),)


def test_largest_force_of_each_frame() -> None:
    data = labelled("CH4", "NH3")
    expected = [np.linalg.norm(atoms.get_forces(), axis=1).max() for atoms in data]
    np.testing.assert_allclose(largest_force(data), expected, rtol=1e-6)
    assert largest_force(data.select(np.array([], dtype=int))).shape == (0,)
