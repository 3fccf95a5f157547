"""A student in the native library: one object for one structure."""

from __future__ import annotations

import ctypes
import weakref
from ctypes import c_char_p

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, SimulationError, StructureError
from mlff_md.native.library import ABI, Options, StudentSpec, load
from mlff_md.student import Student
from mlff_md.student.architecture import NORM_EPSILON
from mlff_md.student.prior import (
    FLOOR_END,
    FLOOR_WIDTH,
    atomic_numbers,
    pair_tables,
    shortest_seen_A,
)
from mlff_md.student.radial import radial_splines

_NO_MEMORY, _BAD_ARGUMENT = 1, 2


def student_arrays(
    student: Student,
) -> tuple[dict[str, int], dict[str, float], dict[str, NDArray[np.floating]]]:
    """Return what ``mlff_student`` holds, in the order of its fields.

    Returns
    -------
    integers, numbers, arrays
        Field -> value: sizes; floating-point numbers (Å, eV); contiguous arrays, float64 but for
        the float32 weights.
    """
    manifest = student.manifest
    shape = manifest.architecture
    start = shortest_seen_A(manifest.prior_radii_A)
    integers = {
        "hidden": shape.hidden_dim,
        "vectors": shape.vector_dim,
        "quadrupoles": shape.quadrupole_dim,
        "layers": shape.num_interactions,
        "num_rbf": shape.num_rbf,
        "knots": shape.num_knots,
        "mlp": shape.mlp_dim,
        "readout": shape.readout_dim,
        "species": len(shape.elements),
    }
    numbers = {
        "cutoff_A": shape.cutoff_A,
        "neighbor_norm": shape.neighbor_norm,
        "norm_epsilon": NORM_EPSILON,
        "energy_scale_eV": manifest.energy_scale_eV,
        "grid_start_A": start,
        "floor_end": FLOOR_END,
        "floor_width": FLOOR_WIDTH,
    }
    prior = pair_tables(atomic_numbers(shape.elements), manifest.prior_radii_A)
    arrays: dict[str, NDArray[np.floating]] = {
        "atomic_energies_eV": np.array(manifest.atomic_energies_eV),
        "prior": np.ascontiguousarray(prior),
        "splines": np.ascontiguousarray(radial_splines(shape, start)),
        "weights": np.concatenate(
            [student.weights[name].astype(np.float32).ravel() for name in shape.weight_shapes()]
        ),
    }
    return integers, numbers, arrays


