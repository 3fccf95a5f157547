"""The loop around an integrator: samples, trajectory frames, and guards against a blow-up.

A run goes on from its positions, momenta, random generator and step number, nothing else.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, MissingDependencyError, MlffError, SimulationError
from mlff_md.progress import Progress, silent
from mlff_md.trajectory import TrajectoryWriter, check_name
from mlff_md.units import ASE_TIME_UNIT_FS
from mlff_md.velocities import kinetic_temperature

if TYPE_CHECKING:
    from ase import Atoms

_CAP_FACTOR = 10.0
_MAX_STEP_LENGTH_A = 1.0


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
    atoms
        Structure with momenta after the last step, without a calculator.
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
    atoms: Atoms

    @property
    def total_energy_eV(self) -> NDArray[np.float64]:
        """Potential plus kinetic energy, shape (n,)."""
        return self.potential_energy_eV + self.kinetic_energy_eV

    @property
    def temperature_K(self) -> NDArray[np.float64]:
        """2 K / (f k_B) with f degrees of freedom, shape (n,); zero if there are none."""
        return kinetic_temperature(self.kinetic_energy_eV, self.degrees_of_freedom)


class UnstableRunError(SimulationError):
    """A run blew up. ``step`` says where, ``run`` holds the samples up to there."""

    def __init__(self, message: str, step: int, run: MdRun) -> None:
        super().__init__(message)
        self.step = step
        self.run = run


class Loop:
    """One run: the integrator, what is sampled, and the guards."""

    def __init__(self, atoms: Atoms, dynamics: Any, timestep_fs: float) -> None:
        self.atoms = atoms
        self.dynamics = dynamics
        self.timestep_fs = timestep_fs
        self.masses = atoms.get_masses()
        self.inverse_masses = 1.0 / self.masses
        self.degrees_of_freedom = 0
        self.temperature_cap_K = math.inf
        self.reference_K = math.inf
        self.force_consistent = True

    def set_temperature_cap(self, target_K: float | None, *, kept_velocities: bool = False) -> None:
        """Cap at ten times the target; at more for a few degrees of freedom.

        Without a target the start sets it, but not below 300 K: a stretched structure may
        rightly start at rest. With velocities that were kept the hotter of start and target
        does: a run may be meant to cool. The kinetic energy of fewer than six degrees of
        freedom exceeds ten times its mean now and then; 60 / f keeps that below 1e-10.
        """
        start_K = kinetic_temperature(self.kinetic_energy(), self.degrees_of_freedom)
        if target_K is None:
            self.reference_K = max(start_K, 300.0)
        else:
            self.reference_K = max(start_K, target_K) if kept_velocities else target_K
        if self.reference_K > 0.0 and self.degrees_of_freedom:
            factor = max(_CAP_FACTOR, 60.0 / self.degrees_of_freedom)
            self.temperature_cap_K = factor * self.reference_K

    def kinetic_energy(self) -> float:
        """Return the kinetic energy, eV."""
        momenta = self.atoms.get_momenta()
        return 0.5 * float(self.inverse_masses @ np.einsum("ij,ij->i", momenta, momenta))

    def run(
        self,
        label: str,
        steps: int,
        sample_every: int,
        trajectory: str | Path | None,
        trajectory_every: int,
        progress: Progress | None,
    ) -> MdRun:
        """Make the steps, sampling on the way; see :func:`mlff_md.md.run_nve`."""
        told = progress or silent
        record = _Record(self, steps // sample_every + 1, sample_every)
        if trajectory:
            check_name(trajectory)
        writer: TrajectoryWriter | None = None
        forces: NDArray[np.float64] | None = None
        told.begin(label, steps, self.timestep_fs)
        with contextlib.ExitStack() as at_end:
            at_end.callback(told.end)
            for step in range(steps + 1):
                sampled = step % sample_every == 0
                framed = bool(trajectory) and step % trajectory_every == 0
                try:
                    forces = self._advance(forces)
                    energy = self._energy(first=step == 0) if sampled or framed else math.nan
                    if sampled:
                        record.add(step, energy, forces)
                except _Stop as stop:
                    raise self._unstable(step, str(stop), record) from stop.__cause__
                if trajectory and framed:
                    # Opened no sooner: a run that cannot start leaves the old file alone.
                    writer = writer or at_end.enter_context(TrajectoryWriter(trajectory))
                    writer.write(self.atoms, energy, forces, step, step * self.timestep_fs)
                told.update(step)
        return record.finish()

    def _advance(self, forces: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Make one step, unless there are no forces yet, and return finite forces."""
        with calculator_errors(first=forces is None):
            if forces is None:
                new_forces = self.atoms.get_forces(md=True)
                self.force_consistent = _has_free_energy(self.atoms)
            else:
                before = self.atoms.get_positions()
                new_forces = self.dynamics.step(forces)
        # A sum is finite unless a term is not; one pass, no temporary array of booleans.
        if not math.isfinite(float(np.sum(new_forces))):
            raise _Stop("the forces are not finite")
        if forces is not None:
            moved = float(np.abs(self.atoms.positions - before).max())
            if not moved <= _MAX_STEP_LENGTH_A:
                raise _Stop(f"an atom moved by {moved:.3g} Å in one step")
        return new_forces

    def _energy(self, *, first: bool) -> float:
        with calculator_errors(first=first):
            energy = float(self.atoms.get_potential_energy(force_consistent=self.force_consistent))
        if not math.isfinite(energy):
            raise _Stop("the energy is not finite")
        return energy

    def _unstable(self, step: int, reason: str, record: _Record) -> UnstableRunError:
        advice = "check the start structure"
        if step:
            advice = f"try a smaller timestep_fs than {self.timestep_fs:g} or a relaxed start"
        return UnstableRunError(
            f"the run stopped at step {step} ({step * self.timestep_fs:.6g} fs): {reason}; "
            f"{advice}, and check that the calculator knows this chemistry",
            step,
            record.finish(),
        )


