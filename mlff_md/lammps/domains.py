"""Evaluating a student on what one MPI rank of LAMMPS sees. No torch.

One rank owns all atoms, so the student's own periodic evaluation serves, the very one of the ASE
calculator: no ghost atom is looked at. Several ranks each evaluate the atoms that they own, with
the ghosts around them as neighbors; what falls on ghosts, LAMMPS brings to their owners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlff_md.engines.assemble import forces as forces_of
from mlff_md.errors import ConfigError, SimulationError
from mlff_md.graph import Graph, species_index
from mlff_md.lammps.ctypes_lammps import Box, Lammps
from mlff_md.neighbors import NeighborList
from mlff_md.structures import MIN_DISTANCE_A, check_distances

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_md.engines import Engine
    from mlff_md.lammps.watch import Watch

_SKIN_A = 1.0
_MARGIN_A = 1e-3
"""Ghosts this close to the edge of what is needed are not counted, lest rounding decide."""


@dataclass(frozen=True, eq=False)
class Share:
    """What one rank computed.

    Attributes
    ----------
    energies
        ``float64 [n_local]``, eV.
    forces
        ``float64 [rows, 3]``, eV/Å, to be added to the first rows of LAMMPS' ``f``.
    virial
        ``float64 [6]``, xx yy zz xy xz yz in eV in LAMMPS' sign, which LAMMPS does not find by
        itself from those forces.
    """

    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    virial: NDArray[np.float64]


class OneRank:
    """Evaluation where one rank owns all atoms, under a guard's eyes if there is a ``watch``."""

    def __init__(self, engine: Engine, watch: Watch | None = None) -> None:
        from ase import Atoms

        self._engine, self._atoms, self._watch = engine, Atoms(), watch

    def evaluate(self, lammps: Lammps, numbers_by_type: NDArray[np.int64]) -> Share:
        """Evaluate the current positions.

        LAMMPS finds the virial as the sum of position times force over what it was given, ghosts
        included; with forces on owners only, the part of the pairs that cross the boundary is
        missing there. It is what ``Share.virial`` holds.

        Raises
        ------
        StructureError
            If the structure cannot be evaluated.
        SimulationError
            If the guard stops the run.
        """
        count = lammps.setting("nlocal")
        numbers = numbers_by_type[lammps.types(count)]
        positions, chosen = lammps.vectors("x", count), np.flatnonzero(numbers)
        share = Share(np.zeros(count), np.zeros((count, 3)), np.zeros(6))
        if len(chosen) == 0:
            return share
        if len(chosen) < count:
            numbers, positions = numbers[chosen], positions[chosen]
        structure = self._structure(numbers, positions, lammps.box())
        properties = self._engine.compute(structure)
        if self._watch is not None:
            self._watch.look(
                lammps.step(), structure, properties.energies, lambda: lammps.ids(count)[chosen]
            )
        share.energies[chosen] = properties.energies
        share.forces[chosen] = properties.forces
        share.virial[:] = _six(-properties.virial)
        if lammps.setting("newton_pair"):
            share.virial[:] -= _six(positions.T @ properties.forces)
        return share

    def _structure(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], box: Box
    ) -> Atoms:
        from ase import Atoms

        if len(self._atoms) != len(numbers):
            self._atoms = Atoms(numbers=numbers, positions=positions)
        self._atoms.numbers[:] = numbers
        self._atoms.positions[:] = positions
        self._atoms.cell[:] = box.cell
        self._atoms.pbc = box.periodic
        return self._atoms


