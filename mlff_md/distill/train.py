"""Distillation: fit a student to teacher labels. Restartable at any moment."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlff_md._version import __version__
from mlff_md.distill.accuracy import accuracy_record, measure
from mlff_md.distill.batches import Targets, make_buckets
from mlff_md.distill.checkpoint import load_checkpoint, save_checkpoint
from mlff_md.distill.config import DistillConfig
from mlff_md.distill.data_sets import largest_force, load_data_sets
from mlff_md.distill.dataset import Dataset
from mlff_md.distill.dense import DenseMolecules
from mlff_md.distill.domain import measure_domain
from mlff_md.distill.optimization import Optimization
from mlff_md.distill.padded import PaddedFrames
from mlff_md.distill.periodic import PeriodicFrames
from mlff_md.engines import Engine, make_engine
from mlff_md.files import write_atomically
from mlff_md.folder_lock import sole_use
from mlff_md.student import Manifest, Student, save_student
from mlff_md.student.network import StudentForceField
from mlff_md.student.prior import PRIOR
from mlff_md.teachers import is_teacher, teacher_name

Log = Callable[[Mapping[str, Any]], None]


def distill(config: DistillConfig | str | Path, out: str | Path, log: Log | None = None) -> Student:
    """Train a student and write it to ``OUT/NAME.safetensors``.

    A run that was interrupted, by a signal or a power cut, goes on from its last checkpoint when
    it is started again with the same configuration and folder, and ends with the same weights
    to the last bit (same machine, same number of threads).

    Parameters
    ----------
    config
        A :class:`DistillConfig` or the path of a TOML file.
    out
        Folder for checkpoints, ``log.jsonl`` and the student.
    log
        Called with each record of ``log.jsonl``; for live progress.

    Raises
    ------
    ConfigError, DataError
        If the configuration, the data or the folder cannot be used.
    SimulationError
        If the loss stops being finite.
    """
    with sole_use(Path(out)):
        return _distill(config, Path(out), log)


def _distill(config: DistillConfig | str | Path, out: Path, log: Log | None) -> Student:
    if not isinstance(config, DistillConfig):
        config = DistillConfig.load(config)
    remedy = "add what is missing to 'elements' in [student], or leave that data set out"
    data = load_data_sets(config.data, config.student.elements, remedy)
    train, validation, test = data.train, data.validation, data.test
    train = train.select(largest_force(train) <= config.data.max_force_eV_per_A)
    # The weights' start comes from the seed; the caller's random state stays as it is.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        network = StudentForceField.from_architecture(config.student.architecture)
    fingerprint = _fingerprint(config, network, train)
    model = _frames(network, train)
    buckets, targets = make_buckets(train, model, config.training.buckets)
    run = Optimization(model, buckets, targets, config.training)
    state = load_checkpoint(out, fingerprint)
    if state is not None:
        run.restore(state)
    _cut_log(out / "log.jsonl", run.step)

    while run.step < config.training.steps:
        record = run.advance()
        done = run.step == config.training.steps
        if run.step % config.training.validate_every == 0 or done:
            errors = measure(_engine(_student(config, network, targets, run)), validation)
            record["validation"] = dataclasses.asdict(errors)
        if "validation" in record or run.step % 100 == 0:
            # Before the checkpoint: a record that is there too early is cut off, see _cut_log.
            _append(out / "log.jsonl", record)
            if log is not None:
                log(record)
        if run.step % config.training.checkpoint_every == 0 or done:
            save_checkpoint(out, fingerprint, run.state())

    student = _student(config, network, targets, run)
    accuracy = {"validation": accuracy_record(_engine(student), validation)}
    if test is not None:
        accuracy["test"] = accuracy_record(_engine(student), test)
    manifest = dataclasses.replace(
        student.manifest,
        training=_provenance(config, train),
        accuracy=accuracy,
        domain=measure_domain(student, train).to_manifest(student.elements),
    )
    return save_student(out / f"{config.student.name}.safetensors", manifest, student.weights)


def _frames(network: StudentForceField, train: Dataset) -> PaddedFrames:
    """Return the network with what arranges the pairs of these frames."""
    return PeriodicFrames(network) if train.periodic else DenseMolecules(network)


def _fingerprint(config: DistillConfig, network: StudentForceField, train: Dataset) -> str:
    """Return all that a checkpoint depends on, as text."""
    training = dataclasses.asdict(config.training)
    for name in ("compile", "checkpoint_every", "validate_every"):
        del training[name]
    if train.stress is None:
        del training["stress_weight"]
    parts = {
        "student": dataclasses.asdict(config.student),
        "training": training,
        "train": train.sha256,
        "prior": [PRIOR, *network.prior_radii_A],
    }
    return json.dumps(parts, sort_keys=True)


def _cut_log(path: Path, step: int) -> None:
    """Drop the records of steps after the checkpoint: they are about to be made again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if _step_of(line) <= step]
        write_atomically(path, "".join(kept).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # cut off in the middle
        return math.inf


def _append(path: Path, record: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _student(
    config: DistillConfig, network: StudentForceField, targets: Targets, run: Optimization
) -> Student:
    """Return the student as it is now, with the averaged weights."""
    manifest = Manifest(
        name=config.student.name,
        architecture=network.architecture,
        energy_scale_eV=targets.scale_eV,
        atomic_energies_eV=tuple(map(float, targets.atomic_energies_eV)),
        prior_radii_A=network.prior_radii_A,
        teacher=_teacher(config.data.teacher),
        license=config.student.license,
    )
    return Student(manifest, run.averaged(), sha256="")


def _teacher(name: str) -> dict[str, Any]:
    """Return the teacher's name and, if it is one of ours, its package and version."""
    return dict(teacher_name(name)) if is_teacher(name) else {"name": name}


def _engine(student: Student) -> Engine:
    return make_engine(student, "torch", threads=torch.get_num_threads())


def _provenance(config: DistillConfig, train: Dataset) -> dict[str, Any]:
    return {
        "settings": dataclasses.asdict(config.training),
        "num_frames": len(train),
        "num_molecules": len(np.unique(train.molecules)),
        **({"periodic": True} if train.periodic else {}),
        "dataset_sha256": train.sha256,
        "mlff_md": __version__,
        "torch": str(torch.__version__),
    }
