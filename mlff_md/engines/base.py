"""The engine contract: edges in, atomic energies and edge gradients out. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.graph import Graph


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an engine returns for a graph.

    Attributes
    ----------
    energies
        float64 [N], energy of each atom, eV; zero where the atom is not local.
    gradients
        float [E, 3], derivative of the summed energies by each edge vector, eV/Å.
    """

    energies: NDArray[np.float64]
    gradients: NDArray[np.floating]


class Engine(ABC):
    """Something that evaluates one student.

    Every engine returns the same numbers for the same graph, to the noise of its floating-point
    type; forces, virial and stress follow in :func:`mlff_md.engines.assemble.assemble`.
    """

    name: str
    elements: tuple[str, ...]
    cutoff_A: float

    @abstractmethod
    def evaluate(self, graph: Graph) -> Evaluation:
        """Evaluate a graph whose species refer to ``self.elements``."""

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Return what a report's provenance needs: engine, dtype, device, threads."""
