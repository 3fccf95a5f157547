"""Measuring what a student's card says, and writing it into the student's file.

The weights stay as they are; every number of a card comes from here or from the training itself.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md._version import __version__
from mlff_md.errors import ConfigError
from mlff_md.student import Student, load_student, save_student

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_md.distill.dataset import Dataset
    from mlff_md.protocols.records import Report

_SPEED_ATOMS = (9, 21, 501)


def measure_card(
    student: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    test: str | None = None,
    validation: str | None = None,
    train: str | None = None,
    nve: Sequence[str] = (),
    robustness: bool = False,
    speed: bool = False,
    intended_use: str | None = None,
    limits: str | None = None,
    overwrite: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Student:
    """Measure what is asked for, and write a copy of the student that says so.

    What is not measured stays as the file has it.

    Parameters
    ----------
    student
        Name or file.
    out
        File to write, ``.safetensors``.
    test
        Held-out data set (.npz, .extxyz or a folder of shards): errors in all, at each
        temperature and of each element.
    validation
        The same for the set that training was steered by.
    train
        Training set: shortest distances and feature ranges, for the guard against extrapolation.
    nve
        Structures for the NVE protocol.
    robustness
        Scan all pairs of elements, and run each molecule of the test set hot: 20,000 steps at
        600 K; needs test.
    speed
        Time an evaluation and an MD step on this machine.
    intended_use
        What it is for, in words.
    limits
        What it is not for, in words.
    overwrite
        Replace the file.
    tell
        Called with a line about each part that is done.

    Raises
    ------
    ConfigError
        If the file exists, or an option lacks what it needs.
    DataError, StructureError, StudentFileError
        If an input cannot be read.
    """
    from mlff_md.distill.accuracy import accuracy_record
    from mlff_md.distill.dataset import Dataset
    from mlff_md.engines import make_engine

    out = Path(out)
    if out.suffix != ".safetensors":
        raise ConfigError(f"students are written as .safetensors, not {out.name!r}")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; choose another file, or say that it may be overwritten")
    if robustness and test is None:
        raise ConfigError("robustness runs the molecules of the test set: give test as well")
    tell = tell or (lambda line: None)
    measured = load_student(student)
    manifest = measured.manifest
    held_out = Dataset.load(test) if test else None
    accuracy = dict(manifest.accuracy)
    for name, path in (("test", test), ("validation", validation)):
        if path:
            accuracy[name] = accuracy_record(make_engine(measured), Dataset.load(path))
            tell(f"{name} set: force R2 {accuracy[name]['all']['r2']:.5f}")
    changes: dict[str, Any] = {"accuracy": accuracy}
    if train:
        from mlff_md.distill.domain import measure_domain

        domain = measure_domain(measured, _as_trained(Dataset.load(train), measured))
        changes["domain"] = domain.to_manifest(measured.elements)
        tell(f"domain: {domain.num_frames} frames")
    if nve:
        changes["nve"] = _nve(measured, nve, tell)
    if robustness and held_out is not None:
        changes["robustness"] = _robustness(measured, held_out, tell)
    if speed:
        changes["speed"] = _speed(student, tell)
    use = {"intended": intended_use, "limits": limits}
    changes["use"] = {**manifest.use, **{key: text for key, text in use.items() if text}}
    return save_student(out, dataclasses.replace(manifest, **changes), measured.weights)


def _as_trained(dataset: Dataset, student: Student) -> Dataset:
    """Return the frames that training took: of a folder of labels, those it did not leave out.

    Raises
    ------
    ConfigError
        If the student was trained on other frames.
    """
    expected = student.manifest.training.get("dataset_sha256")
    if expected is None or dataset.sha256 == expected:
        return dataset
    from mlff_md.distill.config import DataConfig
    from mlff_md.distill.data_sets import largest_force

    kept = dataset.select(largest_force(dataset) <= DataConfig.max_force_eV_per_A)
    if kept.sha256 != expected:
        raise ConfigError(f"{student.name} was not trained on these frames (other sha256)")
    return kept


def _nve(student: Student, paths: Sequence[str], tell: Callable[[str], None]) -> dict[str, Any]:
    """Return the NVE figures of each structure with the protocol's defaults."""
    from mlff_md.calculator import StudentForceFieldCalculator
    from mlff_md.protocols.nve import validate_nve
    from mlff_md.structures import read_structure

    found: dict[str, Any] = {}
    for path in paths:
        report = validate_nve(read_structure(path), StudentForceFieldCalculator(student))
        found[Path(path).stem] = _nve_entry(report)
        tell(f"NVE of {Path(path).stem}: {report.verdict}")
    return found


