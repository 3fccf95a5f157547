"""Raw data of an NVE protocol in memory, and the series that its checks share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, DataError
from mlff_md.md import MdRun
from mlff_md.protocols.raw import raw_of, read_record, read_run
from mlff_md.protocols.shadow import shadow_energy
from mlff_md.statistics import Slope, ols_slope

KIND = "nve"

MODES: Mapping[str, Mapping[str, Any]] = {
    "quick": {
        "replicas": 3,
        "steps": 1000,
        "equilibration_fs": 250.0,
        "order_steps": 500,
        "order_starts": 3,
        "reversal_steps": 200,
        "restart_steps": 100,
    },
    "standard": {
        "replicas": 5,
        "steps": 4000,
        "equilibration_fs": 500.0,
        "order_steps": 1000,
        "order_starts": 3,
        "reversal_steps": 200,
        "restart_steps": 100,
    },
    "full": {
        "replicas": 10,
        "steps": 20000,
        "equilibration_fs": 1000.0,
        "order_steps": 4000,
        "order_starts": 5,
        "reversal_steps": 200,
        "restart_steps": 100,
    },
}
"""Mode -> what it sets where nothing else is asked for."""
MEV_PER_EV = 1000.0
FS_PER_PS = 1000.0
_MIN_SAMPLES = 10
_MIN_ORDER_STEPS = 50


@dataclass(frozen=True)
class NveSettings:
    """Settings of the protocol, as they are written to the record."""

    replicas: int
    steps: int
    timestep_fs: float
    temperature_K: float
    equilibration_fs: float
    relax_first: bool
    seed: int
    order_steps: int = 0
    order_starts: int = 0
    reversal_steps: int = 0
    restart_steps: int = 0
    static: bool = False
    mode: str = "standard"
    md: str = "ase"

    def check(self) -> None:
        """Refuse what cannot be run."""
        if self.replicas < 1:
            raise ConfigError(f"replicas must be at least 1, got {self.replicas}")
        if self.steps < 1:
            raise ConfigError(f"steps must be at least 1, got {self.steps}")
        for name in ("timestep_fs", "temperature_K"):
            value = getattr(self, name)
            if not (value > 0.0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be a number above zero, got {value}")
        if not (self.equilibration_fs >= 0.0 and math.isfinite(self.equilibration_fs)):
            raise ConfigError(f"equilibration_fs must not be negative, got {self.equilibration_fs}")
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, got {self.seed}")
        if 0 < self.order_steps < _MIN_ORDER_STEPS:
            raise ConfigError(
                f"order_steps must be 0 or at least {_MIN_ORDER_STEPS}, got {self.order_steps}"
            )
        if min(self.order_steps, self.reversal_steps, self.order_starts) < 0:
            raise ConfigError("order_steps, order_starts and reversal_steps must not be negative")

    @property
    def warm_steps(self) -> int:
        """Steps of the equilibration."""
        return math.ceil(self.equilibration_fs / self.timestep_fs)

    @property
    def steps_each(self) -> int:
        """All steps of one replica."""
        return self.warm_steps + self.steps

    @property
    def seeds(self) -> list[int]:
        """One seed per replica; replica k has the same one however many there are."""
        return [
            int(np.random.SeedSequence((self.seed, k)).generate_state(1)[0])
            for k in range(self.replicas)
        ]


@dataclass(frozen=True)
class Replica:
    """One replica: how it ended, and its NVE run if there is one.

    Attributes
    ----------
    index
        Number of the replica, from 0.
    steps_done
        NVE steps that it made.
    stage, error
        Where and why it stopped; ``None`` if it reached its last step.
    run
        Its series, up to the stop; ``None`` if it never reached the NVE stage.
    resolution_meV_per_ps
        Largest drift per atom that rounding of printed energies can hide; 0 for our own runs.
    """

    index: int
    steps_done: int
    stage: str | None
    error: str | None
    run: MdRun | None
    resolution_meV_per_ps: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether the run reached its end and has enough samples for a slope."""
        return self.error is None and self.run is not None and len(self.run.time_fs) >= _MIN_SAMPLES

    @cached_property
    def conserved(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times (ps) and conserved energy (meV/atom): the shadow energy where there is one."""
        run = self._run
        times, energy = shadow_energy(run) or (run.time_fs, run.total_energy_eV)
        return times / FS_PER_PS, MEV_PER_EV * energy / run.n_atoms

    @cached_property
    def drift(self) -> Slope:
        """Slope of the conserved energy, meV/atom/ps.

        A bound on what rounding hides counts as two standard errors.
        """
        slope = ols_slope(*self.conserved)
        hidden = 0.5 * self.resolution_meV_per_ps
        return replace(slope, standard_error=math.hypot(slope.standard_error, hidden))

    @cached_property
    def raw_drift(self) -> Slope:
        """Slope of the total energy itself, meV/atom/ps."""
        run = self._run
        energy = MEV_PER_EV * run.total_energy_eV / run.n_atoms
        return ols_slope(run.time_fs / FS_PER_PS, energy)

    @cached_property
    def mean_kinetic_energy_meV(self) -> float:
        """Mean kinetic energy, meV/atom."""
        run = self._run
        return MEV_PER_EV * float(run.kinetic_energy_eV.mean()) / run.n_atoms

    @property
    def _run(self) -> MdRun:
        if self.run is None:
            raise DataError(f"replica {self.index} has no NVE run")
        return self.run


@dataclass(frozen=True)
class NveData:
    """All replicas and the record of how they were made."""

    record: Mapping[str, Any]
    replicas: tuple[Replica, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings with units in their names."""
        return self.record["settings"]

    @property
    def usable(self) -> tuple[Replica, ...]:
        """Replicas that reached their last step."""
        return tuple(replica for replica in self.replicas if replica.usable)

    @property
    def dtype(self) -> str | None:
        """Floating-point type of the forces, where the calculator says."""
        dtype = self.record["calculator"].get("dtype")
        return dtype if isinstance(dtype, str) else None


def load(folder: Path) -> NveData:
    """Read the raw data of a protocol: ``folder`` is its ``raw`` folder or the one above.

    Raises
    ------
    DataError
        If the data are missing, damaged or of another protocol.
    """
    folder = raw_of(folder)
    record = read_record(folder / "run.json", KIND)
    try:
        replicas = tuple(
            Replica(
                index=int(item["index"]),
                steps_done=int(item["steps_done"]),
                stage=item["stage"],
                error=item["error"],
                # A file name alone, never a path: the record may come from a stranger.
                run=read_run(folder / Path(item["file"]).name) if item["file"] else None,
            )
            for item in record["replicas"]
        )
        settings = record["settings"]
        for name in ("replicas", "steps", "timestep_fs", "temperature_K"):
            float(settings[name])
        if not isinstance(record["calculator"], dict):
            raise TypeError("calculator")
        str(record["structure"]["name"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / 'run.json'} is damaged: {error}") from error
    return NveData(record, replicas)
