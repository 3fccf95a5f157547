"""The runs of a comparison: what is there is not made again, and nothing is mixed in."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.constraints import FixAtoms

from mlff_md.errors import ConfigError, DataError, StructureError
from mlff_md.protocols.compare import analyze, run

from .comparing import SHORT
from .toys import ElasticNetwork, Scaled, small_molecule


def stamps(raw: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in raw.glob("*.npz")}


def test_a_rerun_makes_only_what_is_missing(master: ElasticNetwork, tmp_path: Path) -> None:
    options = {**SHORT, "steps": 40, "replicas": 2, "floor_replicas": 1}
    atoms = small_molecule()
    raw = run(atoms, Scaled(master, 1.02), master, tmp_path, **options)
    before = stamps(raw)
    first = analyze(raw).to_json()
    (raw / "model-1.npz").unlink()
    master.calls = 0
    run(atoms, Scaled(master, 1.02), master, tmp_path, **options)
    after = stamps(raw)
    assert {name for name in before if before[name] != after[name]} == {"model-1.npz"}
    assert master.calls < 50  # the model asks the same calculator: 41 times and a few
    assert analyze(raw).to_json() == first
    run(atoms, Scaled(master, 1.02), master, tmp_path, **{**options, "replicas": 3})
    longer = stamps(raw)
    assert {name: longer[name] for name in after} == after
    assert {"teacher-2.npz", "model-2.npz", "labels-2.npz"} <= set(longer)


def test_an_interrupted_comparison_goes_on(master: ElasticNetwork, tmp_path: Path) -> None:
    options = {**SHORT, "steps": 40, "replicas": 3, "floor_replicas": 1}
    atoms = small_molecule()
    whole = run(atoms, Scaled(master, 1.02), master, tmp_path / "whole", **options)

    class Interrupt:
        def begin(self, label: str, total: int, timestep_fs: float | None = None) -> None:
            self.total = total

        def skip(self, done: int) -> None: ...

        def update(self, done: int) -> None:
            assert done <= self.total
            if done > 0.5 * self.total:
                raise KeyboardInterrupt

        def end(self) -> None: ...

    with pytest.raises(KeyboardInterrupt):
        run(atoms, Scaled(master, 1.02), master, tmp_path / "cut", **options, progress=Interrupt())
    cut = tmp_path / "cut" / "raw"
    assert 0 < len(stamps(cut)) < len(stamps(whole))
    run(atoms, Scaled(master, 1.02), master, tmp_path / "cut", **options)
    assert set(stamps(cut)) == set(stamps(whole))
    assert analyze(cut).to_json() == analyze(whole).to_json()


def test_other_runs_are_not_mixed_in(master: ElasticNetwork, same: Path, tmp_path: Path) -> None:
    atoms = small_molecule()
    folder = same.parent
    with pytest.raises(ConfigError, match="another temperature_K"):
        run(atoms, master, master, folder, **SHORT, temperature_K=400.0)
    with pytest.raises(ConfigError, match="another model"):
        run(atoms, Scaled(master, 1.0), master, folder, **SHORT)
    moved = small_molecule()
    moved.positions[0] += 0.01
    with pytest.raises(ConfigError, match="another structure"):
        run(moved, master, master, folder, **SHORT)
    options = {**SHORT, "temperature_K": 400.0, "teacher_runs": str(same)}
    with pytest.raises(ConfigError, match="made with another temperature_K"):
        run(atoms, master, master, tmp_path, **options)
    with pytest.raises(DataError, match="no raw data"):
        run(atoms, master, master, tmp_path / "x", **SHORT, teacher_runs=str(tmp_path / "none"))


def test_overwriting_starts_anew(master: ElasticNetwork, tmp_path: Path) -> None:
    options = {**SHORT, "steps": 40, "replicas": 2, "floor_replicas": 0, "kicked_replicas": 0}
    atoms = small_molecule()
    raw = run(atoms, Scaled(master, 1.02), master, tmp_path, **{**options, "replicas": 3})
    run(atoms, Scaled(master, 1.02), master, tmp_path, **options, overwrite=True)
    assert not (raw / "teacher-2.npz").exists()


def test_damaged_data_are_told(master: ElasticNetwork, tmp_path: Path) -> None:
    options = {**SHORT, "steps": 40, "replicas": 1, "floor_replicas": 0, "kicked_replicas": 0}
    raw = run(small_molecule(), master, master, tmp_path, **options)
    (raw / "model-0.npz").write_bytes(b"rubbish")
    with pytest.raises(DataError, match=r"model-0\.npz is not raw data"):
        analyze(raw)
    (raw / "run.json").write_text('{"kind": "compare", "settings": {"steps": "many"}}')
    with pytest.raises(DataError, match="damaged"):
        analyze(raw)
    with pytest.raises(DataError, match="no raw data"):
        analyze(tmp_path / "nothing")


def test_options_that_cannot_be_used(master: ElasticNetwork, tmp_path: Path) -> None:
    atoms = small_molecule()
    for options, words in (
        ({"replicas": 0}, "replicas must be at least 1"),
        ({"steps": 10}, "10 steps with a frame at every 2"),
        ({"temperature_K": 0.0}, "temperature_K must be a number above zero"),
        ({"labels": 500}, "labels must be at most the 61 frames"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(atoms, master, master, tmp_path, **{**SHORT, **options})
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(ConfigError, match="no constraints"):
        run(atoms, master, master, tmp_path, **SHORT)
    with pytest.raises(StructureError, match="at least two atoms"):
        run(Atoms("H"), master, master, tmp_path, **SHORT)
    assert not (tmp_path / "raw").exists()
