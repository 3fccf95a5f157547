"""What every observable has in common."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlff_md.protocols.observables.frames import Frames

Array = NDArray[np.floating]


class Reduced(Protocol):
    """What runs were reduced to.

    Attributes
    ----------
    id
        Identifier of its check and of its threshold.
    title, unit
        What a person reads, and the unit of :meth:`size`.
    measure_name
        What :meth:`size` is (``Wasserstein distance``, ...).
    blind_to
        One line: what the comparison of this observable cannot see.
    """

    id: str
    title: str
    unit: str
    measure_name: str
    blind_to: str

    def size(self, difference: Array) -> Array:
        """Return the size of differences (..., *shape of a run's array), shape (...)."""


class Observable(Reduced, Protocol):
    """One observable of a run, from its frames."""

    def measure(self, frames: Frames) -> Array:
        """Reduce the frames of a run to an array whose shape is the same for all runs."""
