"""What a teacher says of a structure."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms


def evaluate(atoms: Atoms, calculator: Any) -> tuple[float, np.ndarray]:
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms.get_potential_energy(), atoms.get_forces()
