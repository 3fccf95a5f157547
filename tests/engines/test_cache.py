"""The cache of what is made from students: whole files, of this user only."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from mlff_md.engines.cache import cached


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("MLFF_MD_CACHE", str(path))
    return path


def make(content: bytes, times: list[int]) -> bytes:
    times.append(1)
    return content


def test_made_once(folder: Path) -> None:
    times: list[int] = []
    for _ in range(3):
        assert cached("a.bin", ("hash", "1"), lambda: make(b"one", times)) == b"one"
    assert len(times) == 1
    assert cached("a.bin", ("hash", "2"), lambda: make(b"two", times)) == b"two"
    assert len(list(folder.iterdir())) == 2
    assert not os.stat(folder).st_mode & 0o77


def test_not_shared_with_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    planted: list[int] = []
    with pytest.warns(UserWarning, match="MLFF_MD_CACHE"):
        assert cached("a.bin", ("hash",), lambda: make(b"mine", planted)) == b"mine"
    assert not list(folder.iterdir())


def test_no_place_to_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MLFF_MD_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not kept in the cache"):
        assert cached("a.bin", ("hash",), lambda: b"made") == b"made"


def store(number: int) -> int:
    return len(cached("shared.bin", ("hash",), lambda: bytes([number]) * 2_000_000))


def test_two_processes_at_once(folder: Path) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sizes = pool.map(store, range(8), chunksize=1)
    assert sizes == [2_000_000] * 8
    (kept,) = folder.iterdir()
    assert len(set(kept.read_bytes())) == 1
