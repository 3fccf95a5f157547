"""Trajectories that other programs read: ASE ``.traj`` and extended XYZ."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError
from mlff_md.files import explain

if TYPE_CHECKING:
    from ase import Atoms

SUFFIXES = (".traj", ".extxyz", ".xyz")
"""File types that :class:`TrajectoryWriter` can write; ``.xyz`` is written as extended XYZ."""

_COUNTS = slice(32, 48)
"""Bytes of a ``.traj`` that say how many frames there are and where the table of them is."""


@dataclass(frozen=True)
class Mark:
    """Where a trajectory ended at some moment: what is needed to cut it off there.

    Attributes
    ----------
    size_bytes
        Its length.
    header
        What a ``.traj`` had at :data:`_COUNTS`; empty for other formats.
    """

    size_bytes: int
    header: bytes


def check_name(path: str | Path) -> None:
    """Refuse a file name whose suffix names no format that can be written.

    Raises
    ------
    ConfigError
        If the suffix is none of :data:`SUFFIXES`.
    """
    if Path(path).suffix not in SUFFIXES:
        raise ConfigError(
            f"cannot write a trajectory to {Path(path).name}: end the name in "
            + " or ".join(SUFFIXES)
        )


class TrajectoryWriter:
    """Writes frames with energy, forces, momenta, step and time, and closes in a ``with``.

    Parameters
    ----------
    path
        File to write; an existing file is replaced. The suffix sets the format.
    after
        Go on with the existing file behind this mark; what it has behind that is cut off.
    ensemble
        ``NVE`` or ``NVT``, told in each frame: what energies mean depends on it.

    Raises
    ------
    ConfigError
        If the suffix is unknown or the file cannot be written.
    """

    def __init__(
        self, path: str | Path, after: Mark | None = None, ensemble: str | None = None
    ) -> None:
        check_name(path)
        self.path = Path(path)
        self._about = {} if ensemble is None else {"ensemble": ensemble}
        self._file: Any = None
        self._broken = False
        with self._told_errors():
            if after is not None:
                _cut(self.path, after)
            if self.path.suffix == ".traj":
                from ase.io.trajectory import TrajectoryWriter as AseWriter

                self._file = AseWriter(self.path, mode="w" if after is None else "a")
            else:
                # Without a buffer: what a full disk did not take is not tried again.
                self._file = self.path.open("wb" if after is None else "ab", buffering=0)

    def write(
        self,
        atoms: Atoms,
        energy_eV: float,
        forces_eV_per_A: NDArray[np.float64],
        step: int,
        time_fs: float,
    ) -> None:
        """Append one frame; ``atoms`` is copied, its calculator is not asked.

        Raises
        ------
        ConfigError
            If it cannot be written, as on a full disk. The frames before it stay readable.
        """
        from ase.calculators.singlepoint import SinglePointCalculator

        frame = atoms.copy()
        frame.info = {"step": step, "time_fs": time_fs, **self._about}
        frame.calc = SinglePointCalculator(frame, energy=energy_eV, forces=forces_eV_per_A)
        with self._told_errors():
            try:
                if self.path.suffix == ".traj":
                    self._file.write(frame)
                else:
                    self._append_text(frame)
            except BaseException:
                self._broken = True
                raise

    def mark(self) -> Mark:
        """Return where the trajectory ends now; all of it has left this process."""
        with self._told_errors():
            stream = self._stream
            stream.flush()
            size = os.fstat(stream.fileno()).st_size
            if self.path.suffix != ".traj":
                return Mark(size, b"")
            with self.path.open("rb") as file:
                return Mark(size, file.read(_COUNTS.stop)[_COUNTS])

    def close(self) -> None:
        """Close the file."""
        if self._broken:
            # ASE's writer would finish its half frame; its file tells of whole ones only.
            with contextlib.suppress(OSError):
                self._stream.close()
            return
        with self._told_errors():
            self._file.close()

    def __enter__(self) -> TrajectoryWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file, also after an error: the frames so far are good."""
        with contextlib.suppress(ConfigError) if error else contextlib.nullcontext():
            self.close()

    @property
    def _stream(self) -> Any:
        return self._file.backend.fd if self.path.suffix == ".traj" else self._file

    def _append_text(self, frame: Atoms) -> None:
        """Append a frame in whole, or nothing of it."""
        from ase.io import write

        text = io.StringIO()
        write(text, frame, format="extxyz")
        start = os.fstat(self._file.fileno()).st_size
        rest = memoryview(text.getvalue().encode())
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), start)
            raise

    @contextlib.contextmanager
    def _told_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # numpy tells a write that was cut short without the system's reason.
            why = explain(error) if error.errno else "a write was cut short; is the disk full?"
            raise ConfigError(f"cannot write the trajectory {self.path}: {why}") from error


def _cut(path: Path, after: Mark) -> None:
    """Cut a trajectory off at a mark that it has reached."""
    with path.open("r+b") as file:
        file.truncate(after.size_bytes)
        if after.header:
            file.seek(_COUNTS.start)
            file.write(after.header)
