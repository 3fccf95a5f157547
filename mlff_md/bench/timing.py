"""Interleaved timing: what the machine does to one contender it does to all."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Time of one evaluation, ms.

    Attributes
    ----------
    median_ms, p95_ms, best_ms
        Over the samples.
    samples
        How many.
    """

    median_ms: float
    p95_ms: float
    best_ms: float
    samples: int


def interleaved(
    contenders: Mapping[str, Callable[[], object]], seconds: float, least: int = 5
) -> dict[str, Timing]:
    """Time callables in turn until the time is over.

    Each turn starts with a call that is not measured: in MD, too, a force field finds the caches
    as its own last step left them, and not as a competitor did.

    Parameters
    ----------
    contenders
        Name -> what to time. Each is called twice before, unmeasured.
    seconds
        For all together.
    least
        Samples that each gets even if that takes longer.
    """
    for call in contenders.values():
        call()
        call()
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < least or time.perf_counter() < end:
        for name, call in contenders.items():
            # Fast contenders are sampled more often, so that slow ones do not starve them.
            repeats = 1 if not samples[name] else max(1, min(50, int(0.03 / samples[name][-1])))
            call()
            for _ in range(repeats):
                start = time.perf_counter()
                call()
                samples[name].append(time.perf_counter() - start)
        rounds += 1
    return {name: _timing(np.array(times)) for name, times in samples.items()}


def _timing(times: np.ndarray) -> Timing:
    milliseconds = 1e3 * times
    return Timing(
        float(np.median(milliseconds)),
        float(np.percentile(milliseconds, 95)),
        float(milliseconds.min()),
        len(times),
    )


def tune_allocator() -> str:
    """Keep glibc from giving memory back after every tensor; return what was done.

    Without it torch spends most of its time above 100 atoms in page faults.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        mmap_max, trim_threshold, top_pad = -4, -1, -2
        settings = ((mmap_max, 0), (trim_threshold, -1), (top_pad, 256 * 2**20))
        done = all(libc.mallopt(key, value) == 1 for key, value in settings)
    except (OSError, AttributeError):
        done = False
    return "glibc mallopt: no mmap, no trim, 256 MB pad" if done else "as the system has it"
