"""How much memory this process takes."""

from __future__ import annotations

import contextlib
import os
import sys

_GROUPS = "/sys/fs/cgroup"


def resident_MB() -> float:
    """Return the memory that the process holds now; where that is unknown, its peak."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:  # not Linux
        return peak_MB()


def peak_MB() -> float:
    """Return the most memory that the process has held."""
    # Not getrusage on Linux: there a process begins with the peak of the one that started it.
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    import resource

    # Kilobytes on Linux, bytes on macOS.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def available_bytes() -> int | None:
    """Return how much more memory this process can take; ``None`` where that is unknown.

    The least of what the machine has, what the container may have and what the process may have.
    """
    amounts = [_machine(), *_container(), _own_limit()]
    known = [amount for amount in amounts if amount is not None]
    return max(0, min(known)) if known else None


def _machine() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):  # not Linux
        pass
    return None


def _container() -> list[int | None]:
    """Return what is left of the limits of control groups, of both versions."""
    version_2 = ("memory.max", "memory.current")
    version_1 = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")
    return [_left(*names) for names in (version_2, version_1)]


def _left(limit_name: str, used_name: str) -> int | None:
    try:
        with (
            open(f"{_GROUPS}/{limit_name}", encoding="ascii") as limit,
            open(f"{_GROUPS}/{used_name}", encoding="ascii") as used,
        ):
            return int(limit.read()) - int(used.read())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None


def _own_limit() -> int | None:
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            used = int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
    return limit - used
