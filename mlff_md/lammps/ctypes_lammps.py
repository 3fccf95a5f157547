"""A running LAMMPS seen through its C library interface, from inside its own process. No torch.

The ``lammps`` module is not used: the interpreter that a LAMMPS embeds may find the module of
another LAMMPS, and loading that one's library beside the running one ends in a crash. The symbols
of the running one are already in the process.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError

CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int64, c_int, c_void_p, c_void_p, c_void_p)
"""What ``fix external`` calls: caller, step, local atoms, their ids, positions, forces."""

_STRING_VARIABLE = 3

_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "lammps_command": (c_void_p, [c_void_p, c_char_p]),
    "lammps_extract_atom": (c_void_p, [c_void_p, c_char_p]),
    "lammps_extract_box": (None, [c_void_p] * 8),
    "lammps_extract_global": (c_void_p, [c_void_p, c_char_p]),
    "lammps_extract_setting": (c_int, [c_void_p, c_char_p]),
    "lammps_extract_variable": (c_void_p, [c_void_p, c_char_p, c_char_p]),
    "lammps_fix_external_set_energy_global": (None, [c_void_p, c_char_p, c_double]),
    "lammps_fix_external_set_energy_peratom": (None, [c_void_p, c_char_p, c_void_p]),
    "lammps_fix_external_set_virial_global": (None, [c_void_p, c_char_p, c_void_p]),
    "lammps_gather_concat": (None, [c_void_p, c_char_p, c_int, c_int, c_void_p]),
    "lammps_get_mpi_comm": (c_int, [c_void_p]),
    "lammps_get_natoms": (c_double, [c_void_p]),
    "lammps_has_id": (c_int, [c_void_p, c_char_p, c_char_p]),
    "lammps_set_fix_external_callback": (None, [c_void_p, c_char_p, CALLBACK, c_void_p]),
}


@dataclass(frozen=True, eq=False)
class Box:
    """The simulation box.

    Attributes
    ----------
    origin
        ``float64 [3]``, its lower corner, Å.
    cell
        ``float64 [3, 3]``, rows are its vectors, Å.
    periodic
        ``bool [3]``.
    """

    origin: NDArray[np.float64]
    cell: NDArray[np.float64]
    periodic: NDArray[np.bool_]


class Lammps:
    """One LAMMPS instance.

    Arrays are views of LAMMPS' own memory: they are valid until LAMMPS moves atoms between ranks,
    sorts them or grows its arrays, so they are asked for at each use.

    Parameters
    ----------
    handle
        What LAMMPS passes for ``SELF``: a capsule, or the address as a number.

    Raises
    ------
    ConfigError
        If the library interface of the running LAMMPS cannot be reached.
    """

    def __init__(self, handle: Any) -> None:
        self.library = _library()
        self.handle = c_void_p(handle if isinstance(handle, int) else _address(handle))

    def setting(self, name: str) -> int:
        """Return an integer such as ``nlocal``, ``nghost``, ``ntypes``, ``newton_pair``."""
        return int(self.library.lammps_extract_setting(self.handle, name.encode()))

    def step(self) -> int:
        """Return the current time step."""
        address = self.library.lammps_extract_global(self.handle, b"ntimestep")
        return c_int64.from_address(address).value

    def respa_levels(self) -> int:
        """Return the number of levels of ``run_style respa``, 0 for others."""
        address = self.library.lammps_extract_global(self.handle, b"respa_levels")
        return c_int.from_address(address).value if address else 0

    def vectors(self, name: str, count: int) -> NDArray[np.float64]:
        """Return ``x`` or ``f`` of the first atoms, ``float64 [count, 3]``."""
        address = self.library.lammps_extract_atom(self.handle, name.encode())
        if count == 0 or not address:
            return np.zeros((0, 3))
        first = ctypes.cast(address, POINTER(POINTER(c_double)))[0]
        return np.ctypeslib.as_array(first, shape=(count, 3))

    def types(self, count: int) -> NDArray[np.int32]:
        """Return the types of the first atoms, ``int32 [count]``."""
        address = self.library.lammps_extract_atom(self.handle, b"type")
        if count == 0 or not address:
            return np.zeros(0, dtype=np.int32)
        return np.ctypeslib.as_array(ctypes.cast(address, POINTER(c_int)), shape=(count,))

    def ids(self, count: int) -> NDArray[np.integer]:
        """Return the ids of the first atoms, [count]; counted from 1 where LAMMPS has none."""
        address = self.library.lammps_extract_atom(self.handle, b"id")
        if count == 0 or not address:
            return np.arange(1, count + 1)
        kind = c_int if self.setting("tagint") == ctypes.sizeof(c_int) else c_int64
        return np.ctypeslib.as_array(ctypes.cast(address, POINTER(kind)), shape=(count,))

    def masses(self) -> NDArray[np.float64] | None:
        """Return the mass of each type, ``float64 [types + 1]``; ``None`` if atoms have their own.

        Entry 0 is not used; types without a mass have 0.
        """
        address = self.library.lammps_extract_atom(self.handle, b"mass")
        if not address:
            return None
        count = self.setting("ntypes") + 1
        return np.ctypeslib.as_array(ctypes.cast(address, POINTER(c_double)), shape=(count,))

    def box(self) -> Box:
        """Return the current box."""
        low, high = (c_double * 3)(), (c_double * 3)()
        xy, yz, xz = c_double(), c_double(), c_double()
        periodic, changes = (c_int * 3)(), c_int()
        self.library.lammps_extract_box(
            *(self.handle, low, high, byref(xy), byref(yz), byref(xz), periodic, byref(changes))
        )
        origin = np.array(low)
        cell = np.diag(np.array(high) - origin)
        cell[1, 0], cell[2, 0], cell[2, 1] = xy.value, xz.value, yz.value
        return Box(origin, cell, np.array(periodic, dtype=bool))

    def all_positions(self) -> NDArray[np.float64]:
        """Return the positions of all atoms of all ranks, ``float64 [N, 3]``; every rank calls."""
        count = int(self.library.lammps_get_natoms(self.handle))
        positions = np.zeros((count, 3))
        self.library.lammps_gather_concat(self.handle, b"x", 1, 3, positions.ctypes.data)
        return positions

    def variable(self, name: str) -> str | None:
        """Return a variable of the deck (style ``string`` or ``index``), ``None`` if not defined.

        Raises
        ------
        ConfigError
            If it is of another style.
        """
        key = name.encode()
        if not self.library.lammps_has_id(self.handle, b"variable", key):
            return None
        kind = getattr(self.library, "lammps_extract_variable_datatype", None)
        numeric = kind is not None and kind(self.handle, key) != _STRING_VARIABLE
        address = self.library.lammps_extract_variable(self.handle, key, None)
        text = "" if numeric or not address else ctypes.string_at(address).decode(errors="replace")
        if not text or not text.isprintable():
            raise ConfigError(f"variable {name} holds no text; write: variable {name} string VALUE")
        return text

    def has(self, category: str, name: str) -> bool:
        """Return whether there is a ``fix``, ``variable``, ... of that name."""
        found = self.library.lammps_has_id(self.handle, category.encode(), name.encode())
        return bool(found)

    def command(self, text: str) -> None:
        """Let LAMMPS run a command, outside of a run only."""
        self.library.lammps_command(self.handle, text.encode())


def _address(capsule: Any) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = c_void_p, [ctypes.py_object, c_char_p]
    try:
        return int(get(capsule, None))
    except (TypeError, ValueError, ctypes.ArgumentError) as error:
        raise ConfigError(
            "attach was not given LAMMPS: write 'input 1 SELF format p' in the python command"
        ) from error


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    for name, (result, arguments) in _FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise ConfigError(
                f"this process has no LAMMPS with the function {name}: it takes a LAMMPS from "
                "September 2021 on, built as a shared library"
            ) from error
        function.restype, function.argtypes = result, arguments
    kind = getattr(library, "lammps_extract_variable_datatype", None)
    if kind is not None:
        kind.restype, kind.argtypes = c_int, [c_void_p, c_char_p]
    return library
