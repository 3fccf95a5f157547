"""Comparison with the teacher: whether MD with the model gives what MD with the teacher gives.

``run`` makes pairs of runs, of the model and of its teacher from the same state, and writes raw
arrays; ``analyze`` judges raw data, again and again if wished, without MD; ``compare`` does both.
Any two ASE calculators will do.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_md.errors import ConfigError, StructureError
from mlff_md.folder_lock import sole_use
from mlff_md.md import evaluate
from mlff_md.progress import Progress, silent
from mlff_md.protocols import (
    compare_divergence,
    compare_figures,
    compare_forces,
    compare_observables,
    compare_stability,
)
from mlff_md.protocols.compare_data import KIND, CompareSettings, load
from mlff_md.protocols.compare_folder import borrow_teacher, claim
from mlff_md.protocols.compare_runs import Runs
from mlff_md.protocols.held_out import held_out_error
from mlff_md.protocols.provenance import (
    calculator_name,
    describe_calculator,
    describe_structure,
    environment,
)
from mlff_md.protocols.raw import write_record
from mlff_md.protocols.records import Report, Threshold, overall_verdict
from mlff_md.protocols.thresholds import THRESHOLDS

if TYPE_CHECKING:
    from ase import Atoms

COMMAND = "compare"

QUICK: Mapping[str, Any] = {
    "replicas": 4,
    "floor_replicas": 2,
    "kicked_replicas": 1,
    "steps": 250,
    "equilibration_fs": 100.0,
    "labels": 10,
}
"""Options of :func:`run` for a first look, about a quarter of the default's evaluations."""

FULL: Mapping[str, Any] = {
    "replicas": 12,
    "floor_replicas": 12,
    "kicked_replicas": 3,
    "steps": 2000,
    "equilibration_fs": 500.0,
    "labels": 50,
}
"""Options of :func:`run` for a supplement, about six times the default's evaluations."""


def compare(
    atoms: Atoms,
    model: Any,
    teacher: Any,
    *,
    out: str | Path | None = None,
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
    **options: Any,
) -> Report:
    """Run the comparison and judge it: :func:`run`, then :func:`analyze`.

    Parameters
    ----------
    atoms, model, teacher
        As in :func:`run`.
    out
        Folder for the raw data (``out/raw``); a temporary one, removed at the end, unless given.
    thresholds
        Limits, see :func:`mlff_md.protocols.thresholds.with_overrides`.
    options
        Those of :func:`run`; ``**QUICK`` and ``**FULL`` are sets of them.

    Raises
    ------
    ConfigError, StructureError, SimulationError
        If the comparison cannot begin. A run that blows up is a failed check, not an error.

    Examples
    --------
    >>> from mlff_md import StudentForceFieldCalculator, compare, read_structure, teacher
    >>> atoms = read_structure("inputs/structures/ethanol.xyz")  # doctest: +SKIP
    >>> student = StudentForceFieldCalculator("tiny")  # doctest: +SKIP
    >>> compare(atoms, student, teacher("gfn2-xtb")).verdict  # doctest: +SKIP
    """
    with tempfile.TemporaryDirectory(prefix="mlff-md-compare-") as scratch:
        folder = Path(out) if out is not None else Path(scratch)
        return analyze(run(atoms, model, teacher, folder, **options), thresholds)


