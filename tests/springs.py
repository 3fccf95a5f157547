"""A calculator whose every result is known, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

Spoil = Callable[[dict[str, Any]], None]


class Springs(Calculator):
    """Every atom on its own spring, of ``stiffness`` eV/Å²; from a call on, ``spoil`` meddles."""

    implemented_properties = ("energy", "forces")

    def __init__(
        self, stiffness: float = 1.0, at_call: int = 0, spoil: Spoil | None = None
    ) -> None:
        super().__init__()
        self.stiffness, self.at_call, self.spoil = stiffness, at_call, spoil
        self.home: np.ndarray | None = None
        self.calls = 0

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        if self.home is None:
            self.home = self.atoms.positions.copy()
        shift = self.atoms.positions - self.home
        self.results = {
            "energy": 0.5 * self.stiffness * float((shift**2).sum()),
            "forces": -self.stiffness * shift,
        }
        self.calls += 1
        if self.spoil is not None and self.calls > self.at_call:
            self.spoil(self.results)


def fill_forces(value: float) -> Spoil:
    return lambda results: results["forces"].fill(value)


def set_energy(value: float) -> Spoil:
    return lambda results: results.update(energy=value)


def fail(error: Exception) -> Spoil:
    def spoil(results: dict[str, Any]) -> None:
        raise error

    return spoil
