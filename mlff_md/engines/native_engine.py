"""The ``native`` engine: the C++ kernel, with its own neighbor list. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.engines.assemble import Properties, stress_of
from mlff_md.engines.base import Engine
from mlff_md.engines.evaluation import Evaluation
from mlff_md.engines.lock import one_at_a_time
from mlff_md.errors import ConfigError, StructureError
from mlff_md.graph import Graph, build_graph, cell_volume, species_index
from mlff_md.native import NativeKernel
from mlff_md.structures import MIN_DISTANCE_A, check_geometry
from mlff_md.student import Student

if TYPE_CHECKING:
    from ase import Atoms


class NativeEngine(Engine):
    """Evaluate a student with the C++ kernel.

    Parameters
    ----------
    student
        The student.
    device
        ``cpu``.
    dtype
        ``float32``, or ``float64`` for static checks; energies are summed in float64 either way.
    threads
        Threads of an evaluation.
    skin_A
        Of the neighbor list, Å.
    instruction_set
        One of :func:`mlff_md.native.instruction_sets`; the best of this machine by default.

    Raises
    ------
    MissingDependencyError
        If the kernel was not built.
    ConfigError
        If an option cannot be had.
    """

    name = "native"
    batches = False

    def __init__(
        self,
        student: Student,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 1,
        skin_A: float = 1.0,
        instruction_set: str | None = None,
    ) -> None:
        super().__init__(student.elements, student.cutoff_A, skin_A)
        if device != "cpu":
            raise ConfigError(f"the native engine runs on the CPU; use torchscript for {device!r}")
        if dtype not in ("float32", "float64"):
            raise ConfigError(f"dtype must be float32 or float64, got {dtype!r}")
        self.kernel = NativeKernel(
            student,
            single_precision=dtype == "float32",
            threads=threads,
            skin_A=skin_A,
            shortest_A=MIN_DISTANCE_A,
            instruction_set=instruction_set,
        )
        self._dtype, self._threads = dtype, threads
        self._numbers: NDArray[np.integer] = np.empty(0, dtype=np.int64)
        self._species: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self._geometry = b""
        self._volume_A3 = float("nan")

    @one_at_a_time
    def evaluate(self, graph: Graph) -> Evaluation:
        """Evaluate a graph (see :class:`Engine`)."""
        return Evaluation(
            *self.kernel.evaluate(graph.species, graph.edges, graph.vectors, graph.local)
        )

    @one_at_a_time
    def compute(self, atoms: Atoms) -> Properties:
        """Evaluate a structure in one call to the kernel (see :class:`Engine`)."""
        positions = np.ascontiguousarray(atoms.positions, dtype=np.float64)
        cell = np.ascontiguousarray(atoms.cell.array, dtype=np.float64)
        pbc = atoms.pbc
        geometry = cell.tobytes() + pbc.tobytes()
        if geometry != self._geometry or not len(positions):
            check_geometry(positions, cell, pbc)
            self._geometry, self._volume_A3 = geometry, cell_volume(cell, pbc)
        if not np.array_equal(atoms.numbers, self._numbers):
            self._species = species_index(atoms.numbers, self.elements)
            self._numbers = atoms.numbers.copy()
        try:
            energies, forces, virial = self.kernel.compute(self._species, positions, cell, pbc)
        except StructureError:
            # The kernel knows that something is wrong; this says which atoms.
            check_geometry(positions, cell, pbc)
            build_graph(atoms, self.elements, self.cutoff_A)
            raise
        stress = stress_of(virial, self._volume_A3)
        return Properties(float(energies.sum()), energies, forces, virial, stress)

    @one_at_a_time
    def forget_history(self) -> None:
        """Forget the neighbor list, which orders the sums of large structures."""
        self.kernel.reset()

    def describe(self) -> Mapping[str, Any]:
        """Return engine, dtype, device, threads and instruction set."""
        return {
            "engine": self.name,
            "dtype": self._dtype,
            "device": "cpu",
            "threads": self._threads,
            "instruction_set": self.kernel.instruction_set,
        }
