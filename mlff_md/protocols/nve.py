"""NVE protocol: whether a calculator conserves energy in molecular dynamics.

``run`` makes K replicas, each from its own thermalised start, and writes raw arrays;
``analyze`` judges raw data, again and again if wished, without MD; ``validate_nve`` does both.
Any ASE calculator will do.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_md.errors import ConfigError, SimulationError, StructureError
from mlff_md.md import MdRun, UnstableRunError, evaluate, relax, run_nve, run_nvt
from mlff_md.progress import Part, Progress, silent
from mlff_md.protocols import nve_checks, nve_energy
from mlff_md.protocols.nve_data import KIND, NveSettings, load
from mlff_md.protocols.nve_figures import figures, quantities
from mlff_md.protocols.provenance import (
    calculator_name,
    describe_calculator,
    describe_structure,
    environment,
)
from mlff_md.protocols.raw import claim_folder, write_record, write_run
from mlff_md.protocols.records import Report, Threshold, overall_verdict
from mlff_md.protocols.thresholds import THRESHOLDS
from mlff_md.velocities import remove_rigid_motion

if TYPE_CHECKING:
    from ase import Atoms

COMMAND = "validate-nve"
# Strong enough that a relaxed start forgets its missing potential energy within 500 fs.
_FRICTION_PER_PS = 20.0


def validate_nve(
    atoms: Atoms,
    calculator: Any = None,
    *,
    out: str | Path | None = None,
    replicas: int = 5,
    steps: int = 4000,
    timestep_fs: float = 0.5,
    temperature_K: float = 300.0,
    equilibration_fs: float = 500.0,
    relax_first: bool = True,
    seed: int = 0,
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Run the NVE protocol and judge it: :func:`run`, then :func:`analyze`.

    Parameters
    ----------
    atoms, calculator, replicas, steps, timestep_fs, temperature_K, equilibration_fs
        As in :func:`run`.
    relax_first, seed, overwrite, progress
        As in :func:`run`.
    out
        Folder for the raw data (``out/raw``); a temporary one, removed at the end, unless given.
    thresholds
        Limits, see :func:`mlff_md.protocols.thresholds.with_overrides`.

    Raises
    ------
    ConfigError, StructureError, SimulationError
        If the protocol cannot begin. A replica that blows up is a failed check, not an error.
    """
    with tempfile.TemporaryDirectory(prefix="mlff-md-nve-") as scratch:
        raw = run(
            atoms,
            calculator,
            Path(out) if out is not None else Path(scratch),
            replicas=replicas,
            steps=steps,
            timestep_fs=timestep_fs,
            temperature_K=temperature_K,
            equilibration_fs=equilibration_fs,
            relax_first=relax_first,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
        return analyze(raw, thresholds)


def run(
    atoms: Atoms,
    calculator: Any,
    out: str | Path,
    *,
    replicas: int = 5,
    steps: int = 4000,
    timestep_fs: float = 0.5,
    temperature_K: float = 300.0,
    equilibration_fs: float = 500.0,
    relax_first: bool = True,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make the replicas and write ``out/raw/replica-<k>.npz`` and ``out/raw/run.json``.

    Each replica takes the structure (relaxed, unless told otherwise), Maxwell-Boltzmann momenta
    and a short Langevin equilibration with its own seed, loses its rigid motion, and then runs
    at constant energy. Energies are kept at every step.

    Parameters
    ----------
    atoms
        Structure, molecule or periodic, without constraints; not changed.
    calculator
        Any ASE calculator; ``atoms.calc`` if ``None``.
    out
        Folder; ``raw`` is made in it.
    replicas
        Number of replicas; five or more give a useful interval.
    steps
        Steps of each NVE run. 4000 of 0.5 fs resolve a drift of 0.001 meV/atom/ps.
    timestep_fs
        Time step, fs.
    temperature_K
        Temperature of the start, K.
    equilibration_fs
        Length of the Langevin run before each replica, fs (friction 20/ps).
    relax_first
        Minimise the energy first (300 steps at most); leave it out for liquids.
    seed
        Seed; replica k always gets the same stream from it.
    overwrite
        Replace a run that is already in the folder.
    progress
        Told of every step of the whole protocol.

    Returns
    -------
    pathlib.Path
        The raw folder, for :func:`analyze`.

    Raises
    ------
    ConfigError, StructureError, SimulationError
        If an option cannot be used or the first evaluation fails.
    """
    settings = NveSettings(
        replicas, steps, timestep_fs, temperature_K, equilibration_fs, relax_first, seed
    )
    settings.check()
    calculator = calculator if calculator is not None else atoms.calc
    if atoms.constraints:
        raise ConfigError(
            "the NVE protocol takes no constraints, they do work on the atoms; remove them with "
            "atoms.set_constraint()"
        )
    if len(atoms) < 2:
        raise StructureError("the NVE protocol needs at least two atoms: one alone does not move")
    evaluate(atoms, calculator)
    raw = Path(out) / "raw"
    claim_folder(raw, overwrite=overwrite)
    record: dict[str, Any] = {
        "kind": KIND,
        "schema_version": "1.0",
        "settings": {**dataclasses.asdict(settings), "friction_per_ps": _FRICTION_PER_PS},
        "units": {"energy": "eV", "length": "Å", "time": "fs", "mass": "u", "temperature": "K"},
        "structure": describe_structure(atoms),
        "calculator": describe_calculator(calculator),
        "environment": environment(),
        "replicas": [],
    }
    write_record(raw / "run.json", record)
    told = progress or silent
    told.begin("NVE", replicas * settings.steps_each, timestep_fs)
    try:
        start, trouble = _start(atoms, calculator, settings)
        for k, replica_seed in enumerate(settings.seeds):
            part = Part(told, k * settings.steps_each)
            if start is None:
                entry = {"stage": "relaxation", "error": trouble, "steps_done": 0, "file": None}
            else:
                entry = _run_replica(
                    raw / f"replica-{k}.npz", start, calculator, settings, replica_seed, part
                )
            record["replicas"].append({"index": k, "seed": replica_seed, **entry})
            write_record(raw / "run.json", record)
    finally:
        told.end()
    return raw


def analyze(raw_folder: str | Path, thresholds: Mapping[str, Threshold] = THRESHOLDS) -> Report:
    """Judge the raw data of :func:`run`; the same data give the same report.

    Parameters
    ----------
    raw_folder
        What :func:`run` returned, or the folder above.
    thresholds
        Limits, see :func:`mlff_md.protocols.thresholds.with_overrides`.

    Raises
    ------
    DataError
        If the raw data are missing or damaged.
    """
    data = load(Path(raw_folder))
    drift = nve_energy.drift(data, thresholds)
    checks = (
        nve_checks.stability(data, thresholds),
        drift,
        nve_energy.drift_per_100_steps(data, thresholds),
        nve_checks.momentum(data, thresholds),
        nve_checks.temperature(data, thresholds, energy=drift.verdict),
    )
    record = data.record
    name = calculator_name(record["calculator"])
    return Report(
        command=COMMAND,
        title=f"{name} on {record['structure']['name']}, {data.settings['temperature_K']:g} K",
        verdict=overall_verdict(checks),
        checks=checks,
        provenance={
            key: record[key]
            for key in ("calculator", "structure", "settings", "units", "environment")
            if key in record
        },
        quantities=quantities(data),
        figures=figures(data, thresholds),
    )


def _start(atoms: Atoms, calculator: Any, settings: NveSettings) -> tuple[Atoms | None, str | None]:
    """Return the start that all replicas share, or ``None`` and why there is none."""
    if not settings.relax_first:
        return atoms, None
    try:
        return relax(atoms, calculator), None
    except (SimulationError, StructureError) as error:
        return None, str(error)


def _run_replica(
    path: Path, start: Atoms, calculator: Any, settings: NveSettings, seed: int, progress: Progress
) -> dict[str, Any]:
    """Equilibrate and run one replica; a blow-up is a result, told by the returned entry."""
    entry: dict[str, Any] = {"stage": None, "error": None, "steps_done": 0, "file": None}
    timestep_fs = settings.timestep_fs
    stage = "equilibration"
    run: MdRun | None = None
    try:
        warm = run_nvt(
            start,
            calculator,
            steps=settings.warm_steps,
            timestep_fs=timestep_fs,
            temperature_K=settings.temperature_K,
            friction_per_ps=_FRICTION_PER_PS,
            seed=seed,
            # Often enough to catch a blow-up; nobody reads these samples.
            sample_every=10,
            progress=progress,
        ).atoms
        remove_rigid_motion(warm)
        stage = "NVE"
        run = run_nve(
            warm,
            calculator,
            steps=settings.steps,
            timestep_fs=timestep_fs,
            temperature_K=None,
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
    return entry