def _nve_entry(report: Report) -> dict[str, Any]:
    settings = report.provenance["settings"]
    kept = ("replicas", "steps", "timestep_fs", "temperature_K")
    entry: dict[str, Any] = {name: settings[name] for name in kept if name in settings}
    entry["n_atoms"] = report.provenance["structure"]["n_atoms"]
    names = {"drift": "drift_meV_per_atom_ps", "drift_per_100_steps": "percent_per_100_steps"}
    for check in report.checks:
        if check.id in names and check.value is not None:
            entry[names[check.id]] = _rounded(check.value)
            if check.ci is not None and all(np.isfinite(check.ci)):
                entry[f"{names[check.id]}_ci"] = [_rounded(end) for end in check.ci]
    return {**entry, "verdict": report.verdict, "mlff_md": __version__}


def _robustness(student: Student, test: Dataset, tell: Callable[[str], None]) -> dict[str, Any]:
    from mlff_md.calculator import StudentForceFieldCalculator
    from mlff_md.protocols.pair_scans import scan_pairs
    from mlff_md.protocols.robustness import short_range_check, stability, stability_check
    from mlff_md.teachers import is_teacher, teacher

    calculator = StudentForceFieldCalculator(student)
    scans = scan_pairs(calculator, student.elements)
    short = short_range_check(scans)
    tell(f"short range: {short.summary}")
    name = str(student.manifest.teacher.get("name", ""))
    judge = teacher(name) if is_teacher(name) else None
    conditions: dict[str, Any] = {"steps": 20_000, "timestep_fs": 0.5, "temperature_K": 600.0}
    runs = stability(starts(test), calculator, teacher=judge, **conditions)
    hot = stability_check(runs)
    tell(f"hot runs: {hot.summary}")
    return {
        "short_range": {
            "scans": len(scans),
            "holes": int(short.value or 0),
            "from_A": float(scans[0].distances_A[0]),
        },
        "hot": {
            "molecules": len(runs),
            "whole": sum(run.survived for run in runs),
            **conditions,
            "longest_stretch_A": round(max(run.longest_stretch_A for run in runs), 3),
        },
        "mlff_md": __version__,
    }


def starts(test: Dataset) -> list[Atoms]:
    """Return one frame of each molecule of a data set, the first of its coolest ones."""
    frames = []
    for name in dict.fromkeys(test.molecules.tolist()):
        chosen = np.flatnonzero(test.molecules == name)
        atoms = test.frame(int(chosen[np.argmin(test.temperature_K[chosen])]))
        atoms.calc = None
        frames.append(atoms)
    return frames


def _speed(student: str | os.PathLike[str], tell: Callable[[str], None]) -> dict[str, Any]:
    """Return times of the fastest engine and of a step of ASE's velocity Verlet."""
    from mlff_md.bench.run import ASE_STEP, bench
    from mlff_md.engines import make_engine

    engine = make_engine(load_student(student)).name
    result = bench([os.fspath(student)], engines=(engine, ASE_STEP), atoms=_SPEED_ATOMS)
    rows = [
        {
            "n_atoms": row["atoms"],
            "what": "ASE step" if row["engine"] == ASE_STEP else f"evaluation, {engine}",
            "median_ms": _rounded(row["median_ms"]),
            "ns_per_day_at_0.5_fs": _rounded(row["ns_per_day"]),
        }
        for row in result.rows
    ]
    tell(f"speed: {rows[0]['median_ms']} ms for {rows[0]['n_atoms']} atoms")
    processor = result.machine["processor"]
    return {"processor": processor, "threads": 1, "times": rows, "mlff_md": __version__}


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
