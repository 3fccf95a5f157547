"""Damaged files of every kind: one clear line, nothing run, nothing touched, no hang."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import warnings
from collections import Counter
from pathlib import Path

import pytest
from damage import same_every_time
from hypothesis import HealthCheck, Phase, given, settings
from loaders import LOADERS
from watch import no_longer_than, no_more_memory_than, nothing_else_happens, scratch

from mlff_md.cli import explain
from mlff_md.errors import MlffError
from mlff_md.memory import peak_MB

FEW, MANY = 20, int(os.environ.get("MLFF_MD_FUZZ", "300"))
# The same files every time, so that a change is judged by what it changes; MLFF_MD_FUZZ=1000
# looks for new ones.
REPEATABLE = "MLFF_MD_FUZZ" not in os.environ
MOST_MEMORY_MB = 512
"""No file of a few kilobytes may take more, in all of its variations."""


def ran_out(error: BaseException | None) -> bool:
    """Tell whether a refusal began with memory that was not given."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def fuzz(name: str, count: int, *, repeatable: bool) -> Counter[str]:
    """Try damaged files of one kind; return how many were accepted and refused."""
    loader, tried = LOADERS[name], Counter[str]()
    if loader.needs and importlib.util.find_spec(loader.needs) is None:
        pytest.skip(f"needs {loader.needs}")
    with scratch() as folder, warnings.catch_warnings():
        # A reader may warn of odd numbers; refusing them is what counts.
        warnings.simplefilter("ignore")
        path = Path(folder) / loader.name

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=repeatable,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(loader.inputs())
        def one(content: bytes) -> None:
            path.write_bytes(content)
            try:
                with no_longer_than(20), nothing_else_happens(path.parent):
                    loader.read(path)
                tried["accepted"] += 1
            except MlffError as error:
                line = explain(error)
                assert line.isprintable(), repr(line)
                assert 10 < len(line) < 1000, line
                if ran_out(error) and not loader.asks_first:
                    raise MemoryError(f"taken for a damaged file: {line}") from error
                tried["refused"] += 1

        path.write_bytes(b"")
        with contextlib.suppress(MlffError):  # imports and caches of the first time
            loader.read(path)
        before = peak_MB()
        with no_more_memory_than(4 * MOST_MEMORY_MB), same_every_time(repeatable):
            one()
        assert peak_MB() - before < MOST_MEMORY_MB
    return tried


@pytest.mark.parametrize("name", LOADERS)
def test_a_few_damaged_files(name: str) -> None:
    tried = fuzz(name, FEW, repeatable=True)
    assert tried.total() >= FEW // 2
    # Of a dump beside a log little but the number of atoms is read.
    assert tried["refused"] or name == "LAMMPS dump beside a log"


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADERS)
def test_hundreds_of_damaged_files(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    tried = fuzz(name, MANY, repeatable=REPEATABLE)
    with capsys.disabled():
        print(f"\nfuzzed {name}: {tried.total()} files, {tried['refused']} refused")
    assert tried.total() >= MANY // 2
