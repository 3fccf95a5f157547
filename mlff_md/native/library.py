"""Finding and loading the shared library."""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.metadata
from ctypes import c_char_p, c_double, c_int32, c_int64, c_size_t, c_void_p
from functools import lru_cache
from pathlib import Path

from mlff_md._version import __version__
from mlff_md.errors import MissingDependencyError

ABI = 2
"""Version of ``mlff_native.h`` that this package speaks."""

HOW_TO_GET_IT = (
    "install a C++ compiler (Debian: apt install g++) and install mlff-md again; without it the "
    "engine torchscript runs everywhere"
)


class StudentSpec(ctypes.Structure):
    """``mlff_student``."""

    _fields_ = (
        *((name, c_int32) for name in ("abi", "hidden", "vectors", "quadrupoles", "layers")),
        *((name, c_int32) for name in ("num_rbf", "knots", "mlp", "readout", "species")),
        *((name, c_double) for name in ("cutoff_A", "neighbor_norm", "norm_epsilon")),
        *((name, c_double) for name in ("energy_scale_eV", "grid_start_A")),
        *((name, c_double) for name in ("floor_end", "floor_width")),
        *((name, c_void_p) for name in ("atomic_energies_eV", "prior", "splines", "weights")),
        ("num_weights", c_int64),
    )


class Options(ctypes.Structure):
    """``mlff_options``."""

    _fields_ = (
        ("single_precision", c_int32),
        ("threads", c_int32),
        ("skin_A", c_double),
        ("shortest_A", c_double),
        ("instruction_set", c_char_p),
    )


_POINTER = c_void_p
_FUNCTIONS = {
    "mlff_abi": (c_int32, []),
    "mlff_instruction_sets": (c_char_p, []),
    "mlff_engine_new": (_POINTER, [_POINTER, _POINTER, c_char_p, c_size_t]),
    "mlff_engine_free": (None, [_POINTER]),
    "mlff_engine_instruction_set": (c_char_p, [_POINTER]),
    "mlff_engine_error": (c_char_p, [_POINTER]),
    "mlff_engine_bytes": (c_int64, [_POINTER]),
    "mlff_engine_list_builds": (c_int64, [_POINTER]),
    "mlff_engine_pairs": (c_int64, [_POINTER]),
    "mlff_engine_reset": (None, [_POINTER]),
    "mlff_engine_compute": (c_int32, [_POINTER, c_int64, *[_POINTER] * 7]),
    "mlff_engine_edges": (
        c_int32,
        [_POINTER, c_int64, *[_POINTER] * 2, c_int64, *[_POINTER] * 5],
    ),
    "mlff_scalars_sent": (None, [_POINTER, c_int32, c_int64, _POINTER, _POINTER]),
    "mlff_stage_begin": (
        c_int32,
        [_POINTER, c_int64, c_int64, _POINTER, c_int64, c_int64, *[_POINTER] * 3],
    ),
    "mlff_stage_send": (None, [_POINTER, c_int32]),
    "mlff_stage_receive": (None, [_POINTER, c_int32]),
    "mlff_stage_read_out": (None, [_POINTER]),
    "mlff_stage_update_reverse": (None, [_POINTER, c_int32]),
    "mlff_stage_receive_reverse": (None, [_POINTER, c_int32]),
    "mlff_stage_end": (None, [_POINTER] * 4),
    "mlff_stage_bytes": (c_int32, [_POINTER, c_int32, c_int32]),
    "mlff_stage_pack": (None, [_POINTER, c_int32, c_int32, c_int64, _POINTER, _POINTER]),
    "mlff_stage_unpack": (None, [_POINTER, c_int32, c_int32, c_int64, _POINTER, _POINTER]),
    "mlff_spin": (c_double, [c_char_p, c_int32, c_int64]),
}


def library_path() -> Path | None:
    """Return where the shared library is; ``None`` if it was not built.

    It lies beside this file. A source tree that is run without an editable installation takes
    the library of the installed package.
    """
    here = Path(__file__).parent
    folders = [here]
    if (here.parents[1] / "pyproject.toml").is_file():
        # More than one may be found: the egg-info that a build leaves in the source tree, too.
        for installed in importlib.metadata.distributions(name="mlff-md"):
            if installed.version == __version__:
                folders.append(Path(str(installed.locate_file("mlff_md/native"))))
    for folder in folders:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = folder / f"_kernel{suffix}"
            if path.is_file():
                return path
    return None


def why_unavailable() -> str | None:
    """Return why there is no native engine, in one line; ``None`` if there is one."""
    try:
        load()
    except MissingDependencyError as error:
        return str(error)
    return None


def available() -> bool:
    """Return whether the native engine can be used."""
    return why_unavailable() is None


def instruction_sets() -> tuple[str, ...]:
    """Return what the library and this machine both have, best first.

    Raises
    ------
    MissingDependencyError
        If there is no library.
    """
    return tuple(load().mlff_instruction_sets().decode().split())


@lru_cache(maxsize=1)
def load() -> ctypes.CDLL:
    """Load the library.

    Raises
    ------
    MissingDependencyError
        If it was not built, cannot be loaded, or belongs to another version.
    """
    path = library_path()
    if path is None:
        raise MissingDependencyError(f"the native engine was not built; {HOW_TO_GET_IT}")
    try:
        library = ctypes.CDLL(str(path))
        found = library.mlff_abi()
    except (OSError, AttributeError) as error:
        raise MissingDependencyError(
            f"the native engine cannot be loaded ({error}); {HOW_TO_GET_IT}"
        ) from error
    if found != ABI:
        raise MissingDependencyError(
            f"the native engine has interface {found}, this version needs {ABI}: install mlff-md "
            "again"
        )
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
