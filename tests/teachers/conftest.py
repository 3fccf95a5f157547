"""Argon, which several teachers can describe."""

from __future__ import annotations

import pytest
from ase import Atoms
from ase.build import bulk


@pytest.fixture
def argon() -> Atoms:
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat(2)
    atoms.rattle(0.1, seed=0)
    return atoms