class ManyRanks:
    """Evaluation where each rank owns a part of the space.

    Parameters
    ----------
    engine
        The student's engine.
    layers
        Its interaction layers: an atom's energy depends on atoms up to this many cutoffs away.
    """

    def __init__(self, engine: Engine, layers: int) -> None:
        self._engine, self._layers = engine, layers
        self._list = NeighborList(engine.cutoff_A, _SKIN_A)

    @property
    def reach_A(self) -> float:
        """How far around its own atoms a rank has to see ghosts, Å."""
        return self._layers * self._engine.cutoff_A

    def evaluate(self, lammps: Lammps, numbers_by_type: NDArray[np.int64]) -> Share:
        """Evaluate the current positions of own and ghost atoms.

        Raises
        ------
        StructureError
            If the structure cannot be evaluated.
        """
        count = lammps.setting("nlocal")
        rows = count + lammps.setting("nghost")
        share = Share(np.zeros(count), np.zeros((rows, 3)), np.zeros(6))
        numbers = numbers_by_type[lammps.types(rows)]
        chosen = np.flatnonzero(numbers)
        local = chosen < count
        if not local.any():
            return share
        numbers = numbers[chosen]
        positions = lammps.vectors("x", rows)[chosen]
        edges, vectors = self._list.update(positions, np.eye(3), np.zeros(3, dtype=bool))
        if self._list.shortest_A < MIN_DISTANCE_A:
            check_distances(numbers, edges, vectors)
        kept = self._needed(edges, local)
        graph = Graph.single(
            species_index(numbers, self._engine.elements),
            np.ascontiguousarray(edges[:, kept]),
            vectors[kept],
            local=local,
        )
        evaluation = self._engine.evaluate(graph)
        share.energies[chosen[local]] = evaluation.energies[local]
        share.forces[chosen] = forces_of(graph, evaluation.gradients)
        return share

    def _needed(self, edges: NDArray[np.int32], local: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the edges that own atoms' energies depend on, with their way back."""
        center, neighbor = edges
        receiving = local.copy()
        for _ in range(self._layers - 1):
            reached = neighbor[receiving[center]]
            receiving[reached] = True
        return np.flatnonzero(receiving[center] | receiving[neighbor])

    def check_ghosts(self, lammps: Lammps) -> None:
        """Check that this rank sees every atom within reach of its own; every rank calls.

        LAMMPS does not tell how far its ghosts reach. So all atoms are gathered, and those whose
        images lie in the box around this rank's atoms, widened by the reach, are counted.

        Raises
        ------
        ConfigError
            If ghosts are missing: the forces would be slightly wrong.
        """
        everywhere = lammps.all_positions()
        count = lammps.setting("nlocal")
        if count == 0:
            return
        box = lammps.box()
        inverse = np.linalg.inv(box.cell)
        reach = (self.reach_A - _MARGIN_A) * np.linalg.norm(inverse, axis=0)
        seen = (lammps.vectors("x", count + lammps.setting("nghost")) - box.origin) @ inverse
        low, high = seen[:count].min(axis=0) - reach, seen[:count].max(axis=0) + reach
        expected = _count_images((everywhere - box.origin) @ inverse, low, high, box.periodic)
        inside = int(((seen >= low) & (seen <= high)).all(axis=1).sum())
        if inside < expected:
            raise ConfigError(
                f"the ghost atoms do not reach {self.reach_A:g} Å: with several ranks a student "
                f"of {self._layers} layers needs 'comm_modify cutoff {self.reach_A + 2.0:g}' in "
                "the deck, before the run"
            )


def _count_images(
    fractional: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    periodic: NDArray[np.bool_],
) -> int:
    """Return how many images of the atoms lie between two corners, in fractions of the cell.

    The images along the three directions are independent, so their numbers multiply.
    """
    first = np.ceil(low - fractional)
    last = np.floor(high - fractional)
    along = np.maximum(last - first + 1.0, 0.0)
    inside = (fractional >= low) & (fractional <= high)
    return int(np.where(periodic, along, inside).prod(axis=1).sum())


def _six(tensor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return xx yy zz xy xz yz, the order and the triangle of LAMMPS."""
    return tensor[(0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)]


def check_finite(share: Share) -> None:
    """Check that energies and forces are numbers.

    Raises
    ------
    SimulationError
        If not.
    """
    if not (np.isfinite(share.energies.sum()) and np.isfinite(share.forces.sum())):
        raise SimulationError(
            "the student's energy or forces are not finite: the structure is far outside of what "
            "it was trained on, or the simulation has blown up"
        )
