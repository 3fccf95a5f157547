"""Ensemble protocol: whether a thermostat brings a force field to the canonical ensemble.

Langevin dynamics at two temperatures. Kinetic energies must be those of Maxwell and Boltzmann, in
all and for each element. Potential energies need no reference: of the same force field at two
temperatures, the logarithm of the ratio of their distributions is a straight line in the energy,
whose slope is the difference of 1/kT. Forces that belong to no energy, or to another one than is
told, have another slope.

References
----------
Shirts, J. Chem. Theory Comput. 9, 909 (2013); Merz and Shirts, PLOS ONE 13, e0202764 (2018).
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, DataError, SimulationError, StructureError
from mlff_md.folder_lock import sole_use
from mlff_md.md import evaluate, relax, run_nvt
from mlff_md.progress import Part, Progress, silent
from mlff_md.protocols import ensemble_checks
from mlff_md.protocols.ensemble_data import KIND, load
from mlff_md.protocols.provenance import (
    calculator_name,
    describe_calculator,
    describe_structure,
    environment,
)
from mlff_md.protocols.raw import ENSEMBLE_FILE, claim_folder, raw_of, write_arrays, write_record
from mlff_md.protocols.records import Report, Threshold, overall_verdict
from mlff_md.protocols.thresholds import THRESHOLDS
from mlff_md.structures import chemical_symbol

if TYPE_CHECKING:
    from ase import Atoms

COMMAND = "validate-nvt"

MODES: Mapping[str, Mapping[str, Any]] = {
    "quick": {"steps": 30_000, "equilibration_fs": 1000.0},
    "standard": {"steps": 100_000, "equilibration_fs": 2000.0},
    "full": {"steps": 1_000_000, "equilibration_fs": 5000.0},
}
"""Mode -> what it sets where nothing else is asked for."""

_SEPARATION = 2.0
"""Of the two distributions of the potential energy, in standard deviations: far enough apart for a
slope, near enough to overlap (Shirts 2013)."""

_MOST_APART = 0.5


@dataclass(frozen=True)
class EnsembleSettings:
    """Settings of the protocol, as they are written to the record."""

    temperatures_K: tuple[float, float]
    steps: int
    timestep_fs: float
    equilibration_fs: float
    friction_per_ps: float
    sample_every: int
    relax_first: bool
    seed: int
    mode: str


def validate_nvt(
    atoms: Atoms,
    calculator: Any = None,
    *,
    out: str | Path | None = None,
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
    **options: Any,
) -> Report:
    """Run the protocol and judge it: :func:`run`, then :func:`analyze`.

    Parameters
    ----------
    atoms, calculator
        As in :func:`run`.
    out
        Folder for the raw data (``out/raw``); a temporary one, removed at the end, unless given.
    thresholds
        Limits, see :func:`mlff_md.protocols.thresholds.with_overrides`.
    options
        Those of :func:`run`.

    Raises
    ------
    ConfigError, StructureError, SimulationError
        If the protocol cannot begin. A run that blows up is a failed check, not an error.
    """
    with tempfile.TemporaryDirectory(prefix="mlff-md-nvt-") as scratch:
        folder = Path(out) if out is not None else Path(scratch)
        return analyze(run(atoms, calculator, folder, **options), thresholds)


def run(
    atoms: Atoms,
    calculator: Any,
    out: str | Path,
    *,
    mode: str = "standard",
    steps: int | None = None,
    timestep_fs: float = 0.5,
    temperature_K: float = 300.0,
    second_temperature_K: float | None = None,
    equilibration_fs: float | None = None,
    friction_per_ps: float = 50.0,
    sample_every: int = 10,
    relax_first: bool = True,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Run Langevin dynamics at both temperatures and write ``out/raw``.

    Parameters
    ----------
    atoms
        Structure, molecule or periodic, without constraints; not changed.
    calculator
        Any ASE calculator; ``atoms.calc`` if ``None``.
    out
        Folder; ``raw`` is made in it.
    mode
        ``quick``, ``standard`` or ``full``: sets what is not asked for otherwise.
    steps
        Steps at each temperature (default: 100000; quick 30000, full 1000000).
    timestep_fs
        Time step, fs. Langevin dynamics has an error of its own, which grows with the square
        of it: at 0.5 fs molecules with hydrogen were up to 1 % too cold.
    temperature_K
        The lower temperature, K.
    second_temperature_K
        The higher one, K (default: so far above that the potential energies of a harmonic
        molecule of this size are two standard deviations apart, at most half as hot again).
    equilibration_fs
        Left out at the beginning of each run, fs (default: 2000; quick 1000, full 5000).
    friction_per_ps
        Friction coefficient, 1/ps. A strong one makes kinetic energies forget fast; the ensemble is
        the same.
    sample_every
        Steps between samples.
    relax_first
        Minimise the energy first; leave it out for liquids.
    seed
        Seed of both runs.
    overwrite
        Replace a run that is already in the folder.
    progress
        Told of every step.

    Returns
    -------
    pathlib.Path
        The raw folder, for :func:`analyze`.

    Raises
    ------
    ConfigError, StructureError, SimulationError
        If an option cannot be used or the first evaluation fails.
    """
    if mode not in MODES:
        raise ConfigError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    given = {"steps": steps, "equilibration_fs": equilibration_fs}
    chosen = {**MODES[mode], **{name: value for name, value in given.items() if value is not None}}
    calculator = calculator if calculator is not None else atoms.calc
    if atoms.constraints:
        raise ConfigError(
            "the protocol takes no constraints, they take degrees of freedom away; remove them "
            "with atoms.set_constraint()"
        )
    if len(atoms) < 2:
        raise StructureError("the protocol needs at least two atoms")
    if not (temperature_K > 0.0 and math.isfinite(temperature_K)):
        raise ConfigError(f"temperature_K must be a number above zero, got {temperature_K}")
    hotter = second_temperature_K
    if hotter is None:
        hotter = _hotter(temperature_K, 3 * len(atoms))
    settings = EnsembleSettings(
        temperatures_K=(temperature_K, hotter),
        timestep_fs=timestep_fs,
        friction_per_ps=friction_per_ps,
        sample_every=sample_every,
        relax_first=relax_first,
        seed=seed,
        mode=mode,
        **chosen,
    )
    _check(settings)
    evaluate(atoms, calculator)
    raw = Path(out) / "raw"
    record: dict[str, Any] = {
        "kind": KIND,
        "schema_version": "1.0",
        "settings": dataclasses.asdict(settings),
        "units": {"energy": "eV", "length": "Å", "time": "fs", "temperature": "K"},
        "structure": describe_structure(atoms),
        "elements": {
            chemical_symbol(int(z)): int((atoms.numbers == z).sum())
            for z in np.unique(atoms.numbers)
        },
        "calculator": describe_calculator(calculator),
        "environment": environment(),
        "runs": [],
    }
    with sole_use(raw):
        claim_folder(raw, overwrite=overwrite)
        write_record(raw / "run.json", record)
        _make(raw, record, atoms, calculator, settings, progress or silent)
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
    data = load(raw_of(raw_folder))
    checks = ensemble_checks.checks(data, thresholds)
    low, high = data.record["settings"]["temperatures_K"]
    name = calculator_name(data.record["calculator"])
    return Report(
        command=COMMAND,
        title=f"{name} on {data.record['structure']['name']}, Langevin, {low:g} and {high:g} K",
        verdict=overall_verdict(checks),
        checks=checks,
        provenance={
            key: data.record[key]
            for key in ("calculator", "structure", "settings", "units", "environment")
        },
        figures=ensemble_checks.figures(data),
    )


