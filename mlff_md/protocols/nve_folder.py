"""The folder of an NVE protocol that goes on: taken over if it is of the same one, else refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlff_md.errors import ConfigError
from mlff_md.protocols.nve_data import KIND
from mlff_md.protocols.raw import RESTART_FOLDER, read_record


def take_over(raw: Path, record: Mapping[str, Any]) -> bool:
    """Return whether the folder holds runs of this very protocol, ``False`` if it holds none.

    Raises
    ------
    ConfigError
        If they were made in another way.
    DataError
        If their record is damaged or of another protocol.
    """
    path = raw / "run.json"
    if not path.exists():
        return False
    there = read_record(path, KIND)
    asked = json.loads(json.dumps(record, default=str))
    different = [key for key in ("structure", "calculator") if there.get(key) != asked[key]]
    old = there.get("settings")
    old = old if isinstance(old, Mapping) else {}
    different += [name for name, value in asked["settings"].items() if old.get(name) != value]
    if different:
        raise ConfigError(
            f"{raw} holds a run with another {', '.join(different)}: go on with what it had, or "
            "begin anew (--force; in Python overwrite=True)"
        )
    return True


def is_finished(raw: Path) -> bool:
    """Return whether a protocol that :func:`take_over` accepted made all of its runs."""
    record = read_record(raw / "run.json", KIND)
    whole = len(record["replicas"]) == record["settings"]["replicas"]
    return whole and not (raw / RESTART_FOLDER).exists()
