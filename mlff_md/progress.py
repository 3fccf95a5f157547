"""Progress of long runs: one line that rewrites itself on a terminal, sparse lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

_TERMINAL_INTERVAL_S = 0.2
_LOG_INTERVAL_S = 30.0


class Progress(Protocol):
    """What a long run tells: how far it is. Calls must be cheap; ``update`` comes each step."""

    def begin(self, label: str, total: int, timestep_fs: float | None = None) -> None:
        """Start a task of ``total`` steps; a time step, where given, adds ns/day."""

    def skip(self, done: int) -> None:
        """Say that an earlier process made the steps up to ``done``: they count for no rate."""

    def update(self, done: int) -> None:
        """Say that ``done`` steps of the task are behind us."""

    def end(self) -> None:
        """Close the task, finished or not."""


class Silent:
    """Says nothing."""

    def begin(self, label: str, total: int, timestep_fs: float | None = None) -> None:
        """Do nothing."""

    def skip(self, done: int) -> None:
        """Do nothing."""

    def update(self, done: int) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


silent: Progress = Silent()
"""The progress of a call that was given none."""


class ConsoleProgress:
    """Percent, steps per second, ns/day and time left, on standard error.

    Parameters
    ----------
    stream
        Where to write; ``sys.stderr`` at the time of writing unless given. A terminal gets one
        line that is rewritten up to five times a second, anything else (a log file) gets a
        line each 30 s and one at the end.
    clock
        Source of seconds, for tests.
    """

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._label = ""
        self._total = 0
        self._timestep_fs: float | None = None
        self._started = self._next = 0.0
        self._done = self._skipped = 0
        self._interval = _LOG_INTERVAL_S
        self._width = 0
        self._open = False

    def begin(self, label: str, total: int, timestep_fs: float | None = None) -> None:
        """Start a task; the first line appears after one interval."""
        self._label, self._total, self._timestep_fs = label, total, timestep_fs
        self._interval = _TERMINAL_INTERVAL_S if self._terminal else _LOG_INTERVAL_S
        self._started = self._clock()
        self._next = self._started + self._interval
        self._done = self._skipped = self._width = 0
        self._open = True

    def skip(self, done: int) -> None:
        """Take the steps since the last count out of the rate and of the time left."""
        self._skipped += max(0, done - self._done)
        self._done = max(self._done, done)

    def update(self, done: int) -> None:
        """Remember the count and write a line if the last one is old enough."""
        self._done = done
        now = self._clock()
        if now >= self._next:
            self._next = now + self._interval
            self._write(self._line(now))

    def end(self) -> None:
        """Write the last line (total rate instead of time left); calling twice is harmless."""
        if not self._open:
            return
        self._open = False
        self._write(self._line(self._clock(), last=True))
        if self._terminal:
            self._out.write("\n")
            self._out.flush()

    @property
    def _out(self) -> TextIO:
        return self._stream if self._stream is not None else sys.stderr

    @property
    def _terminal(self) -> bool:
        return self._out.isatty()

    def _line(self, now: float, last: bool = False) -> str:
        elapsed = now - self._started
        percent = 100.0 * self._done / self._total if self._total else 100.0
        parts = [f"{self._label} {percent:3.0f} %"]
        made = self._done - self._skipped
        if elapsed > 0.0 and made:
            rate = made / elapsed
            parts.append(f"{rate:.3g} steps/s")
            if self._timestep_fs is not None:
                parts.append(f"{rate * self._timestep_fs * 86400e-6:.3g} ns/day")
            if last:
                parts.append(f"took {_duration(elapsed)}")
            else:
                parts.append(f"{_duration((self._total - self._done) / rate)} left")
        return "  ".join(parts)

    def _write(self, line: str) -> None:
        if self._terminal:
            self._out.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._out.write(line + "\n")
        self._out.flush()


class Part:
    """One stage of a longer task: its steps are counted from ``offset`` of the whole."""

    def __init__(self, whole: Progress, offset: int) -> None:
        self._whole = whole
        self._offset = offset

    def begin(self, label: str, total: int, timestep_fs: float | None = None) -> None:
        """Tell the whole, which has begun already, that what is before this part is over."""
        self._whole.skip(self._offset)

    def skip(self, done: int) -> None:
        """Pass the count on."""
        self._whole.skip(self._offset + done)

    def update(self, done: int) -> None:
        """Pass the count on."""
        self._whole.update(self._offset + done)

    def end(self) -> None:
        """Do nothing: the whole ends later."""


def _duration(seconds: float) -> str:
    """Return seconds in words that stay short: 42 s, 3:07 min, 2:05 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
