"""The loop around an integrator: samples, trajectory frames, checkpoints, and guards.

A run goes on from its positions, momenta, forces, random generator and step number, nothing else.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, MissingDependencyError, MlffError, SimulationError
from mlff_md.md_record import MdRun, Record
from mlff_md.progress import Progress, silent
from mlff_md.restart import Restart
from mlff_md.restart_state import State, forget_history
from mlff_md.trajectory import TrajectoryWriter, check_name
from mlff_md.velocities import kinetic_temperature

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_md.guard import Guard

_CAP_FACTOR = 10.0
_MAX_STEP_LENGTH_A = 1.0


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
        self.guard: Guard | None = None

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
        restart: Restart | None = None,
    ) -> MdRun:
        """Make the steps, sampling on the way; see :func:`mlff_md.md.run_nve`.

        ``label``, the ensemble, is told by ``progress`` and in each frame of the trajectory.
        """
        told = progress or silent
        record = Record(self.atoms, self.degrees_of_freedom, self.timestep_fs, sample_every, steps)
        if trajectory:
            check_name(trajectory)
        writer: TrajectoryWriter | None = None
        forces: NDArray[np.float64] | None = None
        first = 0
        with contextlib.ExitStack() as at_end:
            if restart is not None:
                at_end.enter_context(restart)
                forget_history(self.atoms.calc)
                state = self._go_on(restart, record, steps)
                if state is not None:
                    first, forces = state.step + 1, state.forces_eV_per_A
                    if trajectory and first <= steps:
                        behind = TrajectoryWriter(trajectory, state.trajectory, label)
                        writer = at_end.enter_context(behind)
            told.begin(label, steps, self.timestep_fs)
            at_end.callback(told.end)
            if first:
                told.skip(first - 1)
            for step in range(first, steps + 1):
                sampled = step % sample_every == 0
                framed = bool(trajectory) and step % trajectory_every == 0
                try:
                    forces = self._advance(forces)
                    energy = self._energy(first=step == 0) if sampled or framed else math.nan
                    if sampled:
                        self._check_temperature(record.add(step, energy, forces))
                    self._watch(step, forces, last=step == steps)
                except _Stop as stop:
                    raise self._unstable(step, stop, record) from stop.__cause__
                if restart is not None and step == 0:
                    restart.begin()
                if trajectory and framed:
                    # Opened no sooner: a run that cannot start leaves the old file alone.
                    writer = writer or at_end.enter_context(
                        TrajectoryWriter(trajectory, ensemble=label)
                    )
                    writer.write(self.atoms, energy, forces, step, step * self.timestep_fs)
                if restart is not None and (step % restart.every == 0 or step == steps):
                    state = self._state(step, forces, record, writer)
                    restart.keep(state, record.rows[: record.count], last=step == steps)
                    forget_history(self.atoms.calc)
                told.update(step)
        return record.finish()

    def _state(
        self,
        step: int,
        forces: NDArray[np.float64],
        record: Record,
        writer: TrajectoryWriter | None,
    ) -> State:
        """Return all that the run goes on from."""
        random = getattr(self.dynamics, "rng", None)
        return State(
            step=step,
            samples=record.count,
            positions_A=self.atoms.positions.copy(),
            momenta_ase=self.atoms.get_momenta(),
            forces_eV_per_A=forces.copy(),
            random=None if random is None else random.bit_generator.state,
            force_consistent=self.force_consistent,
            trajectory=None if writer is None else writer.mark(),
        )

    def _go_on(self, restart: Restart, record: Record, steps: int) -> State | None:
        """Take over the last state of a run that was cut off, if there is one."""
        found = restart.load()
        if found is None:
            return None
        state, samples = found
        if state.step > steps:
            raise ConfigError(
                f"the run in {restart.folder} is at step {state.step} already, beyond steps={steps}"
            )
        self.atoms.positions[:] = state.positions_A
        self.atoms.set_momenta(state.momenta_ase, apply_constraint=False)
        if state.random is not None:
            self.dynamics.rng.bit_generator.state = state.random
        self.force_consistent = state.force_consistent
        record.rows[: len(samples)] = samples
        record.count = len(samples)
        return state

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

    def _check_temperature(self, kinetic_energy_eV: float) -> None:
        temperature = kinetic_temperature(kinetic_energy_eV, self.degrees_of_freedom)
        if not temperature <= self.temperature_cap_K:
            raise _Stop(
                f"the temperature is {temperature:.3g} K, more than "
                f"{self.temperature_cap_K / self.reference_K:.3g} times {self.reference_K:.4g} K"
            )

    def _energy(self, *, first: bool) -> float:
        with calculator_errors(first=first):
            energy = float(self.atoms.get_potential_energy(force_consistent=self.force_consistent))
        if not math.isfinite(energy):
            raise _Stop("the energy is not finite")
        return energy

    def _watch(self, step: int, forces: NDArray[np.float64], *, last: bool) -> None:
        if self.guard is not None:
            reason = self.guard.step(step, self.atoms, forces, last=last)
            if reason is not None:
                raise _Stop(reason, self.guard.advice)

    def _unstable(self, step: int, stop: _Stop, record: Record) -> UnstableRunError:
        reason = str(stop)
        if self.guard is not None and stop.advice is None:
            self.guard.crashed(self.atoms, reason)
        advice = "check the start structure"
        if step:
            advice = f"try a smaller timestep_fs than {self.timestep_fs:g} or a relaxed start"
        return UnstableRunError(
            f"the run stopped at step {step} ({step * self.timestep_fs:.6g} fs): {reason}; "
            f"{stop.advice or f'{advice}, and check that the calculator knows this chemistry'}",
            step,
            record.finish(),
        )


class _Stop(Exception):  # noqa: N818 - control flow within this module
    """The run cannot go on; the text says why."""

    def __init__(self, reason: str, advice: str | None = None) -> None:
        super().__init__(reason)
        self.advice = advice


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
