"""LAMMPS: the same students through ``pair_style mlff`` and ``pair_style python``.

Nothing heavy is imported here: LAMMPS calls :mod:`mlff_md.lammps.hook` each time it starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlff_md.mpich import preload_mpi

if TYPE_CHECKING:
    from mlff_md.lammps.pair_python import Student as Student
    from mlff_md.lammps.pair_python import attach as attach

__all__ = ["Student", "attach", "preload_mpi"]


def __getattr__(name: str) -> Any:
    """Import what ``pair_style python`` needs when a deck asks for it."""
    if name not in ("Student", "attach"):
        raise AttributeError(f"module 'mlff_md.lammps' has no attribute {name!r}")
    from mlff_md.lammps import pair_python

    return getattr(pair_python, name)
