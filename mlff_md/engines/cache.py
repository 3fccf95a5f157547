"""What is costly to make from a student and depends on this machine: kept for each user. No torch.

Safe for several processes at once: files appear whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from mlff_md.errors import ConfigError
from mlff_md.files import cache_folder, write_atomically


def cached(name: str, depends_on: Sequence[str], make: Callable[[], bytes]) -> bytes:
    """Return what ``make`` makes, from the cache if it is there.

    Parameters
    ----------
    name
        Beginning and suffix of the file, such as ``tiny.pt2``.
    depends_on
        Everything that the content depends on: hash of the student, versions, machine.
    make
        Called if it is not there.
    """
    key = hashlib.sha256("\n".join(depends_on).encode()).hexdigest()[:24]
    folder = cache_folder()
    path = folder / f"{Path(name).stem}-{key}{Path(name).suffix}"
    usable = True
    try:
        # Some of it is run: nobody else may have had a hand in it.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _is_private(folder):
            raise ConfigError(f"{folder} can be written by others")
        if path.is_file():
            return path.read_bytes()
    except (OSError, ConfigError) as error:
        usable = _unused(name, error)
    content = make()
    if usable:
        try:
            write_atomically(path, content)
        except ConfigError as error:
            _unused(name, error)
    return content


def _unused(name: str, error: Exception) -> bool:
    reason = error.strerror if isinstance(error, OSError) else error
    warnings.warn(
        f"{name} is not kept in the cache ({reason}); set MLFF_MD_CACHE to a folder of your own",
        stacklevel=3,
    )
    return False


def _is_private(folder: Path) -> bool:
    status = folder.stat()
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o22)
