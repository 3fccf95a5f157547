"""Energies and forces of many structures from any calculator, in the way that is fastest for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import SimulationError, StructureError
from mlff_md.md import evaluate
from mlff_md.progress import Progress, silent

if TYPE_CHECKING:
    from ase import Atoms

_BATCH = 64


def predict(
    structures: Sequence[Atoms], calculator: Any, progress: Progress | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the energies (F,), eV, and the forces of all atoms one after another (A, 3), eV/Å.

    Parameters
    ----------
    structures
        Any mixture; not changed.
    calculator
        A student's calculator evaluates them in batches, any other one by one.
    progress
        Told of each structure.

    Raises
    ------
    StructureError, SimulationError
        At the first structure that cannot be evaluated; the message names its number.
    """
    told = progress or silent
    told.begin("forces", len(structures))
    energies = np.empty(len(structures))
    forces: list[NDArray[np.float64]] = []
    in_batches = callable(getattr(calculator, "evaluate", None))
    try:
        for start in range(0, len(structures), _BATCH):
            part = structures[start : start + _BATCH]
            if in_batches:
                for k, result in enumerate(_batch(part, calculator, start), start=start):
                    energies[k] = result.energy
                    forces.append(result.forces)
            else:
                for k, atoms in enumerate(part, start=start):
                    energies[k], single = _one(atoms, calculator, k)
                    forces.append(single)
                    told.update(k + 1)
            told.update(start + len(part))
    finally:
        told.end()
    return energies, np.concatenate([np.empty((0, 3)), *forces])


def _batch(part: Sequence[Atoms], calculator: Any, first: int) -> Any:
    try:
        return calculator.evaluate(part)
    except StructureError as error:
        # The batch counts from its own start; the caller wants to know which structure it is.
        for k, atoms in enumerate(part, start=first):
            _one(atoms, calculator, k)
        raise StructureError(str(error)) from error


def _one(atoms: Atoms, calculator: Any, index: int) -> tuple[float, NDArray[np.float64]]:
    try:
        return evaluate(atoms, calculator)
    except (SimulationError, StructureError) as error:
        raise type(error)(f"structure {index}: {error}") from error
