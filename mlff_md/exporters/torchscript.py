"""TorchScript, in float32 for the CPU: a program, to be opened only by those who trust it."""

from __future__ import annotations

from mlff_md.engines.exported import metadata_of
from mlff_md.student import Student


def content(student: Student) -> bytes:
    """Return the content of the file."""
    from mlff_md.engines.torch_programs import torchscript_program

    return torchscript_program(student, metadata_of(student, "torchscript"))
