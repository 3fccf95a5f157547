"""Velocities of a start: Maxwell-Boltzmann momenta, rigid motion removed, degrees of freedom."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlff_md.units import BOLTZMANN_EV_PER_K

if TYPE_CHECKING:
    from ase import Atoms

_Number = TypeVar("_Number", float, NDArray[np.float64])

# Moments of inertia below this part of the largest are those of a linear molecule. A bend of a
# relaxed one is a few 1e-4 rad, which gives 1e-8; a bend at 300 K gives 1e-3 and more.
_LINEAR_TOLERANCE = 1e-6
# A total momentum below this part of sqrt(2 K M) was removed on purpose.
_ZERO_TOLERANCE = 1e-6


def thermalize(atoms: Atoms, temperature_K: float, rng: np.random.Generator) -> None:
    """Draw Maxwell-Boltzmann momenta in place, then remove rigid motion.

    The momenta are not scaled to the exact temperature: a replica's kinetic energy scatters as
    the canonical ensemble does. Constrained atoms stay at rest.
    """
    masses = atoms.get_masses()
    scale = np.sqrt(masses * BOLTZMANN_EV_PER_K * temperature_K)
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * scale[:, None])
    remove_rigid_motion(atoms)


def remove_rigid_motion(atoms: Atoms) -> None:
    """Remove, in place, the total momentum and (non-periodic) the total angular momentum.

    ASE's ``ZeroRotation`` divides by moments of inertia that are rounding noise for a linear
    molecule; here such an axis is left alone. Constrained atoms break both conservation laws,
    so nothing is removed from a constrained structure.
    """
    if atoms.constraints:
        return
    masses = atoms.get_masses()
    velocities = atoms.get_velocities()
    velocities -= masses @ velocities / masses.sum()
    if not atoms.pbc.any():
        arms = atoms.positions - atoms.get_center_of_mass()
        moments, axes = _principal_moments(masses, arms)
        angular = np.cross(arms, masses[:, None] * velocities).sum(axis=0)
        rigid = _rotating(moments)
        omega = axes[:, rigid] @ ((axes[:, rigid].T @ angular) / moments[rigid])
        velocities -= np.cross(omega, arms)
    atoms.set_velocities(velocities)


def degrees_of_freedom(atoms: Atoms, *, conserves_momentum: bool = True) -> int:
    """Return how many degrees of freedom share the kinetic energy.

    Parameters
    ----------
    atoms
        Structure with its momenta.
    conserves_momentum
        ``True`` for NVE, where a momentum that is zero stays zero: 3N - 3, and non-periodic
        without rotation 3N - 6 (3N - 5 if linear). ``False`` for a Langevin thermostat, which
        feeds rigid motion as well: 3N.

    Returns
    -------
    int
        At least 0 (a single atom at rest). Constraints count as ASE counts them.
    """
    if atoms.constraints:
        return int(atoms.get_number_of_degrees_of_freedom())
    n = 3 * len(atoms)
    if not conserves_momentum:
        return n
    masses = atoms.get_masses()
    velocities = atoms.get_velocities()
    kinetic = 0.5 * float(masses @ (velocities**2).sum(axis=1))
    total = masses @ velocities
    if float(np.linalg.norm(total)) > _ZERO_TOLERANCE * np.sqrt(2.0 * kinetic * masses.sum()):
        return n
    n -= 3
    if not atoms.pbc.any():
        arms = atoms.positions - atoms.get_center_of_mass()
        moments, axes = _principal_moments(masses, arms)
        rigid = _rotating(moments)
        # An almost linear molecule keeps a little about its axis, from its bends.
        angular = axes[:, rigid].T @ np.cross(arms, masses[:, None] * velocities).sum(axis=0)
        scale = np.sqrt(2.0 * kinetic * max(float(moments.max(initial=0.0)), 0.0))
        if float(np.linalg.norm(angular)) <= _ZERO_TOLERANCE * scale:
            n -= int(rigid.sum())
    return max(n, 0)


def kinetic_temperature(kinetic_energy_eV: _Number, degrees_of_freedom: int) -> _Number:
    """Return 2 K / (f k_B), K, zero if there are no degrees of freedom."""
    if degrees_of_freedom == 0:
        return 0.0 * kinetic_energy_eV
    return 2.0 * kinetic_energy_eV / (degrees_of_freedom * BOLTZMANN_EV_PER_K)


def _principal_moments(
    masses: NDArray[np.float64], arms: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the principal moments of inertia [3] and their axes as columns [3, 3]."""
    second = (masses[:, None] * arms).T @ arms
    moments, axes = np.linalg.eigh(np.trace(second) * np.eye(3) - second)
    return moments, axes


def _rotating(moments: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which principal axes a rotation can be about: none for an atom, two if linear."""
    largest = float(moments.max(initial=0.0))
    return moments > max(_LINEAR_TOLERANCE * largest, 1e-9)
