"""The engine contract: edges in, atomic energies and edge gradients out. No torch."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlff_md.engines.assemble import Properties, assemble
from mlff_md.engines.evaluation import Evaluation
from mlff_md.engines.lock import one_at_a_time
from mlff_md.graph import Graph, build_graph
from mlff_md.neighbors import NeighborList

if TYPE_CHECKING:
    from ase import Atoms


class Engine(ABC):
    """Something that evaluates one student.

    Every engine returns the same numbers for the same graph, to the noise of its floating-point
    type; forces, virial and stress follow in :func:`mlff_md.engines.assemble.assemble`.

    Parameters
    ----------
    elements
        Chemical symbols in the order of the species indices.
    cutoff_A
        Edges join atoms closer than this, Å.
    skin_A
        Of the neighbor list that :meth:`compute` keeps, Å.
    """

    name: str
    batches = True
    """Whether many small structures at once are faster than one by one."""

    def __init__(self, elements: tuple[str, ...], cutoff_A: float, skin_A: float) -> None:
        self.elements, self.cutoff_A, self.skin_A = elements, cutoff_A, skin_A
        self._neighbor_list = NeighborList(cutoff_A, skin_A)
        self._lock = threading.RLock()

    @abstractmethod
    def evaluate(self, graph: Graph) -> Evaluation:
        """Evaluate a graph whose species refer to ``self.elements``."""

    @one_at_a_time
    def compute(self, atoms: Atoms) -> Properties:
        """Evaluate a structure, reusing the neighbor list of the one before where possible.

        Raises
        ------
        StructureError
            If the structure cannot be evaluated.
        """
        graph = build_graph(atoms, self.elements, self.cutoff_A, self._neighbor_list)
        (properties,) = assemble(graph, self.evaluate(graph))
        return properties

    def forget_history(self) -> None:  # noqa: B027 - most engines have none
        """Let no later result depend on the structures so far, not in the last digit either."""

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Return what a report's provenance needs: engine, dtype, device, threads."""
