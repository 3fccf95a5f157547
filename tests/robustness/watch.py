"""What reading a file may do to the machine: read that file, and nothing else.

Python's audit events tell of every file opened, process started, socket connected and library
loaded, whichever library does it.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FORBIDDEN = (
    "ftplib.",
    "os.chmod",
    "os.exec",
    "os.fork",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.putenv",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.system",
    "os.truncate",
    "pickle.find_class",
    "pty.spawn",
    "shutil.",
    "socket.connect",
    "subprocess.Popen",
    "urllib.",
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_OWN = tuple(
    os.path.realpath(path)
    for path in {sys.prefix, sys.base_prefix, *sys.path, str(Path(__file__).parents[2])}
    if path and path != "/"
)
_SYSTEM = ("/dev/", "/proc/", "/usr/share/zoneinfo", "/etc/localtime", "/usr/lib")

_seen: list[str] | None = None
_allowed = ""
_installed = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    if event.startswith(_FORBIDDEN):
        _seen.append(f"{event}{arguments!r:.200}")
    elif event == "ctypes.dlopen" and not str(arguments[0]).startswith(_OWN):
        _seen.append(f"loaded {arguments[0]}")
    elif event == "open" and isinstance(arguments[0], str | bytes):
        name = os.path.realpath(os.fsdecode(arguments[0]))
        if (arguments[2] or 0) & _WRITING:
            _seen.append(f"opened {name} for writing")
        elif not name.startswith((_allowed, *_OWN, *_SYSTEM)):
            _seen.append(f"opened {name}")


@contextmanager
def nothing_else_happens(folder: Path) -> Iterator[None]:
    """Fail if the block does more than read files in ``folder`` and Python's own."""
    global _seen, _allowed, _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    _allowed, _seen = os.path.realpath(folder), []
    try:
        yield
    finally:
        seen, _seen = _seen, None
    assert not seen, seen


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """Break off a block that hangs."""

    def late(_signal: int, _frame: object) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def no_more_memory_than(size_MB: int) -> Iterator[None]:
    """Refuse memory beyond so much more than is taken now, rather than let the machine run out."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    taken_kB = int(status.split("VmData:")[1].split()[0])
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, ((taken_kB + (size_MB << 10)) << 10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for the files of one loader."""
    return tempfile.TemporaryDirectory(prefix="mlff-md-fuzz-")
