"""Labelling periodic structures: what is sampled, resumed, held out and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from mlff_md.cli import main
from mlff_md.distill.bulk import BulkSettings, bulk_items, random_strain, sample_bulk, supercell
from mlff_md.distill.bulk_labelling import label_structures
from mlff_md.distill.dataset import Dataset
from mlff_md.errors import ConfigError, DataError

FAST = {
    "teacher": "emt",
    "temperatures_K": (300.0, 900.0),
    "melt_temperatures_K": (1500.0,),
    "trajectories": 2,
    "frames": 2,
    "rattles": 6,
    "supercell_atoms": 8,
    "vacancies": 0.5,
}


@pytest.fixture(scope="module")
def copper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("copper") / "copper.xyz"
    bulk("Cu", cubic=True).write(path, format="extxyz")
    return path


@pytest.fixture(scope="module")
def labelled(copper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return label_structures([copper], tmp_path_factory.mktemp("labels") / "out", **FAST)


def test_labels_are_the_teachers(labelled: Path) -> None:
    dataset = Dataset.load(labelled)
    assert dataset.stress is not None
    for atoms in dataset:
        energy, forces, stress = (
            atoms.get_potential_energy(),
            atoms.get_forces(),
            atoms.get_stress(),
        )
        atoms.calc = EMT()
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_array_equal(forces.astype(np.float32), atoms.get_forces().astype("f4"))
        np.testing.assert_allclose(stress, atoms.get_stress(), atol=1e-7)


def test_all_kinds_are_there(labelled: Path) -> None:
    dataset = Dataset.load(labelled)
    kinds = {kind: int((dataset.kinds == kind).sum()) for kind in np.unique(dataset.kinds)}
    assert kinds == {"contact": 2, "crystal": 4, "melt": 4, "rattle": 4, "vacancy": 4}
    assert set(dataset.counts[dataset.kinds == "vacancy"]) == {7}
    assert set(dataset.counts[dataset.kinds != "vacancy"]) == {8}
    assert set(dataset.temperature_K[dataset.kinds == "melt"]) == {1500.0}
    assert set(dataset.temperature_K[dataset.kinds == "rattle"]) == {0.0}
    # One trajectory has one cell, another has another.
    cells = {cell.tobytes() for cell in dataset.cell[dataset.kinds == "crystal"]}
    assert len(cells) == 2
    lengths = np.linalg.norm(dataset.cell, axis=2)
    assert np.abs(lengths / lengths.mean(axis=0) - 1.0).max() < 0.1


def test_melts_are_disordered(labelled: Path) -> None:
    dataset = Dataset.load(labelled)
    spread = {}
    for kind, temperature in (("crystal", 300.0), ("melt", 1500.0)):
        chosen = (dataset.kinds == kind) & (dataset.temperature_K == temperature)
        spread[kind] = np.std(dataset.select(chosen).forces)
    assert spread["melt"] > 1.5 * spread["crystal"]


def test_a_rerun_makes_only_what_is_missing(copper: Path, tmp_path: Path) -> None:
    still = {**FAST, "temperatures_K": (), "melt_temperatures_K": (), "rattles": 20}
    out = label_structures([copper], tmp_path / "out", **still)
    kept, lost = sorted(out.glob("shard-*.npz"))
    content, time = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    label_structures([copper], out, **still)
    assert lost.read_bytes() == content
    assert kept.stat().st_mtime_ns == time
    with pytest.raises(ConfigError, match="other settings"):
        label_structures([copper], out, **{**still, "strain": 0.01})


def test_held_out_sets_are_other_trajectories(copper: Path, labelled: Path, tmp_path: Path) -> None:
    few = {**FAST, "temperatures_K": (300.0,), "melt_temperatures_K": (), "vacancies": 0.0}
    cells = [{cell.tobytes() for cell in Dataset.load(labelled).cell}]
    for split in ("val", "test"):
        path = label_structures([copper], tmp_path / f"{split}.npz", split=split, **few)
        held_out = Dataset.load(path)
        assert set(held_out.kinds) == {"crystal"}
        cells.append({cell.tobytes() for cell in held_out.cell})
    assert [len(part) for part in cells] == [12, 2, 2]
    assert len(set.union(*cells)) == 16
    with pytest.raises(ConfigError, match="exists"):
        label_structures([copper], tmp_path / "val.npz", split="val", **few)
    with pytest.raises(ConfigError, match=r"as \.npz"):
        label_structures([copper], tmp_path / "folder", split="val", **few)


def test_supercells_and_strains() -> None:
    cell = supercell(bulk("Si", cubic=True), 60)
    assert len(cell) == 64
    assert np.allclose(cell.cell.lengths(), 2 * 5.43)
    rng = np.random.default_rng(0)
    strain = random_strain(0.03, np.array([True, True, False]), rng)
    assert np.array_equal(strain, strain.T)
    assert not strain[2].any()
    settings = BulkSettings(strain=0.0, contact=(0.7, 0.7))
    items = bulk_items([("Si", cell)], settings)
    contact = next(item for item in items if item.kind == "contact")
    (sample,) = sample_bulk(contact, settings, rng)
    atoms = cell.copy()
    atoms.positions = sample.positions
    distances = atoms.get_all_distances(mic=True)
    assert distances[distances > 0].min() == pytest.approx(0.7 * 2.35, abs=0.4)


def test_a_teacher_that_fails_is_told(tmp_path: Path) -> None:
    path = tmp_path / "si.xyz"
    bulk("Si", cubic=True).write(path, format="extxyz")
    with pytest.raises(DataError, match="nothing could be labelled"):  # EMT knows no silicon
        label_structures([path], tmp_path / "out", **FAST)
    with pytest.raises(DataError, match="the teacher failed"):
        label_structures([path], tmp_path / "val.npz", split="val", **FAST)
    assert not (tmp_path / "val.npz").exists()


def test_command(copper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["label", "--structure", str(copper), "--teacher", "emt", "--supercell-atoms", "4"]
    words += ["--temperatures-K", "300,600", "--trajectories", "1", "--frames", "1"]
    assert main([*words, "--rattles", "2", "--out", str(tmp_path / "out")]) == 0
    assert "labels: " in capsys.readouterr().out
    assert len(Dataset.load(tmp_path / "out")) == 4
    settings = json.loads((tmp_path / "out" / "label.json").read_text())["settings"]
    assert settings["sampling"]["temperatures_K"] == [300.0, 600.0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--structure", "ethanol.xyz"], "has no cell"),
        (["--structure", "none.xyz"], "none.xyz"),
        (["--structure", "ethanol.xyz", "--temperatures-K", "hot"], "separated by commas"),
        (["--structure", "ethanol.xyz", "--temperatures-K", "-3"], "temperatures"),
        (["--structure", "ethanol.xyz", "--frames", "0"], "at least 1"),
        (["--structure", "ethanol.xyz", "--molecules", "x"], "does nothing with --structure"),
        (["--frames", "3"], "does nothing without --structure"),
    ],
)
def test_mistakes_take_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    molecule("CH3CH2OH").write("ethanol.xyz")
    assert main(["label", "--teacher", "emt", "--out", "out", *words]) == 3
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not Path("out").exists()
