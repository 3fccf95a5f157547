"""The configuration of a distillation: a TOML file, checked before anything runs."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlff_md.errors import ConfigError
from mlff_md.hints import hint
from mlff_md.student import ORGANIC_ELEMENTS, Architecture


@dataclass(frozen=True)
class StudentConfig:
    """The student to make; sizes as in :class:`mlff_md.student.Architecture`."""

    name: str
    hidden_dim: int = 64
    num_interactions: int = 2
    num_rbf: int = 12
    cutoff_A: float = 5.0
    vector_dim: int = 0
    quadrupole_dim: int = 0
    mlp_dim: int = 0
    elements: tuple[str, ...] = ORGANIC_ELEMENTS
    neighbor_norm: float = 12.0
    num_knots: int = 192
    license: str = "MIT"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", self.name):
            raise ConfigError(
                f"the student's name may hold letters, digits, '.', '_' and '-', got {self.name!r}"
            )

    @property
    def architecture(self) -> Architecture:
        """Sizes of the network."""
        names = {item.name for item in dataclasses.fields(Architecture)}
        return Architecture(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class DataConfig:
    """Data sets, relative to the configuration file.

    Attributes
    ----------
    train, validation
        Folders of shards, or .npz or .extxyz files.
    test
        Measured once at the end, for the student's card, in all and at each temperature.
    teacher
        Name recorded in the manifest.
    max_force_eV_per_A
        Training frames with a larger force on any atom are left out.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()
    teacher: str = "gfn2-xtb"
    max_force_eV_per_A: float = 60.0


@dataclass(frozen=True)
class OptimizerConfig:
    """How the student is trained.

    Attributes
    ----------
    steps
        Number of optimiser steps.
    atoms_per_batch
        Atoms (with padding) per step.
    buckets
        Padded sizes: each frame goes into the next larger one.
    optimizer
        ``soap`` (:class:`mlff_md.distill.soap.SOAP`) or ``adamw``.
    learning_rate, warmup_steps
        Peak of a cosine schedule that ends at 0.3 % of the peak, after a linear warm-up.
    weight_decay
        Of AdamW alone.
    energy_weight, late_energy_factor, late_fraction
        Weight of the energy term beside the force term, and the factor it gets in the last part
        of the run.
    stress_weight
        Weight of the stress term (the error of the virial per atom) beside the force term, where
        the data set has stresses.
    ema_decay
        Of the averaged weights, which become the student.
    compile
        Compile the step, which needs a C++ compiler.
    """

    steps: int = 20_000
    atoms_per_batch: int = 256
    buckets: tuple[int, ...] = (14, 20, 26, 32, 46)
    optimizer: str = "soap"
    learning_rate: float = 3e-3
    warmup_steps: int = 300
    weight_decay: float = 1e-6
    clip_norm: float = 5.0
    energy_weight: float = 0.02
    late_energy_factor: float = 8.0
    late_fraction: float = 0.3
    stress_weight: float = 0.1
    ema_decay: float = 0.998
    seed: int = 0
    compile: bool = True
    checkpoint_every: int = 500
    validate_every: int = 2000

    def __post_init__(self) -> None:
        for name in ("steps", "atoms_per_batch", "checkpoint_every", "validate_every"):
            _require(getattr(self, name) >= 1, name, "at least 1", self)
        for name in ("learning_rate", "clip_norm"):
            _require(0.0 < getattr(self, name) < math.inf, name, "positive", self)
        weights = ("weight_decay", "energy_weight", "late_energy_factor", "stress_weight")
        for name in ("warmup_steps", "seed", *weights):
            _require(0.0 <= getattr(self, name) < math.inf, name, "zero or more", self)
        _require(self.optimizer in ("soap", "adamw"), "optimizer", "soap or adamw", self)
        _require(0.0 <= self.late_fraction <= 1.0, "late_fraction", "0 to 1", self)
        _require(0.0 <= self.ema_decay < 1.0, "ema_decay", "0 or more and below 1", self)
        ascending = all(a < b for a, b in zip((0, *self.buckets), self.buckets, strict=False))
        _require(bool(self.buckets) and ascending, "buckets", "ascending numbers of atoms", self)


@dataclass(frozen=True)
class DistillConfig:
    """Everything that decides the result of a distillation."""

    student: StudentConfig
    data: DataConfig
    training: OptimizerConfig = field(default_factory=OptimizerConfig)

    @classmethod
    def load(cls, path: str | Path) -> DistillConfig:
        """Read a configuration; paths in it are taken relative to its folder.

        Raises
        ------
        ConfigError
            If it cannot be read, or a table or key is unknown or of the wrong type.
        """
        path = Path(path)
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from error
        _no_strangers(raw, [item.name for item in dataclasses.fields(cls)], f"{path}")
        for table in ("student", "data"):
            if table not in raw:
                raise ConfigError(f"{path} lacks the table [{table}]")
        data = _build(DataConfig, raw["data"], f"{path} [data]")
        data = dataclasses.replace(
            data,
            train=_located(path.parent, data.train),
            validation=_located(path.parent, data.validation),
            test=_located(path.parent, data.test),
        )
        return cls(
            student=_build(StudentConfig, raw["student"], f"{path} [student]"),
            data=data,
            training=_build(OptimizerConfig, raw.get("training", {}), f"{path} [training]"),
        )


def _located(folder: Path, items: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of data sets, short enough to be told: without any ``..`` where it can."""
    found = []
    for item in items:
        path = (folder / item).resolve()
        inside = path.is_relative_to(Path.cwd())
        found.append(str(path.relative_to(Path.cwd()) if inside else path))
    return tuple(found)


def _require(holds: bool, name: str, what: str, settings: Any) -> None:
    if not holds:
        raise ConfigError(f"[training] {name} must be {what}, got {getattr(settings, name)}")


_LARGEST = 2**63


def _build(kind: Any, raw: Any, where: str) -> Any:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must be a table")
    fields = {item.name: item for item in dataclasses.fields(kind)}
    _no_strangers(raw, list(fields), where)
    values = {}
    for key, value in raw.items():
        wanted = str(fields[key].type)
        if type(value) is int and abs(value) >= _LARGEST:
            raise ConfigError(f"{where}: {key} = {str(value)[:20]}... is out of range")
        if wanted == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if wanted.startswith("tuple") and isinstance(value, list):
            item = int if "int" in wanted else str
            if all(type(x) is item for x in value):
                value = tuple(value)
        if not type(value).__name__ == wanted.split("[")[0]:
            raise ConfigError(f"{where}: {key} = {value!r} should be of type {wanted}")
        values[key] = value
    try:
        return kind(**values)
    except TypeError as error:
        missing = [name for name, item in fields.items() if _required(item) and name not in raw]
        raise ConfigError(f"{where} lacks {', '.join(missing)}") from error


def _required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _no_strangers(raw: dict[str, Any], known: list[str], where: str) -> None:
    for key in raw:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; {hint(key, known)}")
