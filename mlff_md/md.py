"""Molecular dynamics with any ASE calculator: NVE and NVT, seeded and guarded.

The integrators are ASE's (velocity Verlet; Langevin of Vanden-Eijnden and Ciccotti, Chem. Phys.
Lett. 429, 310, 2006). The loop around them keeps energies in double precision, does no input or
output between trajectory frames, and stops with one clear line when a run has blown up.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md._version import __version__
from mlff_md.errors import ConfigError, SimulationError, StructureError
from mlff_md.guard import make_guard
from mlff_md.md_loop import Loop, MdRun, UnstableRunError, calculator_errors
from mlff_md.progress import Progress
from mlff_md.restart import Restart
from mlff_md.restart_state import describe, fingerprint
from mlff_md.units import ASE_TIME_UNIT_FS
from mlff_md.velocities import degrees_of_freedom, thermalize

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["MdRun", "UnstableRunError", "evaluate", "relax", "run_nve", "run_nvt"]


def run_nve(
    atoms: Atoms,
    calculator: Any = None,
    *,
    steps: int = 2000,
    timestep_fs: float = 0.5,
    temperature_K: float | None = 300.0,
    seed: int = 0,
    sample_every: int = 1,
    trajectory: str | Path | None = None,
    trajectory_every: int = 20,
    restart: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int = 100,
    checkpoint_s: float = 30.0,
    guard: str | None = None,
    guard_every: int = 100,
    guard_file: str | Path | None = None,
    progress: Progress | None = None,
) -> MdRun:
    """Run velocity Verlet at constant energy.

    Parameters
    ----------
    atoms
        Start; not changed.
    calculator
        Any ASE calculator; ``atoms.calc`` unless given.
    steps
        Number of steps.
    timestep_fs
        Time step, fs.
    temperature_K
        Temperature of the Maxwell-Boltzmann momenta, K, without rigid motion; from Python
        ``None`` keeps the momenta of ``atoms`` as they are. From a relaxed start about half of it
        is left once the potential energy has its share.
    seed
        Seed of the momenta.
    sample_every
        Steps between samples of the energies.
    trajectory
        ``.traj`` or ``.extxyz`` file for frames, each ``trajectory_every`` steps.
    trajectory_every
        Steps between frames.
    restart
        Folder for checkpoints; none are written unless given.
    resume
        Go on from the last checkpoint, with the same results to the last bit as a run that was
        never cut off; begin if there is none yet. ``steps`` may be larger than it was.
    checkpoint_every
        Steps between states that the run can go on from. There the calculator forgets what it
        keeps from one structure to the next, such as the order of a neighbor list.
    checkpoint_s
        Least time between two checkpoints on disk, s.
    guard
        What to do where the student leaves what it was trained on, see docs/guard.md: ``warn``;
        ``save`` the frames and go on; or save them and ``stop``. Nothing is watched unless given.
    guard_every
        Steps between inspections, 1 to 100; the first step outside is found all the same.
    guard_file
        Extended XYZ that flagged frames, and the ten before them, are appended to; beside the
        trajectory, in ``.flagged.extxyz``, unless given.
    progress
        Told of each step; silent unless given.

    Raises
    ------
    UnstableRunError
        At the step where energy or forces are not finite, an atom moved by more than 1 Å in
        one step, the temperature passed ten times the target, or the calculator failed or
        refused the structure. A run that stops at step 0 writes no trajectory and leaves an
        existing one alone.
    ConfigError, StructureError
        If an option cannot be used, the structure cannot be run to begin with, another process
        uses the restart folder, or it holds a run with other settings.
    DataError
        If none of the checkpoints can be used.
    """
    from ase.md.verlet import VelocityVerlet

    _check_options(steps, timestep_fs, temperature_K, seed, sample_every, trajectory_every)
    moving = _prepare(atoms, calculator)
    if temperature_K is not None:
        thermalize(moving, temperature_K, np.random.default_rng(seed))
    loop = Loop(moving, VelocityVerlet(moving, timestep_fs / ASE_TIME_UNIT_FS), timestep_fs)
    loop.degrees_of_freedom = degrees_of_freedom(moving)
    loop.set_temperature_cap(temperature_K)
    settings: dict[str, Any] = {
        "ensemble": "NVE",
        "timestep_fs": timestep_fs,
        "temperature_K": temperature_K,
        "seed": seed,
        "sample_every": sample_every,
        "trajectory_every": trajectory_every if trajectory else None,
    }
    kept = _restart(
        atoms, moving.calc, settings, restart, trajectory, resume, checkpoint_every, checkpoint_s
    )
    loop.guard = make_guard(
        guard,
        moving.calc,
        every=guard_every,
        timestep_fs=timestep_fs,
        file=guard_file,
        trajectory=trajectory,
    )
    return loop.run("NVE", steps, sample_every, trajectory, trajectory_every, progress, kept)


def run_nvt(
    atoms: Atoms,
    calculator: Any = None,
    *,
    steps: int = 2000,
    timestep_fs: float = 0.5,
    temperature_K: float = 300.0,
    friction_per_ps: float = 10.0,
    keep_velocities: bool = False,
    seed: int = 0,
    sample_every: int = 1,
    trajectory: str | Path | None = None,
    trajectory_every: int = 20,
    restart: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int = 100,
    checkpoint_s: float = 30.0,
    guard: str | None = None,
    guard_every: int = 100,
    guard_file: str | Path | None = None,
    progress: Progress | None = None,
) -> MdRun:
    """Run Langevin dynamics at constant temperature.

    Parameters
    ----------
    atoms, calculator, steps, timestep_fs, sample_every, trajectory, trajectory_every, restart
        As in :func:`run_nve`.
    resume, checkpoint_every, checkpoint_s, guard, guard_every, guard_file, progress
        As in :func:`run_nve`.
    temperature_K
        Temperature of the bath and of the Maxwell-Boltzmann momenta, K.
    friction_per_ps
        Friction coefficient of the Langevin thermostat, 1/ps.
    keep_velocities
        Start from the momenta of the structure, not from Maxwell-Boltzmann ones.
    seed
        Seed of the momenta and of the thermostat.

    Raises
    ------
    UnstableRunError, ConfigError, StructureError, DataError
        As :func:`run_nve`.
    """
    from ase.md.langevin import Langevin
    from ase.parallel import DummyMPI

    _check_options(steps, timestep_fs, temperature_K, seed, sample_every, trajectory_every)
    if not (friction_per_ps > 0.0 and math.isfinite(friction_per_ps)):
        raise ConfigError(f"friction_per_ps must be a number above zero, got {friction_per_ps}")
    rng = np.random.default_rng(seed)
    moving = _prepare(atoms, calculator)
    if not keep_velocities:
        thermalize(moving, temperature_K, rng)
    dynamics = Langevin(
        moving,
        timestep_fs / ASE_TIME_UNIT_FS,
        temperature_K=temperature_K,
        friction=friction_per_ps * 1e-3 * ASE_TIME_UNIT_FS,
        fixcm=False,
        rng=rng,
        # Under MPI each rank's run is its own: ASE would share random numbers, and wait for all.
        comm=DummyMPI(),
    )
    loop = Loop(moving, dynamics, timestep_fs)
    loop.degrees_of_freedom = degrees_of_freedom(moving, conserves_momentum=False)
    loop.set_temperature_cap(temperature_K, kept_velocities=keep_velocities)
    settings: dict[str, Any] = {
        "ensemble": "NVT",
        "timestep_fs": timestep_fs,
        "temperature_K": temperature_K,
        "friction_per_ps": friction_per_ps,
        "keep_velocities": keep_velocities,
        "seed": seed,
        "sample_every": sample_every,
        "trajectory_every": trajectory_every if trajectory else None,
    }
    kept = _restart(
        atoms, moving.calc, settings, restart, trajectory, resume, checkpoint_every, checkpoint_s
    )
    loop.guard = make_guard(
        guard,
        moving.calc,
        every=guard_every,
        timestep_fs=timestep_fs,
        file=guard_file,
        trajectory=trajectory,
    )
    return loop.run("NVT", steps, sample_every, trajectory, trajectory_every, progress, kept)


def evaluate(atoms: Atoms, calculator: Any = None) -> tuple[float, NDArray[np.float64]]:
    """Return energy (eV) and forces (eV/Å) of a structure, finite or not.

    Raises
    ------
    SimulationError
        If the calculator fails, in one line instead of its traceback.
    StructureError
        If the structure cannot be evaluated.
    """
    asked = _prepare(atoms, calculator)
    with calculator_errors("the first evaluation", first=True):
        return float(asked.get_potential_energy()), asked.get_forces()


def relax(
    atoms: Atoms, calculator: Any = None, *, fmax_eV_per_A: float = 0.02, steps: int = 300
) -> Atoms:
    """Return a copy of ``atoms`` at a minimum of the energy (L-BFGS, cell fixed).

    Parameters
    ----------
    atoms
        Start; left as it is.
    calculator
        Any ASE calculator; ``atoms.calc`` unless given.
    fmax_eV_per_A
        Length of the largest force at which to stop, eV/Å.
    steps
        Most steps; it stops after them in any case: a start for MD need not be converged.

    Raises
    ------
    SimulationError
        If energy or forces stop being finite, or the calculator fails on the way.
    StructureError
        If the structure cannot be evaluated to begin with.
    """
    from ase.optimize import LBFGS

    relaxed = _prepare(atoms, calculator)
    with calculator_errors("relaxing", first=True):
        finite = bool(np.isfinite(relaxed.get_forces()).all())
    with calculator_errors("relaxing"):
        for _ in LBFGS(relaxed, logfile=None).irun(fmax=fmax_eV_per_A, steps=steps):
            finite = finite and bool(np.isfinite(relaxed.get_forces()).all())
            if not finite:
                break
    if not finite:
        raise SimulationError(
            "relaxing stopped: the forces are not finite; check the start structure"
        )
    relaxed.calc = None
    return relaxed


def _prepare(atoms: Atoms, calculator: Any) -> Atoms:
    """Return a copy of the structure that carries the calculator."""
    calculator = calculator if calculator is not None else atoms.calc
    if calculator is None:
        raise ConfigError("there is no calculator: pass one, or set atoms.calc")
    if not hasattr(calculator, "get_property"):
        raise ConfigError(
            f"{calculator!r:.60} is no ASE calculator; a student's is "
            "StudentForceFieldCalculator(NAME), a teacher's mlff_md.teachers.teacher(NAME)"
        )
    if len(atoms) == 0:
        raise StructureError("the structure has no atoms")
    if not np.isfinite(atoms.positions).all():
        raise StructureError("the structure has positions that are not finite")
    if not (atoms.get_masses() > 0.0).all():
        raise StructureError("the structure has atoms without mass: MD cannot move them")
    moving = atoms.copy()
    moving.calc = calculator
    return moving


def _restart(
    atoms: Atoms,
    calculator: Any,
    settings: dict[str, Any],
    folder: str | Path | None,
    trajectory: str | Path | None,
    resume: bool,
    every: int,
    interval_s: float,
) -> Restart | None:
    """Return the restart folder of a run, if it is to have one."""
    if folder is None:
        if resume:
            raise ConfigError("resume needs the restart folder of the run that was cut off")
        return None
    if every < 1:
        raise ConfigError(f"checkpoint_every must be at least 1, got {every}")
    if not interval_s >= 0.0:
        raise ConfigError(f"checkpoint_s must not be negative, got {interval_s}")
    from ase import __version__ as ase_version

    described, machine = describe(calculator)
    return Restart(
        Path(folder),
        {**settings, "checkpoint_every": every, "structure": fingerprint(atoms), **described},
        {**machine, "mlff_md": __version__, "ase": ase_version, "numpy": np.__version__},
        trajectory=Path(trajectory) if trajectory else None,
        resume=resume,
        every=every,
        interval_s=interval_s,
    )


def _check_options(
    steps: int,
    timestep_fs: float,
    temperature_K: float | None,
    seed: int,
    sample_every: int,
    trajectory_every: int,
) -> None:
    if steps < 0:
        raise ConfigError(f"steps must not be negative, got {steps}")
    if not (timestep_fs > 0.0 and math.isfinite(timestep_fs)):
        raise ConfigError(f"timestep_fs must be a number above zero, got {timestep_fs}")
    if temperature_K is not None and not (temperature_K >= 0.0 and math.isfinite(temperature_K)):
        raise ConfigError(f"temperature_K must be a number, zero or more, got {temperature_K}")
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")
    if sample_every < 1 or trajectory_every < 1:
        raise ConfigError("sample_every and trajectory_every must be at least 1")
