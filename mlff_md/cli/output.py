"""Printing results: a reader that has gone away (``| head``) must not change the exit code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def told_warnings() -> Iterator[list[str]]:
    """Print each warning on one line of standard error, and collect them for the report."""
    told: list[str] = []

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        line = " ".join(str(message).split())
        told.append(line)
        print(f"mlff-md: warning: {line}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield told


def say(text: str, end: str = "\n") -> None:
    """Print a result on standard output."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        # Python flushes standard output once more when it exits; that must find a reader.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
