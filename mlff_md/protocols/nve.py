"""NVE protocol: whether a calculator conserves energy in molecular dynamics.

``run`` makes K replicas, each from its own thermalised start, and writes raw arrays;
``analyze`` judges raw data, again and again if wished, without MD; ``validate_nve`` does both.
Any ASE calculator will do.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_md.errors import ConfigError, StructureError
from mlff_md.folder_lock import sole_use
from mlff_md.md import MdRun, evaluate, run_nve
from mlff_md.progress import Progress
from mlff_md.protocols import nve_order, nve_restart
from mlff_md.protocols.nve_data import KIND, NveSettings
from mlff_md.protocols.nve_folder import is_finished, take_over
from mlff_md.protocols.nve_lammps import lammps_runs
from mlff_md.protocols.nve_replicas import (
    FRICTION_PER_PS,
    common_start,
    run_replicas,
    settings_of,
)
from mlff_md.protocols.nve_report import report
from mlff_md.protocols.provenance import (
    describe_calculator,
    describe_structure,
    environment,
)
from mlff_md.protocols.raw import (
    checkpoints,
    claim_folder,
    raw_of,
    remove_restart,
    write_record,
)
from mlff_md.protocols.records import Report, Threshold
from mlff_md.protocols.static import collect
from mlff_md.protocols.thresholds import THRESHOLDS
from mlff_md.restart_state import forget_history

if TYPE_CHECKING:
    from ase import Atoms


def validate_nve(
    atoms: Atoms,
    calculator: Any = None,
    *,
    out: str | Path | None = None,
    mode: str = "standard",
    replicas: int | None = None,
    steps: int | None = None,
    timestep_fs: float = 0.5,
    temperature_K: float = 300.0,
    equilibration_fs: float | None = None,
    relax_first: bool = True,
    static: bool = True,
    order_steps: int | None = None,
    reversal_steps: int | None = None,
    restart_steps: int | None = None,
    md: str = "ase",
    seed: int = 0,
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Run the NVE protocol and judge it: :func:`run`, then :func:`analyze`.

    Parameters
    ----------
    atoms, calculator, mode, replicas, steps, timestep_fs, temperature_K, equilibration_fs
        As in :func:`run`.
    relax_first, static, order_steps, reversal_steps, restart_steps, md, seed, overwrite, resume
        As in :func:`run`.
    progress
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
            mode=mode,
            replicas=replicas,
            steps=steps,
            timestep_fs=timestep_fs,
            temperature_K=temperature_K,
            equilibration_fs=equilibration_fs,
            relax_first=relax_first,
            static=static,
            order_steps=order_steps,
            reversal_steps=reversal_steps,
            restart_steps=restart_steps,
            md=md,
            seed=seed,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
        )
        return analyze(raw, thresholds)


def run(
    atoms: Atoms,
    calculator: Any,
    out: str | Path,
    *,
    mode: str = "standard",
    replicas: int | None = None,
    steps: int | None = None,
    timestep_fs: float = 0.5,
    temperature_K: float = 300.0,
    equilibration_fs: float | None = None,
    relax_first: bool = True,
    static: bool = True,
    order_steps: int | None = None,
    reversal_steps: int | None = None,
    restart_steps: int | None = None,
    md: str = "ase",
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make the replicas and write ``out/raw/replica-<k>.npz`` and ``out/raw/run.json``.

    Each replica takes the structure (relaxed, unless told otherwise), Maxwell-Boltzmann momenta
    and a short Langevin equilibration with its own seed, loses its rigid motion, and then runs
    at constant energy. Energies are kept at every step. The first replicas' starts are also run
    at three time steps and back in time (``order.npz``), and the static protocol is made
    (``static.npz``).

    Parameters
    ----------
    atoms
        Structure, molecule or periodic, without constraints; not changed.
    calculator
        Any ASE calculator; ``atoms.calc`` if ``None``.
    out
        Folder; ``raw`` is made in it.
    mode
        ``quick`` (seconds for a small molecule), ``standard`` or ``full``: sets what is not
        asked for otherwise, see :data:`mlff_md.protocols.nve_data.MODES`.
    replicas
        Number of replicas; five or more give a useful interval (default: 5; quick 3, full 10).
    steps
        Steps of each NVE run (default: 4000; quick 1000, full 20000). 4000 of 0.5 fs resolve a
        drift of 0.001 meV/atom/ps.
    timestep_fs
        Time step, fs.
    temperature_K
        Temperature of the start, K.
    equilibration_fs
        Length of the Langevin run before each replica, fs, with a friction of 20/ps (default:
        500; quick 250, full 1000).
    relax_first
        Minimise the energy first (300 steps at most); leave it out for liquids.
    static
        Make the static protocol as well: forces as gradient, symmetries, cutoff, repeatability.
    order_steps
        Steps of the runs for the order of the integrator, 0 for none (default: 1000; quick 500,
        full 4000).
    reversal_steps
        Steps there and back again for time reversal, 0 for none (default: 200).
    restart_steps
        Steps of a run that is made in one go and in two halves, 0 for none (default: 100; none
        with LAMMPS, whose runs start from its own files).
    md
        What integrates the runs at constant energy: ``ase``, or for a student ``lammps``,
        ``lammps:mlff`` or ``lammps:python``, by the pair style. Starts and static protocol
        stay with the ASE calculator of the same engine.
    seed
        Seed; replica k always gets the same stream from it.
    overwrite
        Replace a run that is already in the folder.
    resume
        Go on with a run of the same settings that was cut off, to the same raw data to the last
        bit as without the cut; begin if there is none yet.
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
    settings = settings_of(
        mode,
        timestep_fs=timestep_fs,
        temperature_K=temperature_K,
        relax_first=relax_first,
        static=static,
        seed=seed,
        replicas=replicas,
        steps=steps,
        equilibration_fs=equilibration_fs,
        order_steps=order_steps,
        reversal_steps=reversal_steps,
        restart_steps=restart_steps,
        md=md,
    )
    settings.check()
    calculator = calculator if calculator is not None else atoms.calc
    integrate = run_nve if md == "ase" else lammps_runs(calculator, md)
    if atoms.constraints:
        raise ConfigError(
            "the NVE protocol takes no constraints: momentum and temperature are judged as those "
            "of free atoms; remove them (in Python atoms.set_constraint(), in extended XYZ the "
            "column move_mask)"
        )
    if len(atoms) < 2:
        raise StructureError("the NVE protocol needs at least two atoms: one alone does not move")
    evaluate(atoms, calculator)
    raw = Path(out) / "raw"
    record: dict[str, Any] = {
        "kind": KIND,
        "schema_version": "1.0",
        "settings": {**dataclasses.asdict(settings), "friction_per_ps": FRICTION_PER_PS},
        "units": {"energy": "eV", "length": "Å", "time": "fs", "mass": "u", "temperature": "K"},
        "structure": describe_structure(atoms),
        "calculator": describe_calculator(calculator),
        "environment": environment(),
        "md": getattr(integrate, "name", "ASE"),
        "replicas": [],
    }
    with sole_use(raw):
        if not (resume and take_over(raw, record)):
            claim_folder(raw, overwrite=overwrite)
        elif is_finished(raw):
            return raw
        write_record(raw / "run.json", record)
        _make(raw, record, atoms, calculator, settings, integrate, progress)
        remove_restart(raw)
    return raw


def _make(
    raw: Path,
    record: dict[str, Any],
    atoms: Atoms,
    calculator: Any,
    settings: NveSettings,
    integrate: Callable[..., MdRun],
    progress: Progress | None,
) -> None:
    """Make all runs; those that are finished already come from their checkpoints."""
    start, trouble = common_start(raw, atoms, calculator, settings)
    starts = run_replicas(raw, record, start, trouble, calculator, settings, progress, integrate)
    if starts and (settings.order_steps or settings.reversal_steps):
        record["order"] = nve_order.run(
            raw,
            starts,
            calculator,
            timestep_fs=settings.timestep_fs,
            order_steps=settings.order_steps,
            reversal_steps=settings.reversal_steps,
            checkpoints=partial(checkpoints, raw),
            integrate=integrate,
            progress=progress,
        )
        write_record(raw / "run.json", record)
    if starts and settings.restart_steps and settings.md == "ase":
        record["restart"] = nve_restart.run(
            raw,
            starts[0],
            calculator,
            timestep_fs=settings.timestep_fs,
            steps=settings.restart_steps,
            progress=progress,
        )
        write_record(raw / "run.json", record)
    if settings.static:
        forget_history(calculator)
        record["static"] = collect(
            raw,
            start or atoms,
            calculator,
            mode=settings.mode,
            seed=settings.seed,
            progress=progress,
        )
        write_record(raw / "run.json", record)


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
    return report(raw_of(raw_folder), thresholds)
