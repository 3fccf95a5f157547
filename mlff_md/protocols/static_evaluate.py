"""Evaluations for the static protocol: energy, forces and stress of many structures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import SimulationError
from mlff_md.md_loop import calculator_errors

if TYPE_CHECKING:
    from ase import Atoms

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Energy (eV; the force-consistent one where there is one) and forces (eV/Å, shape (N, 3))."""

    energy_eV: float
    forces_eV_per_A: Array


class Evaluator:
    """Evaluates structures with one calculator and counts the evaluations.

    Parameters
    ----------
    calculator
        Any ASE calculator.

    Attributes
    ----------
    count
        Evaluations so far.
    """

    def __init__(self, calculator: Any) -> None:
        self.calculator = calculator
        self.count = 0
        self._consistent: bool | None = None

    def __call__(self, atoms: Atoms) -> Evaluation:
        """Evaluate a structure, which is left as it is.

        Raises
        ------
        SimulationError
            If the calculator fails, or answers with something that is not finite.
        """
        asked = atoms.copy()
        asked.calc = self.calculator
        with calculator_errors("a static evaluation"):
            forces = np.array(asked.get_forces(apply_constraint=False), dtype=np.float64)
            energy = self._energy(asked)
        self.count += 1
        if not (math.isfinite(energy) and np.isfinite(forces).all()):
            raise SimulationError("a static evaluation stopped: energy or forces are not finite")
        return Evaluation(energy, forces)

    def stress(self, atoms: Atoms) -> Array | None:
        """Return the stress, eV/Å^3, shape (3, 3), or ``None`` if the calculator has none."""
        asked = atoms.copy()
        asked.calc = self.calculator
        try:
            stress = np.array(asked.get_stress(voigt=False, apply_constraint=False), dtype=float)
        except (NotImplementedError, RuntimeError, KeyError):
            return None
        return stress if np.isfinite(stress).all() else None

    def forget(self) -> None:
        """Drop what the calculator remembers of its last structure, as far as it can."""
        reset = getattr(self.calculator, "reset", None)
        if callable(reset):
            reset()

    def _energy(self, asked: Atoms) -> float:
        if self._consistent is None:
            try:
                energy = float(asked.get_potential_energy(force_consistent=True))
                self._consistent = True
                return energy
            except (NotImplementedError, TypeError, KeyError):
                self._consistent = False
        return float(asked.get_potential_energy(force_consistent=self._consistent))


def rms(values: Array) -> float:
    """Return the root mean square of all numbers of an array."""
    return math.sqrt(float(np.mean(np.square(values)))) if values.size else 0.0


def representable_in_float32(values: Array) -> bool:
    """Return whether every number survives a conversion to float32: nothing finer was computed."""
    return bool((values.astype(np.float32).astype(np.float64) == values).all())
