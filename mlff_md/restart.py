"""Restarting molecular dynamics: what a run leaves on disk so that it can go on after a kill.

Beside a run stands a folder:

``run.json``
    Settings, structure and calculator: what must be the same for the run to go on.
``samples.f64``
    The samples, one after the other.
``checkpoint.npz``, ``checkpoint-previous.npz``
    Positions, momenta, forces, random generator, and how long samples and trajectory were. All
    that lies behind is cut off when the run goes on, so no frame is there twice and none is lost.

A run that goes on must not differ in any digit from one that was never cut off. Calculators with
a memory (the order of a neighbor list, the last electron density) are in the way of that, so
states to go on from lie on a fixed grid of steps, and at each of them the calculator forgets,
also in a run that nobody cuts off.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, DataError, MlffError
from mlff_md.files import explain, previous, write_atomically, write_keeping_previous
from mlff_md.folder_lock import sole_use
from mlff_md.md_record import COLUMNS
from mlff_md.restart_state import State

_RECORD, _CHECKPOINT, _SAMPLES = "run.json", "checkpoint.npz", "samples.f64"
_ANEW = "begin anew (--force; in Python resume=False)"


class Restart:
    """The restart folder of one run; locked while it is entered.

    Parameters
    ----------
    folder
        Where it is.
    settings
        What must be the same for the run to go on, as JSON.
    machine
        What may differ at the price of the last digits: versions, threads, instruction set.
    trajectory
        The file of the frames, if there is one.
    resume
        Go on from what is in the folder, if there is anything.
    every
        Steps between states that the run can go on from.
    interval_s
        Least time between two checkpoints on disk, s.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        machine: Mapping[str, Any],
        *,
        trajectory: Path | None,
        resume: bool,
        every: int,
        interval_s: float,
    ) -> None:
        self.folder = folder
        self.every = every
        self._record = json.loads(
            json.dumps({"settings": settings, "machine": machine}, default=str)
        )
        self._trajectory = trajectory
        self._resume = resume
        self._interval_s = interval_s
        self._written_at = -float("inf")
        self._on_disk = -1
        self._samples_on_disk = 0
        self._pending: tuple[State, NDArray[np.float64]] | None = None
        self._lock = contextlib.ExitStack()

    def __enter__(self) -> Restart:
        """Lock the folder.

        Raises
        ------
        ConfigError
            If another process uses it.
        """
        self._lock.enter_context(sole_use(self.folder))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the last state if it is not yet on disk, and let go of the folder."""
        # An error that ends the run is worth more than one from here.
        silenced = contextlib.suppress(MlffError) if error else contextlib.nullcontext()
        with self._lock, silenced:
            self._write()

    def load(self) -> tuple[State, NDArray[np.float64]] | None:
        """Return the last state and the samples up to it, ``None`` if the run begins anew.

        Raises
        ------
        ConfigError
            If the folder holds a run with other settings.
        DataError
            If there are checkpoints, but none that can be used.
        """
        path = self.folder / _RECORD
        if not self._resume or not path.exists():
            return None
        self._compare(path)
        useless = []
        newest = self.folder / _CHECKPOINT
        for candidate in (newest, previous(newest)):
            if not candidate.exists():
                continue
            try:
                state = State.from_file(candidate)
                samples = self._read_samples(state)
            except Exception as error:
                why = str(error) if isinstance(error, MlffError) else "it is damaged"
                useless.append(f"{candidate.name}: {why}")
                continue
            if useless:
                warnings.warn(
                    f"the last checkpoint in {self.folder} cannot be used ({useless[0]}); going on "
                    f"from the one before, at step {state.step}",
                    stacklevel=2,
                )
                # Else it would be kept as the reserve of the next one.
                newest.unlink(missing_ok=True)
            self._on_disk, self._samples_on_disk = state.step, state.samples
            return state, samples
        if useless:
            raise DataError(
                f"no checkpoint in {self.folder} can be used ({'; '.join(useless)}); {_ANEW}"
            )
        return None

    def begin(self) -> None:
        """Throw away what an earlier run left, and write what this one is.

        Raises
        ------
        ConfigError
            If the folder cannot be written.
        """
        newest = self.folder / _CHECKPOINT
        try:
            # Checkpoints go first: what is left if we die here can only begin anew.
            for old in (newest, previous(newest), self.folder / _SAMPLES):
                old.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write to {self.folder}: {explain(error)}") from error
        text = json.dumps(self._record, indent=1) + "\n"
        write_atomically(self.folder / _RECORD, text.encode())

    def keep(self, state: State, samples: NDArray[np.float64], *, last: bool) -> None:
        """Remember a state; write it if the last checkpoint is old enough, or for the end.

        Parameters
        ----------
        state
            Not changed any more by the caller.
        samples
            All samples up to the state, shape (n, :data:`COLUMNS`).
        last
            Whether the run ends here.
        """
        self._pending = state, samples
        if last or time.monotonic() - self._written_at >= self._interval_s:
            self._write()

    def _write(self) -> None:
        if self._pending is None or self._pending[0].step <= self._on_disk:
            return
        state, samples = self._pending
        if self._trajectory is not None and self._trajectory.exists():
            _to_disk(self._trajectory)
        fresh = np.ascontiguousarray(samples[self._samples_on_disk :], dtype="<f8")
        path = self.folder / _SAMPLES
        try:
            with open(path, "r+b" if path.exists() else "x+b") as file:
                file.truncate(self._samples_on_disk * COLUMNS * 8)
                file.seek(0, os.SEEK_END)
                file.write(fresh.tobytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {explain(error)}") from error
        write_keeping_previous(self.folder / _CHECKPOINT, state.to_bytes())
        self._on_disk, self._samples_on_disk = state.step, state.samples
        self._written_at = time.monotonic()

    def _compare(self, path: Path) -> None:
        """Refuse other settings; tell of another machine."""
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
            old, machine = there["settings"], there["machine"]
            other = _changed(old, self._record["settings"])
            elsewhere = _changed(machine, self._record["machine"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged; {_ANEW}") from error
        if other:
            raise ConfigError(
                f"{self.folder} holds a run with another {', '.join(other)}: go on with what it "
                f"had, or {_ANEW}"
            )
        if elsewhere:
            warnings.warn(
                f"the run goes on with another {', '.join(elsewhere)} than it had: its last digits "
                "are not those of a run that was never cut off",
                stacklevel=2,
            )

    def _read_samples(self, state: State) -> NDArray[np.float64]:
        """Return the samples of a state, if they and its frames are there."""
        trajectory = self._trajectory
        if (state.trajectory is None) != (trajectory is None):
            raise DataError("it was made with another trajectory")
        if trajectory is not None and state.trajectory is not None:
            size = trajectory.stat().st_size if trajectory.exists() else 0
            if size < state.trajectory.size_bytes:
                raise DataError(f"{trajectory.name} has lost frames that were in it")
        path = self.folder / _SAMPLES
        count = state.samples * COLUMNS
        samples = np.fromfile(path, dtype="<f8", count=count) if count else np.empty(0)
        if len(samples) < count:
            raise DataError(f"{path.name} has lost samples that were in it")
        return samples.reshape(-1, COLUMNS).astype(np.float64)


def _to_disk(path: Path) -> None:
    """Wait until what was written to a file would survive a power cut."""
    try:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {explain(error)}") from error


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