def _hotter(temperature_K: float, degrees: int) -> float:
    apart = min(_MOST_APART, _SEPARATION * math.sqrt(2.0 / degrees))
    return float(round(temperature_K * (1.0 + apart)))


def _check(settings: EnsembleSettings) -> None:
    low, high = settings.temperatures_K
    if not 0.0 < low < high:
        raise ConfigError(f"second_temperature_K must be above temperature_K, got {high} and {low}")
    if settings.seed < 0:
        raise ConfigError(f"seed must not be negative, got {settings.seed}")
    if settings.sample_every < 1 or settings.steps < 100 * settings.sample_every:
        raise ConfigError("steps must be at least 100 times sample_every")
    for name in ("timestep_fs", "friction_per_ps", "equilibration_fs"):
        if not (math.isfinite(getattr(settings, name)) and getattr(settings, name) > 0.0):
            raise ConfigError(f"{name} must be above zero, got {getattr(settings, name)}")


def _make(
    raw: Path,
    record: dict[str, Any],
    atoms: Atoms,
    calculator: Any,
    settings: EnsembleSettings,
    progress: Progress,
) -> None:
    start = relax(atoms, calculator) if settings.relax_first else atoms
    warm = math.ceil(settings.equilibration_fs / settings.timestep_fs)
    progress.begin("NVT", 2 * (warm + settings.steps), settings.timestep_fs)
    arrays: dict[str, NDArray[np.float64]] = {}
    try:
        for k, temperature_K in enumerate(settings.temperatures_K):
            entry: dict[str, Any] = {"temperature_K": temperature_K, "error": None}
            part = Part(progress, k * (warm + settings.steps))
            try:
                samples = _samples(start, calculator, settings, k, warm, part)
                arrays |= {f"{name}.{k}": array for name, array in samples.items()}
            except (SimulationError, StructureError) as error:
                entry["error"] = str(error)
            record["runs"].append(entry)
    finally:
        progress.end()
    write_arrays(raw / ENSEMBLE_FILE, arrays)
    write_record(raw / "run.json", {**record, "file": ENSEMBLE_FILE})


def _samples(
    start: Atoms,
    calculator: Any,
    settings: EnsembleSettings,
    k: int,
    warm: int,
    progress: Progress,
) -> dict[str, NDArray[np.float64]]:
    """Run one temperature; return potential energies (n,) and kinetic ones by element (n, e)."""
    from ase.io import iread

    common: dict[str, Any] = {
        "timestep_fs": settings.timestep_fs,
        "temperature_K": settings.temperatures_K[k],
        "friction_per_ps": settings.friction_per_ps,
    }
    warmed = run_nvt(
        start, calculator, steps=warm, seed=2 * (2 * settings.seed + k), progress=progress, **common
    ).atoms
    with tempfile.TemporaryDirectory(prefix="mlff-md-nvt-") as scratch:
        frames = Path(scratch) / "frames.traj"
        run_nvt(
            warmed,
            calculator,
            steps=settings.steps,
            keep_velocities=True,
            seed=2 * (2 * settings.seed + k) + 1,
            sample_every=settings.sample_every,
            trajectory=frames,
            trajectory_every=settings.sample_every,
            progress=Part(progress, warm),
            **common,
        )
        elements = np.unique(start.numbers)
        potential, kinetic = [], []
        for frame in iread(frames):
            momenta, masses = frame.get_momenta(), frame.get_masses()
            each = 0.5 * np.einsum("ij,ij->i", momenta, momenta) / masses
            potential.append(frame.get_potential_energy())
            kinetic.append([each[frame.numbers == z].sum() for z in elements])
    if not np.isfinite(potential).all():
        raise DataError("the potential energies are not all finite")
    return {"potential_eV": np.array(potential), "kinetic_eV": np.array(kinetic)}