def run(
    atoms: Atoms,
    model: Any,
    teacher: Any,
    out: str | Path,
    *,
    replicas: int = 8,
    floor_replicas: int = 4,
    kicked_replicas: int = 2,
    steps: int = 600,
    timestep_fs: float = 1.0,
    temperature_K: float = 300.0,
    equilibration_fs: float = 150.0,
    relax_first: bool = True,
    thermostat: bool = False,
    friction_per_ps: float = 2.0,
    frame_every: int = 2,
    labels: int = 25,
    seed: int = 0,
    teacher_runs: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make the pairs of runs and write them to ``out/raw``.

    The teacher relaxes the structure. For each pair it thermalises a start of its own (Langevin,
    20/ps); from there the teacher and the model each run the same number of steps. Runs that are in
    the folder already, of the same comparison, are kept: an interrupted one goes on, and one
    with more replicas makes those that are missing.

    Parameters
    ----------
    atoms
        Structure, molecule or periodic, without constraints; not changed.
    model, teacher
        ASE calculators.
    out
        Folder; ``raw`` is made in it.
    replicas
        Pairs of runs; eight are needed to show at 5 % that one of six observables differs.
    floor_replicas
        Runs of the teacher from other starts, which show how far it is from itself.
    kicked_replicas
        Runs of the teacher whose start is moved by 1e-8 Å, which show how fast it forgets.
    steps
        Steps of each run.
    timestep_fs
        Time step, fs; its errors are the same in both force fields.
    temperature_K
        Temperature of the starts, K.
    equilibration_fs
        Length of the teacher's Langevin run before each start, fs.
    relax_first
        Minimise the teacher's energy first (300 steps at most); leave it out for liquids.
    thermostat
        Run Langevin dynamics, with the same noise for both of a pair, and not constant energy.
    friction_per_ps
        Friction of that thermostat, 1/ps.
    frame_every
        Steps between frames; 2 fs show all vibrations.
    labels
        Frames of each run that the other force field evaluates.
    seed
        Seed; pair k always gets the same stream from it.
    teacher_runs
        Folder of another comparison, of another model, whose runs of the teacher can be used.
    overwrite
        Throw away what is in the folder.
    progress
        Told of every step of the whole comparison.

    Returns
    -------
    pathlib.Path
        The raw folder, for :func:`analyze`.

    Raises
    ------
    ConfigError, StructureError, SimulationError
        If an option cannot be used or a first evaluation fails.
    """
    settings = CompareSettings(
        replicas=replicas,
        floor_replicas=floor_replicas,
        kicked_replicas=kicked_replicas,
        steps=steps,
        timestep_fs=timestep_fs,
        temperature_K=temperature_K,
        equilibration_fs=equilibration_fs,
        relax_first=relax_first,
        thermostat=thermostat,
        friction_per_ps=friction_per_ps,
        frame_every=frame_every,
        labels=labels,
        seed=seed,
    )
    settings.check()
    _check_structure(atoms)
    for calculator in (model, teacher):
        evaluate(atoms, calculator)
    raw = Path(out) / "raw"
    record: dict[str, Any] = {
        "kind": KIND,
        "schema_version": "1.0",
        "settings": dataclasses.asdict(settings),
        "units": {"energy": "eV", "length": "Å", "time": "fs", "mass": "u", "temperature": "K"},
        "structure": describe_structure(atoms),
        "model": _describe(model),
        "teacher": _describe(teacher),
        "held_out": held_out_error(model, teacher, temperature_K),
        "environment": environment(),
    }
    with sole_use(raw):
        claim(raw, record, overwrite=overwrite)
        write_record(raw / "run.json", record)
        if teacher_runs is not None:
            borrow_teacher(raw, record, Path(teacher_runs))
        told = progress or silent
        runs = Runs(raw, settings, model, teacher, told)
        told.begin("compare", runs.missing_steps)
        try:
            runs.make(atoms)
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
    forces = compare_forces.measure(data)
    observed = compare_observables.measure(data)
    survival = compare_stability.measure(data, thresholds)
    divergence = compare_divergence.measure(data, thresholds)
    checks = (
        compare_stability.check(survival, thresholds),
        *compare_forces.checks(forces, thresholds),
        *compare_observables.checks(observed, thresholds),
    )
    record = data.record
    names = calculator_name(record["model"]), calculator_name(record["teacher"])
    return Report(
        command=COMMAND,
        title=f"{names[0]} against {names[1]} on {record['structure']['name']}, "
        f"{data.settings.temperature_K:g} K",
        verdict=overall_verdict(checks),
        checks=checks,
        provenance={
            key: record[key]
            for key in (
                "model", "teacher", "held_out", "structure", "settings", "units", "environment",
            )
            if key in record
        },
        quantities=(
            *compare_forces.quantities(forces),
            *compare_divergence.quantities(divergence),
            *compare_observables.quantities(observed),
        ),
        figures=(
            *compare_figures.distances(observed, thresholds),
            *compare_figures.of_forces(forces, thresholds),
            *compare_figures.of_observables(observed),
            *compare_figures.of_divergence(divergence),
            *compare_figures.of_survival(survival),
        ),
    )  # fmt: skip


def _describe(calculator: Any) -> dict[str, Any]:
    """Return what a calculator tells about itself, its name first: the teacher may be a student."""
    description = describe_calculator(calculator)
    return {"name": calculator_name(description), **description}


def _check_structure(atoms: Atoms) -> None:
    if atoms.constraints:
        raise ConfigError(
            "the comparison takes no constraints, they would hold both force fields alike; remove "
            "them with atoms.set_constraint()"
        )
    if len(atoms) < 2:
        raise StructureError("a comparison needs at least two atoms: one alone does not move")
