"""Printing results: a reader that has gone away (``| head``) must not change the exit code."""

from __future__ import annotations

import os
import sys


def say(text: str, end: str = "\n") -> None:
    """Print a result on standard output."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        # Python flushes standard output once more when it exits; that must find a reader.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
