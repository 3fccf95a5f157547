"""Writing files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mlff_md.errors import ConfigError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is whole or absent, also if the process or the machine dies.

    Raises
    ------
    ConfigError
        If it cannot be written (no permission, full disk); what was there is untouched.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise ConfigError(f"cannot write {path}: {error.strerror}; choose another place") from error
