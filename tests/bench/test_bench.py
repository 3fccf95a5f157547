"""The benchmark: what it counts and reports, not how fast anything is."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mlff_md.bench import bench, timing
from mlff_md.bench.flops import native_flops
from mlff_md.bench.structures import structure_of, water_box
from mlff_md.cli import main
from mlff_md.errors import ConfigError
from mlff_md.student.architecture import Architecture


@pytest.mark.parametrize(("asked", "got"), [(9, 9), (20, 9), (21, 21), (100, 99), (500, 498)])
def test_structures_have_the_size(asked: int, got: int) -> None:
    assert len(structure_of(asked)) == got


def test_water_box_is_a_liquid_without_overlaps() -> None:
    box = water_box(64)
    density = box.get_masses().sum() / box.get_volume() * 1.66054
    assert density == pytest.approx(1.0, abs=0.01)
    distances = box.get_all_distances(mic=True)[np.triu_indices(len(box), 1)]
    assert distances.min() > 0.9
    assert np.count_nonzero(distances < 1.2) == 2 * 64  # the O-H bonds


def test_too_small_a_structure_is_refused() -> None:
    with pytest.raises(ConfigError, match="9 atoms"):
        structure_of(3)


def test_every_contender_is_called_in_turn() -> None:
    calls: list[str] = []
    timings = timing.interleaved(
        {name: lambda n=name: calls.append(n) for name in "ab"}, 0.0, least=3
    )
    assert set(timings) == {"a", "b"}
    assert all(told.samples >= 3 for told in timings.values())
    first_b, last_a = calls.index("b"), len(calls) - 1 - calls[::-1].index("a")
    assert last_a > first_b


def test_median_best_and_the_slow_end_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of 0.1 to 2 s on a made-up clock; before each, one that must not be counted."""
    now = 0.0
    seconds = iter([9.0, 9.0, *(wait for k in range(20) for wait in (9.0, 0.1 * (20 - k)))])

    def call() -> None:
        nonlocal now
        now += next(seconds)

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now))
    told = timing.interleaved({"a": call}, 0.0, least=20)["a"]
    assert told.samples == 20
    assert told.best_ms == pytest.approx(100.0)
    assert told.median_ms == pytest.approx(1050.0)
    assert told.p95_ms == pytest.approx(1905.0)


def test_flops_of_a_case_counted_by_hand() -> None:
    """One layer, 16 of everything: dense layers and pair loops as native/src does them."""
    shape = Architecture(16, 1, 4, vector_dim=16, quadrupole_dim=16, mlp_dim=16)
    per_atom = 2 * 2 * (3 * 16 * 32 + 5 * 16 * 16 + 80 * 16 + 16 * 16 + 16 * 16)
    forward = 16 * (10 + 20 + 28)
    reverse = 16 * (10 + 34 + 48)
    assert native_flops(shape, 1, 0) == per_atom
    assert native_flops(shape, 0, 1) == forward + reverse


def test_flops_of_the_layers_after_the_first_counted_by_hand() -> None:
    """They also send scalars through a dense layer, and carry vectors and quadrupoles over."""
    one, two = (
        Architecture(16, n, 4, vector_dim=16, quadrupole_dim=16, mlp_dim=16) for n in (1, 2)
    )
    sent = 2 * (16 * 16 + 16 * 5 * 16)
    inner = 2 * (3 * 16 * 32 + 5 * 16 * 16 + 80 * 16)
    last_to_first = 2 * 16 * 2 * 16  # the first layer is not the last: it also yields vectors
    assert native_flops(two, 1, 0) - native_flops(one, 1, 0) == 2 * (
        sent + inner + 2 * 16 * 16 + last_to_first
    )
    forward = 16 * (10 + 20 + 28) + 16 * (18 + 26)
    reverse = 16 * (20 + 83 + 115)
    assert native_flops(two, 0, 1) - native_flops(one, 0, 1) == forward + reverse


def test_bench_reports_ratios_and_errors() -> None:
    result = bench(["tiny"], engines=["torchscript", "torch", "ase-step"], atoms=[9], seconds=0.1)
    assert [row["engine"] for row in result.rows] == ["torchscript", "torch", "ase-step"]
    for row in result.rows[:2]:
        assert 0.0 < row["max_force_error_eV_per_A"] < 1e-4
        assert row["ns_per_day"] == pytest.approx(0.5 * 86.4 / row["median_ms"])
    table = result.markdown().splitlines()
    assert table[2].split("|")[8].strip() == "1.0"


def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    words = ["bench", "--atoms", "9", "--engines", "torch", "--seconds", "0.05"]
    assert main([*words, "--json", str(out)]) == 0
    assert "| tiny | 9 | 1 | torch |" in capsys.readouterr().out
    assert json.loads(out.read_text())["rows"][0]["atoms"] == 9
    assert main([*words[:2], "many"]) == 3
    assert "whole numbers" in capsys.readouterr().err


def test_batches_and_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "bench"
    words = [
        "bench",
        "--atoms",
        "9,21",
        "--engines",
        "torch",
        "--batches",
        "1,4",
        "--out",
        str(out),
    ]
    assert main([*words, "--seconds", "0.05"]) == 0
    rows = json.loads((out / "bench.json").read_text())["rows"]
    assert [(row["atoms"], row["batch"]) for row in rows] == [(9, 1), (9, 4), (21, 1), (21, 4)]
    for row in rows:
        assert row["structures_per_s"] == pytest.approx(1e3 * row["batch"] / row["median_ms"])
        assert row["resident_MB"] > 10.0
    assert rows[1]["max_force_error_eV_per_A"] < 1e-4
    text = (out / "bench.md").read_text()
    assert "| tiny | 21 | 4 | torch |" in text
    for name in ("time-tiny", "batch-tiny-9", "batch-tiny-21"):
        assert f"{name}.png" in text
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / f"{name}.svg").stat().st_size > 1000
    capsys.readouterr()
    assert main(words) == 3
    assert "--force" in capsys.readouterr().err
    assert main(["bench", "--quick", "--atoms", "9"]) == 3
    assert main(["bench", "--batches", "0", "--seconds", "0.01"]) == 3