class NativeKernel:
    """Evaluate a student with the native library.

    Parameters
    ----------
    student
        The student.
    single_precision
        float32 (energies summed in float64), or all in float64.
    threads
        Threads of an evaluation. Results are bitwise the same for the same number of threads.
    skin_A
        Of the neighbor list that :meth:`compute` keeps.
    shortest_A
        Two atoms closer than this are refused.
    instruction_set
        One of :func:`mlff_md.native.instruction_sets`; the best of this machine if ``None``.

    Raises
    ------
    MissingDependencyError
        If there is no native library.
    ConfigError
        If an option cannot be had.
    """

    def __init__(
        self,
        student: Student,
        *,
        single_precision: bool = True,
        threads: int = 1,
        skin_A: float = 1.0,
        shortest_A: float = 1e-3,
        instruction_set: str | None = None,
    ) -> None:
        self._library = load()
        integers, numbers, arrays = student_arrays(student)
        pointers = {name: array.ctypes.data for name, array in arrays.items()}
        spec = StudentSpec(
            abi=ABI, **integers, **numbers, **pointers, num_weights=arrays["weights"].size
        )
        options = Options(
            single_precision=int(single_precision),
            threads=threads,
            skin_A=skin_A,
            shortest_A=shortest_A,
            instruction_set=c_char_p(instruction_set.encode() if instruction_set else None),
        )
        error = ctypes.create_string_buffer(512)
        handle = self._library.mlff_engine_new(
            ctypes.addressof(spec), ctypes.addressof(options), error, len(error)
        )
        if not handle:
            raise ConfigError(f"native engine: {error.value.decode()}")
        self._handle = handle
        self._real = np.dtype(np.float32 if single_precision else np.float64)
        self._hidden = student.manifest.architecture.hidden_dim
        self._count = 0  # atoms of the last evaluation that succeeded
        weakref.finalize(self, self._library.mlff_engine_free, handle)
        self._compute = self._library.mlff_engine_compute

    @property
    def instruction_set(self) -> str:
        """Instruction set in use."""
        return str(self._library.mlff_engine_instruction_set(self._handle).decode())

    @property
    def memory_bytes(self) -> int:
        """Memory held for weights and the largest structure so far."""
        return int(self._library.mlff_engine_bytes(self._handle))

    @property
    def list_builds(self) -> int:
        """How often the neighbor list has been built."""
        return int(self._library.mlff_engine_list_builds(self._handle))

    @property
    def num_pairs(self) -> int:
        """Pairs inside the cutoff in the last evaluation."""
        return int(self._library.mlff_engine_pairs(self._handle))

    def reset(self) -> None:
        """Forget the neighbor list: the next evaluation builds one."""
        self._library.mlff_engine_reset(self._handle)

    def compute(
        self,
        species: NDArray[np.int32],
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Evaluate a structure.

        Parameters
        ----------
        species
            int32 [N], index of each atom's element.
        positions, cell, pbc
            float64 [N, 3] and [3, 3], Å, and bool [3], all C-contiguous.

        Returns
        -------
        energies, forces, virial
            float64: [N], eV; [N, 3], eV/Å; [3, 3], eV, the energy's derivative by a strain.

        Raises
        ------
        StructureError
            If positions are not finite or atoms overlap.
        """
        count = len(species)
        energies, forces, virial = np.empty(count), np.empty((count, 3)), np.empty((3, 3))
        status = self._compute(
            *(self._handle, count, species.ctypes.data, positions.ctypes.data, cell.ctypes.data),
            *(pbc.ctypes.data, energies.ctypes.data, forces.ctypes.data, virial.ctypes.data),
        )
        self._count = 0 if status else count
        if status:
            self._raise(status)
        return energies, forces, virial

    def evaluate(
        self,
        species: NDArray[np.int32],
        edges: NDArray[np.int32],
        vectors: NDArray[np.float64],
        local: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Evaluate a graph, see :class:`mlff_md.graph.Graph`.

        Returns
        -------
        energies, gradients
            float64 [N], eV, and [E, 3], eV/Å. A pair's gradient may stand on one of its edges.

        Raises
        ------
        StructureError
            If atoms overlap.
        """
        species = np.ascontiguousarray(species, np.int32)
        centers, neighbors = (np.ascontiguousarray(row, np.int32) for row in edges)
        vectors = np.ascontiguousarray(vectors, np.float64)
        mask = np.ascontiguousarray(local, np.uint8)
        energies, gradients = np.empty(len(species)), np.empty((len(centers), 3))
        status = self._library.mlff_engine_edges(
            *(self._handle, len(species), species.ctypes.data, mask.ctypes.data, len(centers)),
            *(centers.ctypes.data, neighbors.ctypes.data, vectors.ctypes.data),
            *(energies.ctypes.data, gradients.ctypes.data),
        )
        self._count = 0 if status else len(species)
        if status:
            self._raise(status)
        return energies, gradients

    def scalars_sent(self, layer: int) -> NDArray[np.floating]:
        """Return the scalars that the atoms sent in a layer of the last evaluation.

        Returns
        -------
        scalars
            float [N, F]. From 2048 atoms on :meth:`compute` sorts atoms in space, and the rows
            are in that order.
        """
        result = np.empty((self._count, self._hidden), self._real)
        rows = np.arange(self._count, dtype=np.int32)
        self._library.mlff_scalars_sent(
            self._handle, layer, self._count, rows.ctypes.data, result.ctypes.data
        )
        return result

    def _raise(self, status: int) -> None:
        message = self._library.mlff_engine_error(self._handle).decode()
        if status == _NO_MEMORY:
            raise SimulationError(f"native engine: {message}")
        if status == _BAD_ARGUMENT:
            raise ConfigError(f"native engine: {message}")
        raise StructureError(message)
