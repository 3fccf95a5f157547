"""Checkpoints of a training: written atomically, the previous one kept."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mlff_md.errors import ConfigError, DataError
from mlff_md.files import previous, write_keeping_previous

NEWEST = "checkpoint.pt"


def save_checkpoint(folder: Path, fingerprint: str, state: Mapping[str, Any]) -> None:
    """Write a state; the checkpoint before stays as a reserve."""
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, **state}, buffer)
    write_keeping_previous(folder / NEWEST, buffer.getvalue())


def load_checkpoint(folder: Path, fingerprint: str) -> Mapping[str, Any] | None:
    """Return the newest state that can be read, ``None`` if there never was one.

    Raises
    ------
    ConfigError
        If the folder holds the checkpoint of another configuration or data set.
    DataError
        If there are checkpoints and none can be read.
    """
    damaged = []
    for path in (folder / NEWEST, previous(folder / NEWEST)):
        if not path.exists():
            continue
        try:
            state: Mapping[str, Any] = torch.load(path, weights_only=True)
            stored = state["fingerprint"]
        except (RuntimeError, KeyError, TypeError, EOFError, OSError, pickle.UnpicklingError):
            damaged.append(str(path))
            continue
        if stored != fingerprint:
            raise ConfigError(
                f"{folder} holds the checkpoint of another configuration or data set; choose "
                "another --out"
            )
        if damaged:
            warnings.warn(
                f"{damaged[0]} is damaged; going on from the checkpoint before it", stacklevel=2
            )
            # Else it would be kept as the reserve of the next one.
            (folder / NEWEST).unlink()
        return state
    if damaged:
        raise DataError(
            f"no checkpoint in {folder} can be read ({', '.join(damaged)}); remove them to start "
            "anew"
        )
    return None
