"""Distillation: fit a student to teacher labels. Restartable at any moment."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlff_md._version import __version__
from mlff_md.distill.accuracy import measure, measure_by_temperature
from mlff_md.distill.batches import Bucket, Targets, epoch_batches, make_buckets
from mlff_md.distill.config import DistillConfig, OptimizerConfig
from mlff_md.distill.dataset import Dataset
from mlff_md.distill.dense import DenseMolecules
from mlff_md.distill.step import CompiledSteps
from mlff_md.engines import Engine, make_engine
from mlff_md.errors import ConfigError, DataError, SimulationError
from mlff_md.files import write_atomically
from mlff_md.student import Manifest, Student, save_student
from mlff_md.student.network import StudentForceField
from mlff_md.teachers import is_teacher, teacher_name

Log = Callable[[Mapping[str, Any]], None]
CHECKPOINT = "checkpoint.pt"
PREVIOUS_CHECKPOINT = "checkpoint-previous.pt"


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
    if not isinstance(config, DistillConfig):
        config = DistillConfig.load(config)
    out = Path(out)
    train = _load(config.data.train)
    train = train.select(_largest_force(train) <= config.data.max_force_eV_per_A)
    validation = _load(config.data.validation)
    test = _load(config.data.test) if config.data.test else None
    fingerprint = json.dumps(
        [dataclasses.asdict(config.student), dataclasses.asdict(config.training), train.sha256],
        sort_keys=True,
    )
    torch.manual_seed(config.training.seed)
    network = _new_network(config)
    model = DenseMolecules(network)
    buckets, targets = make_buckets(train, model, config.training.buckets)
    network = _with_targets(network, targets)
    model = DenseMolecules(network)
    run = _Run(model, buckets, targets, config.training)
    _resume(run, out, fingerprint)

    while run.step < config.training.steps:
        record = run.advance()
        done = run.step == config.training.steps
        if run.step % config.training.validate_every == 0 or done:
            errors = measure(_engine(_student(config, network, targets, run)), validation)
            record["validation"] = dataclasses.asdict(errors)
        if run.step % config.training.checkpoint_every == 0 or done:
            _save_checkpoint(run, out, fingerprint)
        if "validation" in record or run.step % 100 == 0:
            _append(out / "log.jsonl", record)
            if log is not None:
                log(record)

    student = _student(config, network, targets, run)
    accuracy = {"validation": measure_by_temperature(_engine(student), validation)}
    if test is not None:
        accuracy["test"] = measure_by_temperature(_engine(student), test)
    manifest = dataclasses.replace(
        student.manifest,
        training=_provenance(config, train),
        accuracy={
            name: {part: dataclasses.asdict(errors) for part, errors in parts.items()}
            for name, parts in accuracy.items()
        },
    )
    return save_student(out / f"{config.student.name}.safetensors", manifest, student.weights)


class _Run:
    """The state of a training: everything that a checkpoint holds."""

    def __init__(
        self,
        model: DenseMolecules,
        buckets: list[Bucket],
        targets: Targets,
        settings: OptimizerConfig,
    ) -> None:
        self.step = 0
        self._settings = settings
        self._buckets = buckets
        self._energy_spread = targets.energy_spread
        self._names = [name.removeprefix("network.") for name, _ in model.named_parameters()]
        self._parameters = [p.detach().clone() for p in model.parameters()]
        self._average = [p.clone() for p in self._parameters]
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=settings.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
        )
        self._compute = CompiledSteps(model, settings.compile)
        self._epoch: tuple[int, list[tuple[int, np.ndarray]]] = (-1, [])
        self._batches = len(epoch_batches(buckets, settings.atoms_per_batch, 0, 0))

    def advance(self) -> dict[str, Any]:
        """Take one optimiser step and return its record."""
        started = time.perf_counter()
        settings = self._settings
        epoch, position = divmod(self.step, self._batches)
        if self._epoch[0] != epoch:
            batches = epoch_batches(self._buckets, settings.atoms_per_batch, settings.seed, epoch)
            self._epoch = (epoch, batches)
        number, rows = self._epoch[1][position]
        progress = self.step / settings.steps
        late = settings.late_energy_factor if progress >= 1.0 - settings.late_fraction else 1.0
        weight = settings.energy_weight * late / self._energy_spread
        force_loss, energy_loss, *gradients = self._compute(
            self._parameters, *self._buckets[number].batch(rows), torch.tensor(weight)
        )
        if not math.isfinite(float(force_loss) + float(energy_loss)):
            raise SimulationError(
                f"the loss of step {self.step} is not finite; lower learning_rate, or look for "
                "damaged frames in the training data"
            )
        rate = self._learning_rate(progress)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(self._parameters, settings.clip_norm)
        self._optimizer.step()
        self.step += 1
        decay = min(settings.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self._average, self._parameters, 1.0 - decay)
        return {
            "step": self.step,
            "epoch": epoch,
            "force_loss": float(force_loss),
            "energy_loss": float(energy_loss),
            "learning_rate": rate,
            "seconds": time.perf_counter() - started,
        }

    def averaged(self) -> dict[str, np.ndarray]:
        """Return the averaged weights by name."""
        return {
            name: tensor.numpy().copy()
            for name, tensor in zip(self._names, self._average, strict=True)
        }

    def state(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on."""
        return {
            "step": self.step,
            "parameters": self._parameters,
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state made by :meth:`state`."""
        _copy(self._parameters, state["parameters"])
        _copy(self._average, state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])

    def _learning_rate(self, progress: float) -> float:
        settings = self._settings
        warmup = min(1.0, (self.step + 1) / max(1, settings.warmup_steps))
        cosine = 0.5 * (1.0 + math.cos(math.pi * progress)) + 0.003
        return settings.learning_rate * warmup * cosine


def _copy(target: list[Tensor], source: list[Tensor]) -> None:
    with torch.no_grad():
        for mine, other in zip(target, source, strict=True):
            mine.copy_(other)


def _load(paths: Sequence[str]) -> Dataset:
    return Dataset.concatenate([Dataset.load(path) for path in paths])


def _largest_force(dataset: Dataset) -> np.ndarray:
    starts = np.concatenate([[0], np.cumsum(dataset.counts)[:-1]]).astype(np.int64)
    return np.maximum.reduceat(np.linalg.norm(dataset.forces, axis=1), starts)


def _new_network(config: DistillConfig) -> StudentForceField:
    student = config.student
    return StudentForceField(
        student.hidden_dim,
        student.num_interactions,
        student.num_rbf,
        student.cutoff_A,
        mlp_dim=student.mlp_dim,
        elements=student.elements,
        neighbor_norm=student.neighbor_norm,
    )


def _with_targets(network: StudentForceField, targets: Targets) -> StudentForceField:
    shape = network.architecture
    fitted = StudentForceField(
        shape.hidden_dim,
        shape.num_interactions,
        shape.num_rbf,
        shape.cutoff_A,
        mlp_dim=shape.mlp_dim,
        elements=shape.elements,
        neighbor_norm=shape.neighbor_norm,
        energy_scale_eV=targets.scale_eV,
        atomic_energies_eV=list(targets.atomic_energies_eV),
        prior_radii_A=network.prior_radii_A,
    )
    fitted.load_state_dict(network.state_dict())
    return fitted


def _save_checkpoint(run: _Run, out: Path, fingerprint: str) -> None:
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, **run.state()}, buffer)
    path = out / CHECKPOINT
    if path.exists():
        os.replace(path, out / PREVIOUS_CHECKPOINT)
    write_atomically(path, buffer.getvalue())


def _resume(run: _Run, out: Path, fingerprint: str) -> None:
    """Take up the newest checkpoint that can be read; a damaged one falls back to the one before.

    Raises
    ------
    ConfigError
        If the folder holds the checkpoint of another configuration or data set.
    DataError
        If there are checkpoints and none can be read.
    """
    damaged = []
    for name in (CHECKPOINT, PREVIOUS_CHECKPOINT):
        path = out / name
        if not path.exists():
            continue
        try:
            state = torch.load(path, weights_only=True)
            stored = state["fingerprint"]
        except (RuntimeError, KeyError, TypeError, EOFError, OSError, pickle.UnpicklingError):
            damaged.append(str(path))
            continue
        if stored != fingerprint:
            raise ConfigError(
                f"{out} holds the checkpoint of another configuration or data set; choose "
                "another --out"
            )
        run.restore(state)
        return
    if damaged:
        raise DataError(
            f"no checkpoint in {out} can be read ({', '.join(damaged)}); remove them to start anew"
        )


def _append(path: Path, record: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _student(
    config: DistillConfig, network: StudentForceField, targets: Targets, run: _Run
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
        "dataset_sha256": train.sha256,
        "mlff_md": __version__,
        "torch": str(torch.__version__),
    }
