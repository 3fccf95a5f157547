"""The runs of a comparison. Each is a file, made once: a rerun goes on where one was cut off."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md.errors import SimulationError, StructureError
from mlff_md.md import MdRun, UnstableRunError, evaluate, relax, run_nve, run_nvt
from mlff_md.progress import Part, Progress
from mlff_md.protocols.compare_data import KICK_A, CompareSettings, raw_path
from mlff_md.protocols.nve_replicas import FRICTION_PER_PS
from mlff_md.protocols.observables.frames import Frames, read_frames, write_frames
from mlff_md.protocols.raw import checkpoints, remove_restart
from mlff_md.restart_state import forget_history
from mlff_md.units import ASE_TIME_UNIT_FS
from mlff_md.velocities import remove_rigid_motion

if TYPE_CHECKING:
    from ase import Atoms


class Runs:
    """Makes the runs of one comparison, those that are not there yet."""

    def __init__(
        self,
        folder: Path,
        settings: CompareSettings,
        model: Any,
        teacher: Any,
        progress: Progress,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.model = model
        self.teacher = teacher
        self.progress = progress
        self._done = 0

    @property
    def missing_steps(self) -> int:
        """Steps and labels of the runs that are not there yet."""
        return sum(
            self._steps(part)
            for part, k in self._plan()
            if not raw_path(self.folder, part, k).exists()
        )

    def make(self, atoms: Atoms) -> None:
        """Make the runs that are missing, pair by pair, so that a stop leaves whole pairs."""
        makers = {"model": self._model_run, "kicked": self._kicked_run}
        start, trouble = self._reference(atoms)
        for part, k in self._plan():
            if raw_path(self.folder, part, k).exists():
                continue
            if part in ("teacher", "floor"):
                frames = self._teacher_run(part, k, start, trouble)
            elif part in makers:
                frames = makers[part](k, read_frames(raw_path(self.folder, "teacher", k)))
            elif part == "labels":
                frames = self._evaluate(raw_path(self.folder, "model", k), self.teacher)
            else:
                frames = self._evaluate(raw_path(self.folder, "teacher", k), self.model)
            write_frames(raw_path(self.folder, part, k), frames)
            remove_restart(self.folder)
            self._done += self._steps(part)
            self.progress.update(self._done)

    def _plan(self) -> Iterator[tuple[str, int]]:
        """Yield part and number of every run of the comparison, in the order of making."""
        s = self.settings
        for k in range(max(s.replicas, s.floor_replicas)):
            if k < s.replicas:
                yield from ((part, k) for part in ("teacher", "model", "labels", "predictions"))
            if k < min(s.kicked_replicas, s.replicas):
                yield "kicked", k
            if k < s.floor_replicas:
                yield "floor", k

    def _steps(self, part: str) -> int:
        s = self.settings
        if part in ("teacher", "floor"):
            return s.warm_steps + s.steps
        return s.labels if part in ("labels", "predictions") else s.steps

    def _reference(self, atoms: Atoms) -> tuple[Atoms, str | None]:
        """Return the structure that all starts come from, and why it could not be relaxed."""
        path = raw_path(self.folder, "reference", 0)
        if path.exists():
            frames = read_frames(path)
            return frames.structure(0), frames.error
        start, trouble = atoms, None
        if self.settings.relax_first:
            try:
                start = relax(atoms, self.teacher)
            except (SimulationError, StructureError) as error:
                trouble = f"the teacher could not relax the structure: {error}"
        write_frames(path, _still(start, trouble))
        return start, trouble

    def _teacher_run(self, part: str, k: int, start: Atoms, trouble: str | None) -> Frames:
        """Thermalise a start with the teacher, then run the teacher from it."""
        s = self.settings
        seed = s.seed_of(part, k)
        if trouble is not None:
            return _nothing(start, s.steps, trouble)
        try:
            warm = run_nvt(
                start,
                self.teacher,
                steps=s.warm_steps,
                timestep_fs=s.timestep_fs,
                temperature_K=s.temperature_K,
                friction_per_ps=FRICTION_PER_PS,
                seed=seed,
                sample_every=10,
                **checkpoints(self.folder, f"{part}-{k}-warm"),
                progress=Part(self.progress, self._done),
            ).atoms
        except (SimulationError, StructureError) as error:
            return _nothing(start, s.steps, f"equilibration: {error}")
        remove_rigid_motion(warm)
        return self._run(f"{part}-{k}", warm, self.teacher, seed, self._done + s.warm_steps)

    def _model_run(self, k: int, teacher: Frames) -> Frames:
        if not len(teacher):
            return _nothing(teacher.atoms, self.settings.steps, "the teacher has no start for it")
        # The same seed as the teacher's: a thermostat gives both the same noise.
        seed = self.settings.seed_of("teacher", k)
        return self._run(f"model-{k}", teacher.structure(0), self.model, seed, self._done)

    def _kicked_run(self, k: int, teacher: Frames) -> Frames:
        if not len(teacher):
            return _nothing(teacher.atoms, self.settings.steps, "the teacher has no start for it")
        start = teacher.structure(0)
        rng = np.random.default_rng(self.settings.seed_of("kicked", k))
        kick = rng.normal(size=start.positions.shape)
        # KICK_A is the root mean square over the atoms, as the distance is measured later.
        start.positions += KICK_A * kick / np.sqrt((kick**2).sum() / len(start))
        seed = self.settings.seed_of("teacher", k)
        return self._run(f"kicked-{k}", start, self.teacher, seed, self._done)

    def _evaluate(self, run_of: Path, calculator: Any) -> Frames:
        """Let one force field evaluate frames of the other's run, up to where that ended."""
        run = read_frames(run_of)
        forget_history(calculator)
        wanted = [int(frame) for frame in self.settings.label_frames if frame < len(run)]
        forces, energies, trouble = [], [], None
        for number, frame in enumerate(wanted):
            try:
                energy, force = evaluate(run.structure(frame), calculator)
            except (SimulationError, StructureError) as error:
                trouble = f"frame {frame} cannot be evaluated: {error}"
                break
            if not (np.isfinite(force).all() and np.isfinite(energy)):
                trouble = f"frame {frame}: energy or forces are not finite"
                break
            energies.append(energy)
            forces.append(force)
            self.progress.update(self._done + number)
        results: dict[str, Any] = {
            "forces_eV_per_A": np.array(forces).reshape(-1, len(run.atoms), 3),
            "potential_energy_eV": np.array(energies),
            "error": trouble,
        }
        return dataclasses.replace(run.select(wanted[: len(forces)]), **results)

    def _run(self, name: str, start: Atoms, calculator: Any, seed: int, offset: int) -> Frames:
        """Return the frames of one run; a blow-up is a result, told by its ``error``."""
        from ase.io import read

        s = self.settings
        common: dict[str, Any] = {
            "steps": s.steps,
            "timestep_fs": s.timestep_fs,
            "sample_every": s.frame_every,
            "trajectory_every": s.frame_every,
            "progress": Part(self.progress, offset),
            **checkpoints(self.folder, name),
        }
        error, done = None, s.steps
        common["trajectory"] = file = common["restart"].with_suffix(".traj")
        try:
            _integrate(start, calculator, s, seed, common)
        except UnstableRunError as failure:
            error, done = str(failure), failure.step
        except (SimulationError, StructureError) as failure:
            error, done = str(failure), 0
        frames = read(file, ":") if file.exists() else []
        return _collect(start, frames, s, done, error)


