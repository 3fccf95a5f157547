"""Static protocol: what a force field must fulfil on a structure that stands still.

Forces are the gradient of the energy, their Jacobian is symmetric, the virial is the derivative by
strain, nothing depends on place, orientation or order of the atoms, energy and forces have no
steps, and the same question gets the same answer. Seconds, for any ASE calculator.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md.errors import ConfigError, DataError, MlffError
from mlff_md.md import evaluate
from mlff_md.progress import Progress, silent
from mlff_md.protocols import static_cutoff, static_probes, static_symmetry
from mlff_md.protocols.provenance import (
    calculator_name,
    describe_calculator,
    describe_structure,
    environment,
)
from mlff_md.protocols.raw import (
    STATIC_FILE,
    claim_folder,
    raw_of,
    read_arrays,
    read_record,
    write_arrays,
    write_record,
)
from mlff_md.protocols.records import Report, Threshold, overall_verdict
from mlff_md.protocols.static_checks import checks
from mlff_md.protocols.static_data import StaticData
from mlff_md.protocols.static_evaluate import Evaluator
from mlff_md.protocols.static_figures import figures
from mlff_md.protocols.thresholds import THRESHOLDS

if TYPE_CHECKING:
    from ase import Atoms

KIND = "static"


@dataclass(frozen=True)
class Effort:
    """How closely the static protocol looks; counts of directions, halvings, points, places."""

    directions: int
    halvings: int
    lines: int
    points: int
    candidates: int


EFFORTS: Mapping[str, Effort] = {
    "quick": Effort(2, 9, 1, 160, 2),
    "standard": Effort(4, 12, 2, 300, 3),
    "full": Effort(12, 13, 4, 1000, 4),
}


def run(
    atoms: Atoms,
    calculator: Any,
    out: str | Path,
    *,
    mode: str = "standard",
    shake_A: float = 0.03,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make the evaluations and write ``out/raw/static.npz`` and ``out/raw/run.json``.

    Parameters
    ----------
    atoms
        Structure, molecule or periodic; not changed.
    calculator
        Any ASE calculator; ``atoms.calc`` if ``None``.
    out
        Folder; ``raw`` is made in it.
    mode
        ``quick``, ``standard`` or ``full``: 1,100 to 4,000 evaluations.
    shake_A
        Standard deviation of the random displacements that take the structure out of its
        minimum, where forces vanish and nothing can be compared, Å.
    seed
        Seed of displacements and probes.
    overwrite
        Replace a run that is already in the folder.
    progress
        Told of the stages.

    Returns
    -------
    pathlib.Path
        The raw folder, for :func:`analyze`.

    Raises
    ------
    ConfigError, StructureError, SimulationError
        If an option cannot be used or the first evaluation fails.
    """
    if mode not in EFFORTS:
        raise ConfigError(f"mode must be one of {', '.join(EFFORTS)}, not {mode!r}")
    calculator = calculator if calculator is not None else atoms.calc
    evaluate(atoms, calculator)
    raw = Path(out) / "raw"
    claim_folder(raw, overwrite=overwrite)
    record: dict[str, Any] = {
        "kind": KIND,
        "schema_version": "1.0",
        "settings": {"mode": mode, "shake_A": shake_A, "seed": seed},
        "units": {"energy": "eV", "length": "Å"},
        "structure": describe_structure(atoms),
        "calculator": describe_calculator(calculator),
        "environment": environment(),
    }
    record["static"] = collect(
        raw, atoms, calculator, mode=mode, shake_A=shake_A, seed=seed, progress=progress
    )
    write_record(raw / "run.json", record)
    return raw


def analyze(raw_folder: str | Path, thresholds: Mapping[str, Threshold] = THRESHOLDS) -> Report:
    """Judge the raw data of :func:`run`; the same data give the same report.

    Raises
    ------
    DataError
        If the raw data are missing or damaged.
    """
    raw = raw_of(raw_folder)
    record = read_record(raw / "run.json", KIND)
    data = load(raw, record)
    if data is None:
        raise DataError(f"{raw} holds no static data; run the protocol again")
    found = checks(data, thresholds)
    name = calculator_name(record["calculator"])
    return Report(
        command="validate-static",
        title=f"{name} on {record['structure']['name']}, static",
        verdict=overall_verdict(found),
        checks=found,
        provenance={key: value for key, value in record.items() if key != "static"},
        figures=figures(data, thresholds),
    )


