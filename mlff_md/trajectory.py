"""Trajectories that other programs read: ASE ``.traj`` and extended XYZ."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

SUFFIXES = (".traj", ".extxyz", ".xyz")
"""File types that :class:`TrajectoryWriter` can write; ``.xyz`` is written as extended XYZ."""


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

    Raises
    ------
    ConfigError
        If the suffix is unknown or the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        check_name(path)
        self.path = Path(path)
        self._file: Any = None
        try:
            if self.path.suffix == ".traj":
                from ase.io.trajectory import TrajectoryWriter as AseWriter

                self._file = AseWriter(self.path, mode="w")
            else:
                self._file = self.path.open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"cannot write the trajectory {self.path}: {error.strerror or error}"
            ) from error

    def write(
        self,
        atoms: Atoms,
        energy_eV: float,
        forces_eV_per_A: NDArray[np.float64],
        step: int,
        time_fs: float,
    ) -> None:
        """Append one frame; ``atoms`` is copied, its calculator is not asked."""
        from ase.calculators.singlepoint import SinglePointCalculator

        frame = atoms.copy()
        frame.info = {"step": step, "time_fs": time_fs}
        frame.calc = SinglePointCalculator(frame, energy=energy_eV, forces=forces_eV_per_A)
        try:
            if self.path.suffix == ".traj":
                self._file.write(frame)
            else:
                from ase.io import write

                write(self._file, frame, format="extxyz")
        except OSError as error:
            raise ConfigError(
                f"cannot write the trajectory {self.path}: {error.strerror or error}"
            ) from error

    def close(self) -> None:
        """Close the file."""
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
        self.close()
