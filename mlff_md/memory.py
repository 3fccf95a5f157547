"""How much memory this process takes."""

from __future__ import annotations

import os
import sys


def resident_MB() -> float:
    """Return the memory that the process holds now; where that is unknown, its peak."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:  # not Linux
        return peak_MB()


def peak_MB() -> float:
    """Return the most memory that the process has held."""
    import resource

    # Kilobytes on Linux, bytes on macOS.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
