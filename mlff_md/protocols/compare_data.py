"""Settings of a comparison, and its raw data as they lie on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, DataError
from mlff_md.protocols.observables.frames import Frames, read_frames
from mlff_md.protocols.raw import raw_of, read_record

if TYPE_CHECKING:
    from ase import Atoms

KIND = "compare"

PARTS = ("reference", "teacher", "model", "labels", "predictions", "floor", "kicked")
"""Raw files are called ``<part>-<replica>.npz``:

- ``reference-0``: the start structure at the teacher's minimum, from which bonds are measured;
- ``teacher-k``, ``model-k``: the two runs of pair k, from the same state;
- ``labels-k``: the teacher's forces on frames of ``model-k``;
- ``predictions-k``: the model's forces on frames of ``teacher-k``;
- ``floor-k``: runs of the teacher from other starts, to see how far it is from itself;
- ``kicked-k``: ``teacher-k`` again, with its start moved by 1e-8 Å.
"""

TEACHER_PARTS = ("reference", "teacher", "floor", "kicked")
"""Parts that know nothing of the model: another comparison can use them."""

KICK_A = 1e-8

# Replicas of a set more or less change nothing in those that are there.
_FREE_TO_CHANGE = ("replicas", "floor_replicas", "kicked_replicas")


@dataclass(frozen=True)
class CompareSettings:
    """Settings of a comparison, as they are written to the record."""

    replicas: int
    floor_replicas: int
    kicked_replicas: int
    steps: int
    timestep_fs: float
    temperature_K: float
    equilibration_fs: float
    relax_first: bool
    thermostat: bool
    friction_per_ps: float
    frame_every: int
    labels: int
    seed: int

    def check(self) -> None:
        """Refuse what cannot be run."""
        least = {"replicas": 1, "frame_every": 1, "labels": 2, "floor_replicas": 0}
        for name, smallest in (least | {"kicked_replicas": 0, "seed": 0}).items():
            if getattr(self, name) < smallest:
                raise ConfigError(f"{name} must be at least {smallest}, got {getattr(self, name)}")
        for name in ("timestep_fs", "temperature_K", "friction_per_ps"):
            value = getattr(self, name)
            if not (value > 0.0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be a number above zero, got {value}")
        if not (self.equilibration_fs >= 0.0 and math.isfinite(self.equilibration_fs)):
            raise ConfigError(f"equilibration_fs must not be negative, got {self.equilibration_fs}")
        if self.n_frames < 20:
            raise ConfigError(
                f"{self.steps} steps with a frame at every {self.frame_every} make "
                f"{self.n_frames} frames; a comparison needs 20 or more: raise steps"
            )
        if self.labels > self.n_frames:
            raise ConfigError(f"labels must be at most the {self.n_frames} frames of a run")

    @property
    def n_frames(self) -> int:
        """Frames of a whole run."""
        return self.steps // self.frame_every + 1

    @property
    def interval_fs(self) -> float:
        """Time from one frame to the next, fs."""
        return self.frame_every * self.timestep_fs

    @property
    def length_ps(self) -> float:
        """Length of a run, ps."""
        return 1e-3 * self.steps * self.timestep_fs

    @property
    def warm_steps(self) -> int:
        """Steps of each equilibration."""
        return math.ceil(self.equilibration_fs / self.timestep_fs)

    def seed_of(self, part: str, replica: int) -> int:
        """Return the seed of a run; it does not depend on how many there are."""
        words = (self.seed, ("teacher", "floor", "kicked").index(part), replica)
        return int(np.random.SeedSequence(words).generate_state(1)[0])

    @property
    def label_frames(self) -> NDArray[np.intp]:
        """Frames of a whole run that the teacher labels, evenly from the first to the last."""
        return np.linspace(0, self.n_frames - 1, self.labels).round().astype(np.intp)


@dataclass(frozen=True)
class CompareData:
    """A comparison on disk. Runs are read when they are asked for: they may be large."""

    record: Mapping[str, Any]
    settings: CompareSettings
    folder: Path

    def path(self, part: str, replica: int) -> Path:
        """Return where a part of the raw data lies."""
        return raw_path(self.folder, part, replica)

    def run(self, part: str, replica: int) -> Frames | None:
        """Return the frames of a run, or ``None`` if it was not made."""
        path = self.path(part, replica)
        return read_frames(path) if path.exists() else None

    def pairs(self) -> Iterator[tuple[int, Frames, Frames]]:
        """Yield number, model's and teacher's run of each pair that both were begun of."""
        for k in range(self.settings.replicas):
            model, teacher = self.run("model", k), self.run("teacher", k)
            if model is not None and teacher is not None and len(model) and len(teacher):
                yield k, model, teacher

    @property
    def reference(self) -> Atoms | None:
        """The teacher's minimum, or the start structure where nothing was to be relaxed."""
        frames = self.run("reference", 0)
        return frames.structure(0) if frames is not None and len(frames) else None

    def evaluated(
        self, part: str, replica: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]] | None:
        """Return which frames of a run the other force field has evaluated, and its forces there.

        Parameters
        ----------
        part
            ``labels`` for frames of the model's run, ``predictions`` for those of the teacher's.
        replica
            Number of the pair.

        Returns
        -------
        (n,) numbers of the frames and (n, N, 3) forces, eV/Å; ``None`` if there are none.
        """
        frames = self.run(part, replica)
        if frames is None or not len(frames):
            return None
        which = np.rint(frames.time_fs / self.settings.interval_fs).astype(np.intp)
        return which, frames.forces_eV_per_A


def raw_path(folder: Path, part: str, replica: int) -> Path:
    """Return where a part of the raw data lies."""
    return folder / f"{part}-{replica}.npz"


def same_runs(old: Mapping[str, Any], new: Mapping[str, Any], *, model: bool = True) -> str | None:
    """Return what differs between the records of two comparisons, ``None`` if runs can be shared.

    Parameters
    ----------
    old, new
        Records.
    model
        ``False`` to ask about the teacher's runs alone.
    """
    settings = old.get("settings")
    if not isinstance(settings, Mapping) or not isinstance(old.get("structure"), Mapping):
        return "record"
    if old["structure"].get("sha256") != new["structure"]["sha256"]:
        return "structure"
    for key in ("teacher", *(("model",) if model else ())):
        if old.get(key) != new[key]:
            return key
    for name, value in new["settings"].items():
        shared = name not in _FREE_TO_CHANGE and (model or name != "labels")
        if shared and settings.get(name) != value:
            return name
    return None


def load(folder: Path) -> CompareData:
    """Read the raw data of a comparison: ``folder`` is its ``raw`` folder or the one above.

    Raises
    ------
    DataError
        If the data are missing, damaged or of another protocol.
    """
    folder = raw_of(folder)
    record = read_record(folder / "run.json", KIND)
    try:
        settings = CompareSettings(**record["settings"])
        settings.check()
        for key in ("structure", "model", "teacher", "environment"):
            if not isinstance(record[key], dict):
                raise TypeError(key)
        str(record["structure"]["name"])
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise DataError(f"{folder / 'run.json'} is damaged: {error}") from error
    return CompareData(record, settings, folder)
