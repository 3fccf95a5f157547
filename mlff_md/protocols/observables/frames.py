"""Frames of one run: positions, velocities, forces; in memory and as an npz file, written whole."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import DataError
from mlff_md.files import write_atomically

if TYPE_CHECKING:
    from ase import Atoms

_PER_FRAME = ("positions_A", "velocities_A_per_fs", "forces_eV_per_A")


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of a run at even intervals; F frames of N atoms.

    Attributes
    ----------
    atoms
        Elements, masses, cell and periodicity; its positions are those of the first frame.
    time_fs
        (F,), from the start of the run.
    positions_A
        (F, N, 3), never wrapped into the cell.
    velocities_A_per_fs, forces_eV_per_A
        (F, N, 3).
    potential_energy_eV
        (F,).
    steps_planned, steps_done
        Steps of the integrator.
    error
        Why the run stopped before its end, or ``None``.
    """

    atoms: Atoms
    time_fs: NDArray[np.float64]
    positions_A: NDArray[np.float64]
    velocities_A_per_fs: NDArray[np.float64]
    forces_eV_per_A: NDArray[np.float64]
    potential_energy_eV: NDArray[np.float64]
    steps_planned: int
    steps_done: int
    error: str | None = None

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.time_fs)

    def select(self, which: Sequence[int] | slice) -> Frames:
        """Return some of the frames."""
        names = ("time_fs", "potential_energy_eV", *_PER_FRAME)
        return dataclasses.replace(self, **{name: getattr(self, name)[which] for name in names})

    def structure(self, frame: int) -> Atoms:
        """Return one frame as a structure with velocities, without a calculator."""
        from mlff_md.units import ASE_TIME_UNIT_FS

        atoms = self.atoms.copy()
        atoms.positions = self.positions_A[frame]
        atoms.set_velocities(self.velocities_A_per_fs[frame] * ASE_TIME_UNIT_FS)
        return atoms


def write_frames(path: Path, frames: Frames) -> None:
    """Write the frames of a run.

    Positions and velocities keep all digits: other runs begin from them, and two runs are compared
    from 1e-8 Å on. Forces keep those of single precision.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(
        content,
        numbers=frames.atoms.numbers,
        masses_u=frames.atoms.get_masses(),
        cell_A=frames.atoms.cell.array,
        pbc=frames.atoms.pbc,
        time_fs=frames.time_fs,
        positions_A=frames.positions_A,
        velocities_A_per_fs=frames.velocities_A_per_fs,
        forces_eV_per_A=frames.forces_eV_per_A.astype(np.float32),
        potential_energy_eV=frames.potential_energy_eV,
        steps=(frames.steps_planned, frames.steps_done),
        error=frames.error or "",
    )
    write_atomically(path, content.getvalue())


def read_frames(path: Path) -> Frames:
    """Read what :func:`write_frames` wrote.

    Raises
    ------
    DataError
        If the file is missing, damaged or foreign.
    """
    from ase import Atoms

    try:
        # Opened here: numpy leaves the file open when it is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            shape = (len(data["time_fs"]), len(data["numbers"]), 3)
            moving = {name: data[name].astype(np.float64) for name in _PER_FRAME}
            if any(array.shape != shape for array in moving.values()):
                raise DataError(f"{path.name} is damaged: its arrays have unlike lengths")
            atoms = Atoms(
                data["numbers"],
                moving["positions_A"][0] if shape[0] else np.zeros(shape[1:]),
                masses=data["masses_u"],
                cell=data["cell_A"],
                pbc=data["pbc"],
            )
            planned, done = (int(number) for number in data["steps"])
            return Frames(
                atoms=atoms,
                time_fs=data["time_fs"],
                potential_energy_eV=data["potential_energy_eV"],
                steps_planned=planned,
                steps_done=done,
                error=str(data["error"]) or None,
                **moving,
            )
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; run the comparison again") from error
    except DataError:
        raise
    except Exception as error:
        # zipfile, zlib and numpy raise whatever a damaged byte leads them into.
        raise DataError(f"{path.name} is not raw data of a run, or is damaged") from error
