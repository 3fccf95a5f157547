"""Read energies of a run that someone else made: whatever file they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md.errors import ConfigError, DataError, MissingDependencyError
from mlff_md.protocols.drift_lammps import is_lammps_log, read_log
from mlff_md.protocols.drift_series import (
    Array,
    EnergySeries,
    Trajectory,
    check_finite,
    told_atoms,
)
from mlff_md.protocols.drift_tables import read_table
from mlff_md.protocols.nve_data import load as load_nve
from mlff_md.protocols.raw import raw_of
from mlff_md.structures import check_frames
from mlff_md.units import ASE_TIME_UNIT_FS
from mlff_md.velocities import degrees_of_freedom, kinetic_temperature

if TYPE_CHECKING:
    from ase import Atoms

_ASE_FILES = (".traj", ".extxyz", ".xyz")
_DUMPS = (".lammpstrj", ".dump")


def read(
    path: Path,
    *,
    energies: Path | None,
    topology: Path | None,
    timestep_fs: float | None,
    every: int | None,
    n_atoms: int | None,
    units: str | None,
    column: str | None,
) -> Trajectory:
    """Read the energies of a file, or of the table beside it; see :func:`analyze_drift`.

    Raises
    ------
    DataError, ConfigError
        If the file is missing, unknown or damaged, or does not tell what is needed.
    """
    if path.is_dir() or path.name == "run.json":
        return _own(path.parent if path.is_file() else path)
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    if energies is not None:
        n_atoms = n_atoms or _count_atoms(path, topology)
        path = energies
        if not path.is_file():
            raise DataError(f"there is no file {path}")
    if not path.stat().st_size:
        raise DataError(f"{path.name} is empty")
    if path.suffix in _ASE_FILES:
        return _frames(path, timestep_fs, every)
    try:
        text = path.read_text(encoding="utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is no text; of a binary trajectory give the table of energies beside "
            "it as well (--energies)"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if not text.strip():
        raise DataError(f"{path.name} is empty")
    if path.suffix in _DUMPS or text.startswith("ITEM: TIMESTEP"):
        raise DataError(
            f"{path.name} is a LAMMPS dump, which has no energies; give the log beside it as "
            "well (--energies log.lammps)"
        )
    try:
        if is_lammps_log(text):
            runs, notes = read_log(text, units=units, timestep_fs=timestep_fs, n_atoms=n_atoms)
            return Trajectory(f"LAMMPS log {path.name}", tuple(runs), tuple(notes))
        run, notes = read_table(
            text, units=units, timestep_fs=timestep_fs, n_atoms=n_atoms, column=column
        )
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from error
    return Trajectory(f"table {path.name}", (run,), tuple(notes))


def _own(folder: Path) -> Trajectory:
    """Read the replicas of the NVE protocol."""
    if (folder / "checkpoint.npz").exists():
        raise DataError(
            f"{folder} is what a run goes on from; give the trajectory that it stands beside: "
            f"{str(folder).removesuffix('.restart')}"
        )
    data = load_nve(raw_of(folder))
    runs = tuple(
        EnergySeries(
            replica.run.time_fs,
            replica.run.total_energy_eV,
            replica.run.kinetic_energy_eV,
            replica.run.n_atoms,
            replica.run.timestep_fs,
            bath=None,
            temperature_K=replica.run.temperature_K,
        )
        for replica in data.replicas
        if replica.run is not None
    )
    if not runs:
        raise DataError(f"{folder} holds no NVE run")
    return Trajectory(f"raw data of {data.record['structure']['name']}", runs)


def _frames(path: Path, timestep_fs: float | None, every: int | None) -> Trajectory:
    """Read energies, momenta and times from a trajectory that ASE reads."""
    frames = _read_frames(path)
    potential, kinetic, times = [], [], []
    for k, atoms in enumerate(frames):
        try:
            potential.append(_potential(atoms))
        except (RuntimeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
            raise DataError(
                f"frame {k} of {path.name} has no energy; give a table of energies (--energies)"
            ) from error
        if not atoms.has("momenta"):
            raise DataError(
                f"frame {k} of {path.name} has no velocities, so there is no kinetic energy; "
                "give a table of energies (--energies)"
            )
        kinetic.append(float(atoms.get_kinetic_energy()))
        times.append(_told(atoms, "time_fs", k, path))
    description = _description(path)
    if any(time is None for time in times):
        step = timestep_fs or description.get("timestep_fs")
        interval = every or description.get("interval")
        if step is None or interval is None:
            raise ConfigError(
                f"{path.name} tells no times; pass the time step and how many steps lie between "
                "frames (--timestep-fs, --every)"
            )
        times = (step * interval * np.arange(len(frames))).tolist()
        timestep_fs = step
    clock, energy = np.array(times, dtype=float), np.array(potential) + np.array(kinetic)
    check_finite(clock, energy)
    first, second = (_told(atoms, "step", k, path) for k, atoms in enumerate(frames[:2]))
    if timestep_fs is None and first is not None and second is not None and first != second:
        timestep_fs = abs(clock[1] - clock[0]) / abs(second - first)
    run = EnergySeries(
        clock,
        energy,
        np.array(kinetic),
        len(frames[0]),
        timestep_fs,
        bath=_bath(description, frames),
        temperature_K=_temperature(frames[0], np.array(kinetic)),
    )
    return Trajectory(f"trajectory {path.name}", (run,))


def _temperature(first: Atoms, kinetic_eV: Array) -> Array | None:
    """Return temperatures by the structure: it knows constraints, and rigid motion at the start."""
    try:
        with np.errstate(all="ignore"):
            freedom = degrees_of_freedom(first)
    except (NotImplementedError, ArithmeticError, ValueError):
        # Constraints that do not count themselves, or positions that are no numbers.
        return None
    return kinetic_temperature(kinetic_eV, freedom) if freedom > 0 else None


def _read_frames(path: Path) -> list[Atoms]:
    from ase.io import iread

    frames: list[Atoms] = []
    try:
        if path.suffix in (".xyz", ".extxyz"):
            with path.open("rb") as lines:
                check_frames(path, lines)
        for atoms in iread(path, index=":"):
            frames.append(atoms)
    except Exception as error:
        # Each of ASE's readers raises whatever a damaged byte leads it into.
        raise DataError(
            f"{path.name} cannot be read beyond frame {len(frames)}: it is damaged or no "
            f"trajectory ({type(error).__name__})"
        ) from error
    if len(frames) < 2:
        raise DataError(f"{path.name} has {len(frames)} frames: too few for a slope")
    if len({len(atoms) for atoms in frames}) > 1:
        raise DataError(f"the number of atoms changes in {path.name}: that is no closed system")
    return frames


def _potential(atoms: Atoms) -> float:
    results: dict[str, Any] = atoms.calc.results if atoms.calc is not None else {}
    if results.get("free_energy") is not None:
        return float(results["free_energy"])
    return float(atoms.get_potential_energy())


def _told(atoms: Atoms, name: str, frame: int, path: Path) -> float | None:
    """Return a number that stands beside a frame."""
    value = atoms.info.get(name)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"frame {frame} of {path.name}: {name} is not a number") from error


def _description(path: Path) -> dict[str, Any]:
    """Return what ASE's dynamics wrote into a .traj about itself."""
    if path.suffix != ".traj":
        return {}
    from ase.io.trajectory import TrajectoryReader

    with TrajectoryReader(str(path)) as reader:
        told = dict(getattr(reader, "description", None) or {})
    if "timestep" in told:
        told["timestep_fs"] = float(told["timestep"]) * ASE_TIME_UNIT_FS
    return told


