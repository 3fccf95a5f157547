"""The MPI ranks of a running LAMMPS, through the MPI library that is in its process. No torch.

``mpi4py`` would have to be built for the very MPI library that LAMMPS uses; this needs nothing.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_double, c_int, c_void_p
from typing import Any

from mlff_md.errors import ConfigError
from mlff_md.lammps.ctypes_lammps import Lammps

_MPICH_DOUBLE, _MPICH_SUM = 0x4C00080B, 0x58000003
"""Handles that the MPICH ABI initiative has fixed, for MPICH, Intel MPI, MVAPICH and others."""

_LONGEST_VERSION = 8192


class Ranks:
    """The ranks that share one LAMMPS simulation.

    Parameters
    ----------
    lammps
        The running LAMMPS.

    Attributes
    ----------
    size, rank
        How many there are, and which this one is.

    Raises
    ------
    ConfigError
        If there are several and their MPI library is not known.
    """

    def __init__(self, lammps: Lammps) -> None:
        self.size, self.rank = lammps.setting("world_size"), lammps.setting("world_rank")
        if self.size > 1:
            self._library = lammps.library
            number = lammps.library.lammps_get_mpi_comm(lammps.handle)
            self._comm, self._double, self._sum = self._handles(number)

    def _handles(self, number: int) -> tuple[Any, Any, Any]:
        """Return communicator, double and sum as the MPI library wants them."""
        version = ctypes.create_string_buffer(_LONGEST_VERSION)
        self._library.MPI_Get_library_version(version, byref(c_int()))
        name = version.value.decode(errors="replace")
        if "Open MPI" in name:
            convert = self._library.MPI_Comm_f2c
            convert.restype, convert.argtypes = c_void_p, [c_int]
            double, plus = (
                c_void_p(ctypes.addressof(c_int.in_dll(self._library, symbol)))
                for symbol in ("ompi_mpi_double", "ompi_mpi_op_sum")
            )
            return c_void_p(convert(number)), double, plus
        if any(family in name for family in ("MPICH", "Intel", "MVAPICH")):
            return c_int(number), c_int(_MPICH_DOUBLE), c_int(_MPICH_SUM)
        raise ConfigError(
            f"pair_style python with mlff_md does not know the MPI library {name.split(',')[0]!r}: "
            "run on one rank, or use pair_style mlff"
        )

    def sum(self, value: float) -> float:
        """Return the sum over all ranks; every rank calls."""
        if self.size == 1:
            return value
        mine, total = c_double(value), c_double()
        self._library.MPI_Allreduce(
            byref(mine), byref(total), c_int(1), self._double, self._sum, self._comm
        )
        return total.value

    def abort(self) -> None:
        """End all ranks. One rank cannot leave in LAMMPS' own way: it would wait for the others."""
        self._library.MPI_Abort(self._comm, c_int(1))
