"""Raw data of the NVE protocol: kept, replaced, damaged, interrupted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from mlff_md.errors import ConfigError, DataError, SimulationError
from mlff_md.md import run_nve
from mlff_md.protocols.nve import analyze
from mlff_md.protocols.raw import read_run, write_run
from mlff_md.report import write_report

from .bare import run, validate_nve
from .outcome import verdicts
from .toys import ElasticNetwork, small_molecule


class Interrupt(ElasticNetwork):
    """What the user does after a number of calls."""

    def __init__(self, reference: Atoms, calls: int) -> None:
        super().__init__(reference)
        self.limit = calls

    def spoil(self, results: dict[str, Any]) -> None:
        if self.calls > self.limit:
            raise KeyboardInterrupt


def test_interrupted_protocol_is_inconclusive(tmp_path: Path) -> None:
    atoms = small_molecule()
    with pytest.raises(KeyboardInterrupt):
        run(
            atoms,
            Interrupt(atoms, calls=500),
            tmp_path,
            replicas=3,
            steps=150,
            equilibration_fs=50.0,
        )
    report = analyze(tmp_path)
    assert verdicts(report)["stability"] == "inconclusive"
    assert "cut off" in {c.id: c for c in report.checks}["stability"].summary


def test_existing_run_is_kept_unless_told(tmp_path: Path) -> None:
    atoms = small_molecule()
    options = {"steps": 20, "equilibration_fs": 10.0}
    raw = run(atoms, ElasticNetwork(atoms), tmp_path, replicas=2, **options)
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    with pytest.raises(ConfigError, match="already holds a run"):
        run(atoms, ElasticNetwork(atoms), tmp_path, replicas=1, **options)
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == before
    run(atoms, ElasticNetwork(atoms), tmp_path, replicas=1, overwrite=True, **options)
    assert sorted(path.name for path in raw.iterdir()) == ["replica-0.npz", "run.json"]


def test_old_report_goes_before_a_new_run(tmp_path: Path) -> None:
    atoms = small_molecule()
    options = {"replicas": 1, "steps": 20, "equilibration_fs": 10.0}
    report = validate_nve(atoms, ElasticNetwork(atoms), out=tmp_path, **options)
    write_report(report, tmp_path)
    drawn = {path for path in tmp_path.rglob("*") if path.parent.name != "raw" and path.is_file()}
    assert len(drawn) > 6
    mine = tmp_path / "figures" / "mine.png"
    mine.write_bytes(b"not of the report")
    # What cannot start leaves the old result whole.
    with pytest.raises(SimulationError):
        run(Atoms("U2", [[0, 0, 0], [0, 0, 3]]), EMT(), tmp_path, overwrite=True, **options)
    assert all(path.exists() for path in drawn)

    with pytest.raises(KeyboardInterrupt):
        run(atoms, Interrupt(atoms, calls=15), tmp_path, overwrite=True, **options)
    left = {path for path in tmp_path.rglob("*") if path.is_file() and "restart" not in path.parts}
    assert left == {tmp_path / "raw" / "run.json", mine}


def test_damaged_report_is_no_hindrance_to_a_new_run(tmp_path: Path) -> None:
    atoms = small_molecule()
    options = {"replicas": 1, "steps": 20, "equilibration_fs": 10.0}
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"")
    out = tmp_path / "out"
    for text in ("{", "[]", '{"figures": [3]}', '{"figures": [{"id": "../../outside"}]}'):
        (out / "figures").mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(text)
        run(atoms, ElasticNetwork(atoms), out, overwrite=True, **options)
        assert not (out / "report.json").exists()
    assert outside.exists()


def test_folder_that_cannot_be_emptied_is_told(tmp_path: Path) -> None:
    atoms = small_molecule()
    (tmp_path / "report.json").mkdir()
    with pytest.raises(ConfigError, match="cannot make the folder"):
        run(atoms, ElasticNetwork(atoms), tmp_path, overwrite=True)


def test_validation_without_a_folder_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    atoms = small_molecule()
    validate_nve(atoms, ElasticNetwork(atoms), replicas=1, steps=20, equilibration_fs=0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: (raw / "run.json").unlink(),
        lambda raw: (raw / "run.json").write_text("{"),
        lambda raw: (raw / "run.json").write_text('{"kind": "other"}'),
        lambda raw: (raw / "run.json").write_text('{"kind": "nve", "replicas": [3]}'),
        lambda raw: (raw / "replica-0.npz").unlink(),
        lambda raw: (raw / "replica-0.npz").write_bytes(b"PK garbage"),
        lambda raw: (raw / "replica-0.npz").write_bytes((raw / "replica-0.npz").read_bytes()[:500]),
    ],
)
def test_damaged_raw_data_are_told_in_one_line(tmp_path: Path, damage: Any) -> None:
    atoms = small_molecule()
    raw = run(atoms, ElasticNetwork(atoms), tmp_path, replicas=1, steps=20, equilibration_fs=5.0)
    damage(raw)
    with pytest.raises(DataError) as caught:
        analyze(raw)
    assert "\n" not in str(caught.value)


def test_flipped_bits_of_raw_data_are_told_or_harmless(tmp_path: Path) -> None:
    atoms = small_molecule()
    path = tmp_path / "replica-0.npz"
    original = run_nve(atoms, ElasticNetwork(atoms), steps=20)
    write_run(path, original)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            result = read_run(path)
        except DataError:
            told += 1
        else:
            assert np.array_equal(result.total_energy_eV, original.total_energy_eV)
    assert told > 50


def test_series_of_the_wrong_shape_are_told(tmp_path: Path) -> None:
    atoms = small_molecule()
    path = tmp_path / "replica-0.npz"
    original = run_nve(atoms, ElasticNetwork(atoms), steps=20)
    flat = original.momentum_u_A_per_fs[:, 0]
    write_run(path, dataclasses.replace(original, momentum_u_A_per_fs=flat))
    with pytest.raises(DataError, match="unlike lengths"):
        read_run(path)


def test_replica_file_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    atoms = small_molecule()
    raw = run(atoms, ElasticNetwork(atoms), tmp_path, replicas=1, steps=20, equilibration_fs=5.0)
    record = json.loads((raw / "run.json").read_text())
    (raw / "replica-0.npz").rename(tmp_path / "outside.npz")
    record["replicas"][0]["file"] = "../outside.npz"
    (raw / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="missing"):
        analyze(raw)