def _bath(description: Mapping[str, Any], frames: Sequence[Atoms]) -> str | None:
    """Return the bath that ASE's description or our frames tell of; ``None`` if told of none."""
    kind = description.get("md-type")
    if kind is not None:
        return None if kind == "VelocityVerlet" else f"ASE {kind}"
    told = {str(atoms.info.get("ensemble", "")).upper() for atoms in frames}
    for ensemble, what in (("NVT", "a thermostat (NVT)"), ("NPT", "a barostat (NPT)")):
        if ensemble in told:
            return what
    return None if told == {"NVE"} else "unknown"


def _count_atoms(path: Path, topology: Path | None) -> int:
    """Return the number of atoms of a trajectory: of a dump itself, else through MDAnalysis."""
    if path.suffix in _DUMPS:
        return _count_in_dump(path)
    try:
        import MDAnalysis
    except ImportError as error:
        raise MissingDependencyError(
            "MDAnalysis is needed for this trajectory; run: python -m pip install MDAnalysis, or "
            "pass the number of atoms (--n-atoms)"
        ) from error
    files = [str(topology)] if topology is not None else []
    try:
        return int(MDAnalysis.Universe(*files, str(path)).atoms.n_atoms)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:150] if str(error).strip() else "no reason"
        raise DataError(
            f"MDAnalysis cannot read {path.name} ({reason}); pass --topology, or --n-atoms"
        ) from error


def _count_in_dump(path: Path) -> int:
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("ITEM: NUMBER OF ATOMS"):
                    count = told_atoms(next(lines, "0").strip())
                    if count < 1:
                        raise ValueError(f"{count} atoms")
                    return count
    except ValueError as error:
        raise DataError(f"{path.name} is damaged: it tells no number of atoms") from error
    raise DataError(f"{path.name} is no LAMMPS dump")
