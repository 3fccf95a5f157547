"""What a run of molecular dynamics measures on its way: energies, momenta, their time series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlff_md.units import ASE_TIME_UNIT_FS
from mlff_md.velocities import kinetic_temperature

if TYPE_CHECKING:
    from ase import Atoms

COLUMNS = 10
"""Numbers of one sample, in the order of :meth:`Record.add`."""


@dataclass(frozen=True)
class MdRun:
    """Time series of one run; n samples, the first of them at the start.

    Attributes
    ----------
    time_fs
        Time since the start, shape (n,).
    potential_energy_eV, kinetic_energy_eV
        Energies, shape (n,), double precision. The potential energy is the force-consistent
        one (free energy of the electrons) where the calculator has it.
    momentum_u_A_per_fs
        Total momentum, shape (n, 3).
    angular_momentum_u_A2_per_fs
        Total angular momentum about the center of mass, shape (n, 3).
    force_power_eV_per_fs2
        sum_i F_i^2 / m_i, shape (n,): the shadow Hamiltonian needs it.
    degrees_of_freedom
        Those that share the kinetic energy.
    timestep_fs
        Time step of the integrator.
    sample_every
        Steps from one sample to the next.
    n_atoms
        Number of atoms.
    atoms
        Structure with momenta after the last step, without a calculator; empty where a file told
        energies only.
    """

    time_fs: NDArray[np.float64]
    potential_energy_eV: NDArray[np.float64]
    kinetic_energy_eV: NDArray[np.float64]
    momentum_u_A_per_fs: NDArray[np.float64]
    angular_momentum_u_A2_per_fs: NDArray[np.float64]
    force_power_eV_per_fs2: NDArray[np.float64]
    degrees_of_freedom: int
    timestep_fs: float
    sample_every: int
    n_atoms: int
    atoms: Atoms

    @property
    def total_energy_eV(self) -> NDArray[np.float64]:
        """Potential plus kinetic energy, shape (n,)."""
        return self.potential_energy_eV + self.kinetic_energy_eV

    @property
    def temperature_K(self) -> NDArray[np.float64]:
        """2 K / (f k_B) with f degrees of freedom, shape (n,); zero if there are none."""
        return kinetic_temperature(self.kinetic_energy_eV, self.degrees_of_freedom)


class Record:
    """Samples of a run in an array of their final size.

    Parameters
    ----------
    atoms
        The structure that moves.
    degrees_of_freedom
        Those that share the kinetic energy.
    timestep_fs
        Time step, fs.
    sample_every
        Steps between samples.
    steps
        Steps of the run.

    Attributes
    ----------
    rows
        Shape (most samples, :data:`COLUMNS`); those from ``count`` on are not set.
    count
        Samples so far.
    """

    def __init__(
        self,
        atoms: Atoms,
        degrees_of_freedom: int,
        timestep_fs: float,
        sample_every: int,
        steps: int,
    ) -> None:
        self._atoms = atoms
        self._masses = atoms.get_masses()
        self._inverse_masses = 1.0 / self._masses
        self._degrees_of_freedom = degrees_of_freedom
        self._timestep_fs = timestep_fs
        self._sample_every = sample_every
        self.rows = np.empty((steps // sample_every + 1, COLUMNS))
        self.count = 0

    def add(self, step: int, energy_eV: float, forces_eV_per_A: NDArray[np.float64]) -> float:
        """Measure the structure as it is now, and return its kinetic energy, eV."""
        positions, momenta = self._atoms.positions, self._atoms.get_momenta()
        inverse, forces = self._inverse_masses, forces_eV_per_A
        kinetic = 0.5 * float(inverse @ np.einsum("ij,ij->i", momenta, momenta))
        force_power = float(inverse @ np.einsum("ij,ij->i", forces, forces))
        center = self._masses @ positions / self._masses.sum()
        total = momenta.sum(axis=0)
        moment = positions.T @ momenta - np.outer(center, total)
        row = self.rows[self.count]
        row[:4] = step * self._timestep_fs, energy_eV, kinetic, force_power / ASE_TIME_UNIT_FS**2
        row[4:7] = total
        row[7] = moment[1, 2] - moment[2, 1]
        row[8] = moment[2, 0] - moment[0, 2]
        row[9] = moment[0, 1] - moment[1, 0]
        row[4:] /= ASE_TIME_UNIT_FS
        self.count += 1
        return kinetic

    def finish(self) -> MdRun:
        """Return the time series, and a copy of the structure."""
        rows = self.rows[: self.count]
        time_fs, potential, kinetic, force_power = rows[:, :4].T.copy()
        return MdRun(
            time_fs=time_fs,
            potential_energy_eV=potential,
            kinetic_energy_eV=kinetic,
            momentum_u_A_per_fs=rows[:, 4:7].copy(),
            angular_momentum_u_A2_per_fs=rows[:, 7:].copy(),
            force_power_eV_per_fs2=force_power,
            degrees_of_freedom=self._degrees_of_freedom,
            timestep_fs=self._timestep_fs,
            sample_every=self._sample_every,
            n_atoms=len(self._atoms),
            atoms=self._atoms.copy(),
        )
