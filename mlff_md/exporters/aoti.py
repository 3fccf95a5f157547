"""AOTInductor: machine code for this kind of machine and this version of torch, a program."""

from __future__ import annotations

from mlff_md.student import Student


def content(student: Student) -> bytes:
    """Return the content of the file; compiling takes minutes unless it is in the cache."""
    from mlff_md.engines.aoti_engine import compiled

    return compiled(student).content
