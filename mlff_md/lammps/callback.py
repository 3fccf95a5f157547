"""Engines for the LAMMPS plugin: Python called by C++ in LAMMPS' own process.

``lammps_plugin/python_engine.cpp`` fills the first half of a structure and runs
:func:`open_engine` with its address; what the second half then holds is called in every step.
No exception may cross into C++: it becomes a line of text and a status that stops LAMMPS.
"""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_char, c_char_p, c_double, c_int32, c_int64, c_uint8
from typing import Any

import numpy as np

from mlff_md.engines import Engine, is_exported, load_exported, make_engine
from mlff_md.errors import ConfigError, MlffError, SimulationError
from mlff_md.graph import Graph
from mlff_md.student import load_student

VERSION = 1

_EVALUATE = CFUNCTYPE(
    c_int32,
    *(c_int64, c_int64, POINTER(c_int32), POINTER(c_uint8), c_int64),
    *(POINTER(c_int32), POINTER(c_int32), POINTER(c_double), POINTER(c_double)),
    *(POINTER(c_double), POINTER(c_char), c_int64),
)
_CLOSE = CFUNCTYPE(None, c_int64)
_ERROR_SIZE = 1024


class _Request(ctypes.Structure):
    """``Callback`` of ``python_engine.h``."""

    _fields_ = (
        ("version", c_int32),
        ("threads", c_int32),
        *((name, c_char_p) for name in ("student", "engine", "dtype", "device")),
        ("id", c_int64),
        ("evaluate", _EVALUATE),
        ("close", _CLOSE),
        ("description", c_char * 256),
        ("error", c_char * _ERROR_SIZE),
    )


_engines: dict[int, Engine] = {}


def open_engine(address: int) -> None:
    """Make the engine that the structure at ``address`` asks for, and fill the rest of it."""
    request = _Request.from_address(address)
    try:
        if request.version != VERSION:
            raise ConfigError("the plugin is of another version of mlff-md; build it again")
        name = request.student.decode()
        engine = make_engine(
            load_exported(name) if is_exported(name) else load_student(name),
            request.engine.decode(),
            device=request.device.decode(),
            dtype=request.dtype.decode(),
            threads=request.threads,
        )
    except Exception as error:
        request.error = _one_line(error, _ERROR_SIZE)
        return
    request.id = max(_engines, default=0) + 1
    _engines[request.id] = engine
    request.evaluate, request.close = _evaluate, _close
    known = engine.describe()
    words = [str(known[key]) for key in ("engine", "device") if key in known]
    request.description = " on ".join(words).encode()[:255]


def _evaluate_graph(
    engine_id: int,
    count: int,
    species: Any,
    local: Any,
    num_edges: int,
    centers: Any,
    neighbors: Any,
    vectors: Any,
    energies: Any,
    gradients: Any,
    error: Any,
    error_size: int,
) -> int:
    try:
        graph = Graph.single(
            _array(species, (count,)),
            np.stack([_array(centers, (num_edges,)), _array(neighbors, (num_edges,))]),
            _array(vectors, (num_edges, 3)),
            local=_array(local, (count,)).astype(bool),
        )
        found = _engines[engine_id].evaluate(graph)
        if not (np.isfinite(found.energies).all() and np.isfinite(found.gradients).all()):
            raise SimulationError("the model's energies or forces are not finite")
        _array(energies, (count,))[:] = found.energies
        _array(gradients, (num_edges, 3))[:] = found.gradients
    except BaseException as problem:
        line = _one_line(problem, error_size)
        ctypes.memmove(error, line + b"\0", len(line) + 1)
        return 1
    return 0


def _close_engine(engine_id: int) -> None:
    _engines.pop(engine_id, None)


# As long as this module lives C++ may call them.
_evaluate = _EVALUATE(_evaluate_graph)
_close = _CLOSE(_close_engine)


def _array(pointer: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return C memory as an array; of no atoms there may be no memory."""
    if 0 in shape:
        return np.empty(shape, dtype=pointer._type_)
    return np.ctypeslib.as_array(pointer, shape)


def _one_line(error: BaseException, size: int) -> bytes:
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, MlffError):
        text = f"{type(error).__name__}: {text}"
    return text.encode("ascii", "replace")[: size - 1]