class _Record:
    """Samples of a run in arrays of their final size."""

    def __init__(self, loop: Loop, n: int, sample_every: int) -> None:
        self.loop = loop
        self.sample_every = sample_every
        self.count = 0
        self.scalars = np.full((n, 4), np.nan)
        self.vectors = np.full((n, 6), np.nan)

    def add(self, step: int, energy: float, forces: NDArray[np.float64]) -> None:
        loop = self.loop
        positions, momenta = loop.atoms.positions, loop.atoms.get_momenta()
        kinetic = loop.kinetic_energy()
        force_power = float(loop.inverse_masses @ np.einsum("ij,ij->i", forces, forces))
        center = loop.masses @ positions / loop.masses.sum()
        total = momenta.sum(axis=0)
        moment = positions.T @ momenta - np.outer(center, total)
        self.scalars[self.count] = (
            step * loop.timestep_fs,
            energy,
            kinetic,
            force_power / ASE_TIME_UNIT_FS**2,
        )
        self.vectors[self.count, :3] = total / ASE_TIME_UNIT_FS
        self.vectors[self.count, 3:] = (
            np.array(
                (
                    moment[1, 2] - moment[2, 1],
                    moment[2, 0] - moment[0, 2],
                    moment[0, 1] - moment[1, 0],
                )
            )
            / ASE_TIME_UNIT_FS
        )
        self.count += 1
        temperature = kinetic_temperature(kinetic, loop.degrees_of_freedom)
        if not temperature <= loop.temperature_cap_K:
            raise _Stop(
                f"the temperature is {temperature:.3g} K, more than "
                f"{loop.temperature_cap_K / loop.reference_K:.3g} times "
                f"{loop.reference_K:.4g} K"
            )

    def finish(self) -> MdRun:
        loop, n = self.loop, self.count
        last = loop.atoms.copy()
        time_fs, potential, kinetic, force_power = self.scalars[:n].T.copy()
        return MdRun(
            time_fs=time_fs,
            potential_energy_eV=potential,
            kinetic_energy_eV=kinetic,
            momentum_u_A_per_fs=self.vectors[:n, :3].copy(),
            angular_momentum_u_A2_per_fs=self.vectors[:n, 3:].copy(),
            force_power_eV_per_fs2=force_power,
            degrees_of_freedom=loop.degrees_of_freedom,
            timestep_fs=loop.timestep_fs,
            sample_every=self.sample_every,
            atoms=last,
        )


class _Stop(Exception):  # noqa: N818 - control flow within this module
    """The run cannot go on; the text says why."""


@contextlib.contextmanager
def calculator_errors(task: str | None = None, *, first: bool = False) -> Iterator[None]:
    """Turn a calculator's failure into the end of ``task``, or of the run if none is named.

    At the ``first`` evaluation nothing is lost yet: our own errors, which say how to mend the
    start, and bugs of the calculator pass through. Later anything that it raises is a stop that
    keeps what was done so far, without the advice, which is about an input.
    """
    try:
        yield
    except (ConfigError, MissingDependencyError):
        raise
    except Exception as error:
        foreign = isinstance(error, (RuntimeError, ArithmeticError, ValueError))
        if first and not foreign:
            raise
        lines = str(error).strip().splitlines()
        text = lines[0] if lines else type(error).__name__
        if isinstance(error, MlffError):
            text = text.partition(";")[0]
        elif lines and not foreign:
            text = f"{type(error).__name__}: {text}"
        reason = f"the calculator failed ({text})"
        if task is None:
            raise _Stop(reason) from error
        raise SimulationError(f"{task} stopped: {reason}; check the structure") from error


def _has_free_energy(atoms: Atoms) -> bool:
    """Return whether the calculator tells the energy whose gradient its forces are."""
    try:
        atoms.get_potential_energy(force_consistent=True)
    except (NotImplementedError, TypeError, KeyError):
        return False
    return True
