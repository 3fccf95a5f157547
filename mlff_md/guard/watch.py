"""A run under watch: what was not in training is found at its step, told, and kept."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, MlffError
from mlff_md.files import explain
from mlff_md.guard.findings import Finding
from mlff_md.guard.inspector import Inspector

if TYPE_CHECKING:
    from ase import Atoms

POLICIES = ("warn", "save", "stop")
"""Warn once of each kind; that, and write the frames; write the frames and end the run."""

BEFORE = 10
"""States before the first one outside that are kept, so that it can be run again."""

MOST_STEPS = 100
"""Between inspections: so many states are held in memory."""

MOST_FRAMES = 1000
"""That one run writes: a run that has left its domain for good must not fill the disk."""


class _State(NamedTuple):
    step: int
    positions_A: NDArray[np.float64]
    momenta: NDArray[np.float64] | None
    forces_eV_per_A: NDArray[np.float64]
    energies_eV: NDArray[np.float64] | None


class Guard:
    """Watches a run; :class:`mlff_md.md_loop.Loop` calls :meth:`step` and :meth:`crashed`.

    Parameters
    ----------
    inspector
        What is known of the calculator.
    policy
        One of :data:`POLICIES`.
    every
        Steps between inspections. The states between them are looked at as well: at the energies
        of their atoms, and at all else if there is anything to find.
    timestep_fs
        Time step, fs.
    file
        Extended XYZ to which flagged frames are appended; none are kept without.

    Attributes
    ----------
    num_flagged
        Inspections that found something.
    """

    def __init__(
        self,
        inspector: Inspector,
        policy: str,
        every: int,
        timestep_fs: float,
        file: Path | None,
    ) -> None:
        self._inspector, self._policy = inspector, policy
        self._batch = every
        self._timestep_fs, self._file = timestep_fs, file
        self._ring: deque[_State] = deque(maxlen=every + BEFORE)
        self._last_inspected = -1
        self._last_written = -1
        self._since: int | None = None  # step at which the run left the domain
        self._told: set[str] = set()
        self._written = 0
        self.num_flagged = 0

    def step(
        self, step: int, atoms: Atoms, forces: NDArray[np.float64], *, last: bool = False
    ) -> str | None:
        """Look at the state that was just evaluated; return why the run must stop, if it must.

        ``last`` says that the run ends with it.

        Raises
        ------
        ConfigError
            If the flagged frames cannot be written.
        """
        # Integrators make new forces in every step; positions they may change in place.
        momenta = atoms.arrays["momenta"].copy() if "momenta" in atoms.arrays else None
        energies = self._inspector.energies(atoms)
        self._ring.append(_State(step, atoms.positions.copy(), momenta, forces, energies))
        if step % self._batch and not last:
            return None
        known = self._energies_known()
        # The inspector knows what it costs once it knows the structure.
        every = self._batch * self._inspector.interval_factor
        if known and step % every and not last:
            return None
        findings = self._inspector.inspect(atoms, current=True)
        entered = self._since is None
        if not known and not findings and entered:
            self._since, findings = self._first(atoms, findings)
        if not findings:
            self._since, self._last_inspected = None, step
            return None
        self.num_flagged += 1
        if self._since is None:
            self._since, findings = self._first(atoms, findings)
        self._last_inspected = step
        reason = f"outside of the training domain since step {self._since}: {findings[0].text}"
        if self._policy == "stop":
            self._write(atoms, findings, self._from_before())
            return reason
        fresh = {finding.kind for finding in findings} - self._told
        if self._policy == "save" and (entered or step - self._last_written >= every):
            self._write(atoms, findings, self._from_before() if entered else [self._ring[-1]])
        if fresh:
            self._told |= fresh
            kept = f"; frames go to {self._file}" if self._policy == "save" else ""
            warnings.warn(f"step {step}: {reason}{kept}", stacklevel=3)
        return None

    def crashed(self, atoms: Atoms, reason: str) -> None:
        """Write the states before a crash: those that are finite."""
        if self._ring and self._last_written < self._ring[-1].step:
            self._write(atoms, [Finding("crash", (), reason)], list(self._ring)[-BEFORE - 1 :])

    @property
    def advice(self) -> str:
        """What to do after a stop."""
        kept = f"the last states are in {self._file}; " if self._written else ""
        return (
            f"{kept}label them and train on (mlff-md distill --from-flagged), take another "
            "student, or run without a guard if you know better"
        )

    def _energies_known(self) -> bool:
        """Return whether the energies of all states since the last look are in their ranges."""
        energies = [
            state.energies_eV
            for state in list(self._ring)[-self._batch :]
            if state.energies_eV is not None
        ]
        return not energies or self._inspector.are_known(np.array(energies))

    def _from_before(self) -> list[_State]:
        """Return the states from ten before the first one outside."""
        first = self._ring[-1].step if self._since is None else self._since
        return [state for state in self._ring if state.step >= first - BEFORE]

    def _first(self, atoms: Atoms, findings: list[Finding]) -> tuple[int, list[Finding]]:
        """Return the first step since the last good inspection with something to find."""
        asked = atoms.copy()
        for state in list(self._ring)[:-1]:
            if state.step <= self._last_inspected:
                continue
            asked.positions[:] = state.positions_A
            try:
                earlier = self._inspector.inspect(asked, energies_eV=state.energies_eV)
            except MlffError:
                continue
            if earlier:
                return state.step, earlier
        return self._ring[-1].step, findings

    def _write(self, atoms: Atoms, findings: Sequence[Finding], states: Sequence[_State]) -> None:
        """Append those of the states that were not written yet."""
        if self._file is None or self._written >= MOST_FRAMES:
            return
        from ase.io import write

        frames = []
        for state in states:
            if state.step <= self._last_written or not np.isfinite(state.positions_A).all():
                continue
            frames.append(self._frame(atoms, state, findings))
            self._last_written = state.step
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as stream:
                write(stream, frames, format="extxyz")
        except OSError as error:
            raise ConfigError(f"cannot write {self._file}: {explain(error)}") from error
        self._written += len(frames)

    def _frame(self, atoms: Atoms, state: _State, findings: Sequence[Finding]) -> Atoms:
        frame = atoms.copy()
        frame.calc = None
        frame.positions[:] = state.positions_A
        if state.momenta is not None:
            frame.set_momenta(state.momenta, apply_constraint=False)
        flagged = np.zeros(len(atoms), dtype=int)
        first = self._ring[-1].step if self._since is None else self._since
        if state.step >= first:
            for finding in findings:
                flagged[list(finding.atoms)] = 1
        # Not as forces: what the student says of them must not be taken for labels.
        frame.arrays["student_forces"] = state.forces_eV_per_A
        frame.arrays["flagged"] = flagged
        frame.arrays["unusual"] = self._inspector.scores(frame)
        frame.info = {
            "step": state.step,
            "time_fs": state.step * self._timestep_fs,
            "first_flagged_step": first,
            "reason": "; ".join(finding.text for finding in findings),
        }
        return frame


def make_guard(
    policy: str | None,
    calculator: Any,
    *,
    every: int,
    timestep_fs: float,
    file: str | Path | None,
    trajectory: str | Path | None,
) -> Guard | None:
    """Return the guard of a run, ``None`` for no policy.

    Parameters
    ----------
    policy, every, timestep_fs
        As for :class:`Guard`.
    calculator
        The run's.
    file
        For flagged frames; beside the trajectory unless given.
    trajectory
        The run's, if it has one.

    Raises
    ------
    ConfigError
        If an option cannot be used.
    StudentFileError
        If what the student's file says of its domain is damaged.
    """
    if policy is None:
        return None
    if policy not in POLICIES:
        raise ConfigError(f"guard must be one of {', '.join(POLICIES)}, got {policy!r}")
    if not 1 <= every <= MOST_STEPS:
        raise ConfigError(f"guard_every must be 1 to {MOST_STEPS}, got {every}")
    if file is None and trajectory is not None:
        file = Path(trajectory).with_suffix(".flagged.extxyz")
    if file is None and policy == "save":
        raise ConfigError("guard 'save' needs a guard_file, or a trajectory to put it beside")
    if file is not None and Path(file).suffix != ".extxyz":
        raise ConfigError(f"guard_file must end in .extxyz, got {Path(file).name}")
    return Guard(
        Inspector(calculator), policy, every, timestep_fs, Path(file) if file is not None else None
    )