def validate_static(
    atoms: Atoms,
    calculator: Any = None,
    *,
    mode: str = "standard",
    shake_A: float = 0.03,
    seed: int = 0,
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
) -> Report:
    """Run the static protocol in a temporary folder and judge it: :func:`run`, :func:`analyze`.

    Parameters
    ----------
    atoms, calculator, mode, shake_A, seed
        As in :func:`run`.
    thresholds
        Limits, see :func:`mlff_md.protocols.thresholds.with_overrides`.

    Raises
    ------
    ConfigError, StructureError, SimulationError
        If an option cannot be used or the first evaluation fails.
    """
    with tempfile.TemporaryDirectory(prefix="mlff-md-static-") as scratch:
        raw = run(atoms, calculator, scratch, mode=mode, shake_A=shake_A, seed=seed)
        return analyze(raw, thresholds)


def collect(
    raw: Path,
    atoms: Atoms,
    calculator: Any,
    *,
    mode: str,
    seed: int,
    shake_A: float = 0.03,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the evaluations, write their numbers to ``raw`` and return the entry for the record.

    A stage that the calculator cannot do is told in the entry, and the others are made.
    """
    effort = EFFORTS[mode]
    shaken = atoms.copy()
    shaken.set_constraint()
    shake = np.random.default_rng((seed, 1))
    shaken.positions += shake.normal(scale=shake_A, size=shaken.positions.shape)
    evaluator = Evaluator(calculator)
    entry: dict[str, Any] = {"mode": mode, "shake_A": shake_A, "errors": {}, "text": {}}
    arrays: dict[str, Any] = {}
    stages = _stages(evaluator, shaken, effort, seed)
    told = progress or silent
    told.begin("static", len(stages))
    try:
        for done, (name, stage) in enumerate(stages.items(), 1):
            try:
                found = stage()
            except MlffError as error:
                entry["errors"][name] = str(error)
                found = None
            for key, value in (found or {}).items():
                if isinstance(value, list | dict):
                    entry["text"][f"{name}.{key}"] = value
                else:
                    arrays[f"{name}.{key}"] = value
            told.update(done)
    finally:
        told.end()
    write_arrays(raw / STATIC_FILE, arrays)
    return {**entry, "file": STATIC_FILE, "evaluations": evaluator.count}


def load(raw: Path, record: Mapping[str, Any]) -> StaticData | None:
    """Return the static data that a record tells of, or ``None`` if it has none.

    Raises
    ------
    DataError
        If they are damaged.
    """
    entry = record.get("static")
    if not entry:
        return None
    try:
        dtype = record["calculator"].get("dtype")
        return StaticData(
            arrays=read_arrays(raw / Path(entry["file"]).name),
            text=dict(entry["text"]),
            errors=dict(entry["errors"]),
            dtype=str(dtype).removeprefix("torch.") if dtype else None,
            evaluations=int(entry["evaluations"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{raw / 'run.json'} is damaged: {error}") from error


def _stages(
    evaluator: Evaluator, atoms: Atoms, effort: Effort, seed: int
) -> dict[str, Callable[[], dict[str, Any] | None]]:
    """Return the stages; each has a random stream of its own, so that none depends on another."""

    def rng(k: int) -> np.random.Generator:
        return np.random.default_rng((seed, 2, k))

    probes = {"directions": effort.directions, "halvings": effort.halvings}
    return {
        "differences": lambda: static_probes.differences(evaluator, atoms, rng(0), **probes),
        "strains": lambda: static_probes.strains(
            evaluator, atoms, rng(1), directions=3, halvings=effort.halvings
        ),
        "roughness": lambda: static_probes.roughness(evaluator, atoms, rng(2), lines=effort.lines),
        "balance": lambda: static_symmetry.balance(evaluator, atoms),
        "invariance": lambda: static_symmetry.invariance(evaluator, atoms, rng(3)),
        "repeats": lambda: static_symmetry.repeats(evaluator, atoms, rng(4)),
        "cutoff": lambda: static_cutoff.cutoff(
            evaluator, atoms, points=effort.points, candidates=effort.candidates
        ),
    }
