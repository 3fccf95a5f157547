"""The folder of a comparison: taken over if its runs are of the same one, else left alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlff_md.errors import ConfigError
from mlff_md.protocols.compare_data import KIND, PARTS, TEACHER_PARTS, same_runs
from mlff_md.protocols.raw import claim_folder, raw_of, read_record


def claim(raw: Path, record: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make the raw folder, or take over one that holds runs of the very same comparison.

    Raises
    ------
    ConfigError
        If the folder holds something else and must not be overwritten.
    """
    there = raw / "run.json"
    if overwrite or not there.exists():
        claim_folder(raw, overwrite=overwrite)
        for part in PARTS:
            for old in raw.glob(f"{part}-*.npz"):
                old.unlink()
        return
    different = same_runs(read_record(there, KIND), record)
    if different is not None:
        raise ConfigError(
            f"{raw} holds runs with another {different}; choose another folder, or say that they "
            "may be overwritten"
        )


def borrow_teacher(raw: Path, record: Mapping[str, Any], source: Path) -> None:
    """Copy the teacher's runs of another comparison of the same structure.

    Raises
    ------
    ConfigError
        If they were made in another way.
    DataError
        If there are none.
    """
    source = raw_of(source)
    different = same_runs(read_record(source / "run.json", KIND), record, model=False)
    if different is not None:
        raise ConfigError(f"the teacher's runs in {source} were made with another {different}")
    for part in TEACHER_PARTS:
        for file in sorted(source.glob(f"{part}-*.npz")):
            if not (raw / file.name).exists():
                temporary = raw / f".{file.name}.tmp"
                shutil.copyfile(file, temporary)
                temporary.replace(raw / file.name)
