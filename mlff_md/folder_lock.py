"""One process at a time in a folder of results."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mlff_md.errors import ConfigError
from mlff_md.files import explain

try:
    import fcntl
except ImportError:  # Windows: there is no lock, as on a file system that has none
    fcntl = None  # type: ignore[assignment]

_NAME = ".lock"


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keep every other process out of a folder for as long as the block runs.

    The lock belongs to the process: it is gone when that ends, also by ``kill -9``. The folder is
    made if need be, and removed again if nothing was put into it.

    Raises
    ------
    ConfigError
        If another process is at work in the folder, or it cannot be made.
    """
    path = folder / _NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = _acquire(path)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {explain(error)}") from error
    if stream is None:
        raise ConfigError(
            f"{folder} is in use by another process{_owner(path)}; wait for it, or choose another "
            "place"
        )
    try:
        yield
    finally:
        # Unlinked before it is released: whoever opened it in between sees that it is gone.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            stream.close()
        with contextlib.suppress(OSError):
            folder.rmdir()


def _acquire(path: Path) -> IO[bytes] | None:
    """Return the open, locked file, ``None`` if another process holds it."""
    while True:
        stream = open(path, "ab")  # noqa: SIM115 - it stays open for as long as the lock is held
        if not _locked(stream):
            stream.close()
            return None
        # The owner before may have removed the file after it was opened here.
        if path.exists() and os.fstat(stream.fileno()).st_ino == path.stat().st_ino:
            with contextlib.suppress(OSError):
                stream.truncate(0)
                stream.write(str(os.getpid()).encode())
                stream.flush()
            return stream
        stream.close()


def _locked(stream: IO[bytes]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks: better a run without one than none.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _owner(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f" (process {int(path.read_text(encoding='ascii'))})"
    return ""
