"""What the engines return. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an engine returns for a graph.

    Attributes
    ----------
    energies
        float64 [N], energy of each atom, eV; zero where the atom is not local.
    gradients
        float [E, 3], derivative of the summed energies by each edge vector, eV/Å. An engine may
        put a pair's derivative on either of its two directed edges, or share it between them.
    """

    energies: NDArray[np.float64]
    gradients: NDArray[np.floating]
