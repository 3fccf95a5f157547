"""The replicas of the NVE protocol: relaxation, equilibration and the runs themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_md.errors import ConfigError, SimulationError, StructureError
from mlff_md.md import MdRun, UnstableRunError, relax, run_nve, run_nvt
from mlff_md.progress import Part, Progress, silent
from mlff_md.protocols.nve_data import MODES, NveSettings
from mlff_md.protocols.raw import (
    RESTART_FOLDER,
    checkpoints,
    read_arrays,
    write_arrays,
    write_record,
    write_run,
)
from mlff_md.velocities import remove_rigid_motion

if TYPE_CHECKING:
    from ase import Atoms

FRICTION_PER_PS = 20.0
"""Of every equilibration: velocities forget within 50 fs, and a relaxed start gets the potential
energy that it lacks within a few times that."""


def settings_of(mode: str, **asked: Any) -> NveSettings:
    """Return the settings: what was asked for, else what the mode sets."""
    if mode not in MODES:
        raise ConfigError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    given = {name: value for name, value in asked.items() if value is not None}
    return NveSettings(mode=mode, **{**MODES[mode], **given})


def run_replicas(
    raw: Path,
    record: dict[str, Any],
    start: Atoms | None,
    trouble: str | None,
    calculator: Any,
    settings: NveSettings,
    progress: Progress | None,
    integrate: Callable[..., MdRun] = run_nve,
) -> list[Atoms]:
    """Run the replicas, each into its file, and return the starts of the first of them.

    ``integrate`` runs them at constant energy: :func:`mlff_md.md.run_nve` or its like.
    """
    told = progress or silent
    told.begin("NVE", settings.replicas * settings.steps_each, settings.timestep_fs)
    starts: list[Atoms] = []
    try:
        for k, replica_seed in enumerate(settings.seeds):
            part = Part(told, k * settings.steps_each)
            warm: Atoms | None = None
            if start is None:
                entry = {"stage": "relaxation", "error": trouble, "steps_done": 0, "file": None}
            else:
                path = raw / f"replica-{k}.npz"
                entry, warm = _run_replica(
                    path, start, calculator, settings, replica_seed, part, integrate
                )
            if warm is not None and len(starts) < settings.order_starts:
                starts.append(warm)
            record["replicas"].append({"index": k, "seed": replica_seed, **entry})
            write_record(raw / "run.json", record)
    finally:
        told.end()
    return starts


def common_start(
    raw: Path, atoms: Atoms, calculator: Any, settings: NveSettings
) -> tuple[Atoms | None, str | None]:
    """Return the start that all replicas share, or ``None`` and why there is none."""
    if not settings.relax_first:
        return atoms, None
    kept = raw / RESTART_FOLDER / "start.npz"
    if kept.exists():
        start = atoms.copy()
        start.positions[:] = read_arrays(kept)["positions_A"]
        return start, None
    try:
        start = relax(atoms, calculator)
    except (SimulationError, StructureError) as error:
        return None, str(error)
    write_arrays(kept, {"positions_A": start.positions})
    return start, None


def _run_replica(
    path: Path,
    start: Atoms,
    calculator: Any,
    settings: NveSettings,
    seed: int,
    progress: Progress,
    integrate: Callable[..., MdRun],
) -> tuple[dict[str, Any], Atoms | None]:
    """Equilibrate and run one replica; return its entry, which tells of a blow-up, and start."""
    entry: dict[str, Any] = {"stage": None, "error": None, "steps_done": 0, "file": None}
    timestep_fs = settings.timestep_fs
    stage = "equilibration"
    run: MdRun | None = None
    warm: Atoms | None = None
    try:
        warm = run_nvt(
            start,
            calculator,
            steps=settings.warm_steps,
            timestep_fs=timestep_fs,
            temperature_K=settings.temperature_K,
            friction_per_ps=FRICTION_PER_PS,
            seed=seed,
            # Often enough to catch a blow-up; nobody reads these samples.
            sample_every=10,
            **checkpoints(path.parent, f"{path.stem}-warm"),
            progress=progress,
        ).atoms
        remove_rigid_motion(warm)
        stage = "NVE"
        run = integrate(
            warm,
            calculator,
            steps=settings.steps,
            timestep_fs=timestep_fs,
            temperature_K=None,
            **checkpoints(path.parent, path.stem),
            progress=Part(progress, settings.warm_steps),
        )
        entry["steps_done"] = settings.steps
    except UnstableRunError as error:
        entry |= {"stage": stage, "error": str(error)}
        if stage == "NVE":
            run, entry["steps_done"] = error.run, error.step
    except (SimulationError, StructureError) as error:
        entry |= {"stage": stage, "error": str(error)}
    if run is not None and len(run.time_fs):
        write_run(path, run)
        entry["file"] = path.name
    return entry, warm