def _integrate(
    start: Atoms, calculator: Any, s: CompareSettings, seed: int, common: Mapping[str, Any]
) -> MdRun:
    if not s.thermostat:
        return run_nve(start, calculator, temperature_K=None, **common)
    return run_nvt(
        start,
        calculator,
        temperature_K=s.temperature_K,
        friction_per_ps=s.friction_per_ps,
        keep_velocities=True,
        seed=seed,
        **common,
    )


def _collect(
    start: Atoms, frames: list[Atoms], s: CompareSettings, done: int, error: str | None
) -> Frames:
    if not frames:
        return _nothing(start, s.steps, error)
    return Frames(
        atoms=start.copy(),
        time_fs=s.interval_fs * np.arange(len(frames), dtype=np.float64),
        positions_A=np.array([frame.positions for frame in frames]),
        velocities_A_per_fs=np.array([frame.get_velocities() for frame in frames])
        / ASE_TIME_UNIT_FS,
        forces_eV_per_A=np.array([frame.get_forces() for frame in frames]),
        potential_energy_eV=np.array([frame.get_potential_energy() for frame in frames]),
        steps_planned=s.steps,
        steps_done=done,
        error=error,
    )


def _still(atoms: Atoms, error: str | None) -> Frames:
    """Return a structure as one frame at rest."""
    zeros = np.zeros((1, len(atoms), 3))
    return Frames(
        atoms.copy(), np.zeros(1), atoms.positions[None], zeros, zeros, np.zeros(1), 0, 0, error
    )


def _nothing(atoms: Atoms, steps: int, error: str | None) -> Frames:
    """Return a run that never began."""
    empty = np.zeros((0, len(atoms), 3))
    return Frames(atoms.copy(), np.zeros(0), empty, empty, empty, np.zeros(0), steps, 0, error)
