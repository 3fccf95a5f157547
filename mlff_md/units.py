"""Units: everything inside the package is in eV, Å, fs, K and u (atomic mass units).

Constants are CODATA 2014, the set that ASE uses by default, so that temperatures and
velocities agree with ASE to the last digit (``tests/test_architecture.py`` holds the two together).
"""

from __future__ import annotations

import math
from typing import Final

_ELEMENTARY_CHARGE_C: Final = 1.6021766208e-19
_BOLTZMANN_J_PER_K: Final = 1.38064852e-23
_AVOGADRO: Final = 6.022140857e23
_ATOMIC_MASS_KG: Final = 1.660539040e-27
_LIGHT_SPEED_M_PER_S: Final = 299792458.0

BOLTZMANN_EV_PER_K: Final = _BOLTZMANN_J_PER_K / _ELEMENTARY_CHARGE_C
"""Boltzmann constant, eV/K."""

KJ_PER_MOL_PER_EV: Final = _ELEMENTARY_CHARGE_C * _AVOGADRO / 1000.0
"""1 eV in kJ/mol."""

ASE_TIME_UNIT_FS: Final = 1e15 * math.sqrt(_ATOMIC_MASS_KG / _ELEMENTARY_CHARGE_C) * 1e-10
"""ASE's unit of time, Å sqrt(u/eV), in fs."""

COULOMB_EV_A: Final = _ELEMENTARY_CHARGE_C * _LIGHT_SPEED_M_PER_S**2 * 1e-7 * 1e10
"""e^2 / (4 pi epsilon_0), eV Å."""

BOHR_A: Final = 0.52917721067
"""Bohr radius, Å."""

LIGHT_SPEED_CM_PER_FS: Final = _LIGHT_SPEED_M_PER_S * 1e2 * 1e-15
"""Speed of light, cm/fs: a wavenumber (1/cm) times it is a frequency (1/fs)."""
