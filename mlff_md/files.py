"""Writing files so that no reader ever meets half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from mlff_md.errors import ConfigError


def cache_folder() -> Path:
    """Return the folder for what can be made again, such as compiled code; it need not exist.

    ``MLFF_MD_CACHE`` if that is set, else ``mlff_md`` in the user's cache (``XDG_CACHE_HOME``,
    ``~/.cache``).
    """
    chosen = os.environ.get("MLFF_MD_CACHE")
    if chosen:
        return Path(chosen).absolute()
    user = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(user) if user.startswith("/") else Path(os.path.expanduser("~")) / ".cache"
    return base / "mlff_md"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is whole or absent, also if the process or the machine dies.

    Raises
    ------
    ConfigError
        If it cannot be written; what was there is untouched.
    """
    try:
        _write_all(path.parent, {path.name: content})
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {explain(error)}") from error


def previous(path: Path) -> Path:
    """Return where :func:`write_keeping_previous` puts the file that was there before."""
    return path.with_name(f"{path.stem}-previous{path.suffix}")


def write_keeping_previous(path: Path, content: bytes) -> None:
    """Write a file atomically; the one before stays, as a reserve, under :func:`previous`.

    At any moment at least one of the two is whole.

    Raises
    ------
    ConfigError
        If it cannot be written; what was there is untouched.
    """
    fresh = path.with_name(f".{path.name}.new")
    write_atomically(fresh, content)
    try:
        if path.exists():
            os.replace(path, previous(path))
        os.replace(fresh, path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {explain(error)}") from error


def write_files(folder: Path, files: Mapping[str, bytes], what: str = "") -> None:
    """Write ``files`` (path inside ``folder`` -> content), each by rename, in the order given.

    All contents reach the disk under temporary names before the first rename, so a full disk
    leaves what was there before untouched, and no temporary file behind.

    Parameters
    ----------
    folder
        Made if it does not exist.
    files
        What to write.
    what
        What they are together, for the error: ``the report``.

    Raises
    ------
    ConfigError
        If the folder cannot be made or written.
    """
    try:
        _write_all(folder, files)
    except OSError as error:
        place = f"{what} to {folder}" if what else f"to {folder}"
        raise ConfigError(f"cannot write {place}: {explain(error)}") from error


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    suffix = f".{secrets.token_hex(4)}.tmp"
    waiting: list[tuple[Path, Path]] = []
    try:
        for name, content in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}{suffix}")
            waiting.append((temporary, target))
            # Not tempfile: its files are readable by their owner alone.
            with open(temporary, "xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        while waiting:
            temporary, target = waiting[0]
            os.replace(temporary, target)
            del waiting[0]
    finally:
        for temporary, _ in waiting:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def explain(error: OSError) -> str:
    """Return what went wrong and what to do about it, as one line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space or choose another place"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "no permission to write there; choose another place"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "a file is in the way of the folder; choose another place"
    return f"{error.strerror or error}; choose another place"
