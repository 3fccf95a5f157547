"""Frames that a guard flagged, labelled by the teacher, mend the student that failed on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from mlff_md import StudentForceFieldCalculator, load_student
from mlff_md.distill.config import DataConfig, DistillConfig, OptimizerConfig, StudentConfig
from mlff_md.distill.dataset import Dataset
from mlff_md.distill.flagged import KIND, label_frames, repair, select_frames
from mlff_md.errors import DataError
from mlff_md.md import run_nvt
from mlff_md.student.domain import Domain

pytest.importorskip("tblite", reason="the teacher is GFN2-xTB: pip install tblite")

TEST_SET = Path(__file__).parents[1] / "data" / "gfn2-test.npz"


def sf6() -> Atoms:
    arms = 1.6 * np.vstack([np.eye(3), -np.eye(3)])
    return Atoms("SF6", np.vstack([np.zeros(3), arms]))


@pytest.fixture(scope="module")
def flagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a guard kept of sulfur hexafluoride, which no student was trained on."""
    file = tmp_path_factory.mktemp("flagged") / "sf6.flagged.extxyz"
    with pytest.warns(UserWarning, match="unlike any in training"):
        run_nvt(
            sf6(),
            StudentForceFieldCalculator("ultra-tiny"),
            steps=120,
            guard="save",
            guard_every=5,
            guard_file=file,
        )
    return file


def test_frames_are_thinned_and_radicals_left_out(flagged: Path) -> None:
    from ase.io import read

    student = load_student("ultra-tiny")
    frames = read(flagged, index=":")
    chosen = select_frames(frames, student)
    steps = np.array([atoms.info["step"] for atoms in chosen])
    assert 5 <= len(chosen) <= len(frames)
    assert np.diff(steps).min() >= 5
    # A run that was resumed has written some frames again.
    again = select_frames(frames[:12] + frames[4:], student)
    assert [atoms.info["step"] for atoms in again] == steps.tolist()
    radical = frames[0][:-1]
    with pytest.raises(DataError, match="none of the frames can be used"):
        select_frames([radical], student)


def test_labels_belong_to_what_is_stored(flagged: Path) -> None:
    from ase.io import read

    from mlff_md.teachers import teacher

    frames = select_frames(read(flagged, index=":"), load_student("ultra-tiny"))[:2]
    labels = label_frames(frames, "gfn2-xtb", 1, np.random.default_rng(0))
    assert len(labels) == 4
    assert set(labels.kinds) == {KIND}
    assert sorted(set(labels.molecules)) == ["flagged-0", "flagged-1"]
    for atoms in labels:
        stored = atoms.get_forces()
        atoms.calc = teacher("gfn2-xtb")
        np.testing.assert_allclose(atoms.get_forces(), stored, atol=1e-5)


@pytest.mark.slow
def test_a_failure_is_mended(flagged: Path, tmp_path: Path) -> None:
    """In half a minute, on a few frames: what a few minutes on all do is in docs/guard.md."""
    usual = Dataset.load(TEST_SET)
    train, rest = tmp_path / "train.npz", tmp_path / "rest.npz"
    usual.select(np.arange(0, 984, 3)).save(train)
    usual.select(np.arange(1, 984, 12)).save(rest)
    config = DistillConfig(
        StudentConfig("mended"),
        DataConfig((str(train),), (str(rest),)),
        OptimizerConfig(compile=False),
    )
    done = repair(
        config, [flagged], tmp_path, student="ultra-tiny", steps=150, copies=2, sample=328
    )
    assert done.before.mae_eV_per_A > 0.3
    assert done.after.mae_eV_per_A < 0.3 * done.before.mae_eV_per_A
    assert done.validation_after.r2 > done.validation_before.r2 - 0.003
    again = load_student(done.path)
    assert again.sha256 == done.student.sha256
    assert again.manifest.training["flagged"]["parent"] == load_student("ultra-tiny").sha256
    # Measured on other weights: no longer true.
    assert not again.manifest.nve
    assert not again.manifest.speed
    domain = Domain.from_manifest(again.manifest.domain, again.elements)
    assert domain.environments is not None
    assert domain.even_electrons
    assert dataclasses.asdict(done.after)["num_frames"] > 0
