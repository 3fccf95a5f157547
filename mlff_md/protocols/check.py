"""The checklist before production: what a program may ask of a student, at every door.

:func:`run` measures and writes ``raw/check.json``; :func:`analyze` judges that file. Whether the
student is right is for ``forces``, ``validate-nve`` and ``compare`` to say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.errors import ConfigError, DataError
from mlff_md.exporters import FORMATS
from mlff_md.exporters.parity import random_structure
from mlff_md.files import write_atomically
from mlff_md.hints import hint
from mlff_md.progress import Progress, Silent
from mlff_md.protocols import check_measure as measure
from mlff_md.protocols.check_rows import ROWS
from mlff_md.protocols.provenance import environment
from mlff_md.protocols.records import Report, Threshold, overall_verdict
from mlff_md.protocols.thresholds import THRESHOLDS
from mlff_md.student import load_student

RAW = "check.json"

BATCHES = (1, 2, 4, 8, 16, 32)
LARGE = (200, 2000)
"""Atoms of the large structures."""


def run(
    student: str | os.PathLike[str],
    out: str | Path,
    *,
    engine: str = "auto",
    device: str = "cpu",
    formats: str = "torchscript,onnx,onnx-int8",
    evaluations: int = 10_000,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Measure everything and write ``out/raw/check.json``.

    Parameters
    ----------
    student
        Name or .safetensors file.
    out
        Folder.
    engine
        Engine that is timed, watched for leaks and fed large structures.
    device
        cpu, cuda or cuda:N.
    formats
        Formats to export to, with commas between them; aoti takes minutes to compile.
    evaluations
        Evaluations that must not leak memory.
    overwrite
        Replace what is there.
    progress
        Told of the steps.

    Returns
    -------
    pathlib.Path
        The file, for :func:`analyze`.

    Raises
    ------
    ConfigError, StudentFileError
        If the student, an option or the folder cannot be had.
    """
    progress = progress or Silent()
    wanted = [word.strip() for word in formats.split(",") if word.strip()]
    unknown = [word for word in wanted if word not in FORMATS]
    if unknown or evaluations < 100:
        raise ConfigError(
            f"no format is called {unknown[0]!r}; {hint(unknown[0], FORMATS)}"
            if unknown
            else f"evaluations must be at least 100, got {evaluations}"
        )
    path = Path(out, "raw", RAW)
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists; choose another --out or pass --force")
    loaded = load_student(student)
    options = {"engine": engine, "device": device}

    def make() -> StudentForceFieldCalculator:
        return StudentForceFieldCalculator(loaded, device, engine=engine)

    calculator = make()
    small = standard_structure(loaded.elements)
    reference = StudentForceFieldCalculator(loaded, engine="torch", dtype="float64")
    rng = np.random.default_rng(0)
    one, two, few, many = (random_structure(loaded, size, rng) for size in (1, 2, 9, 40))
    periodic = few.copy()
    periodic.set_cell([12.0, 12.0, 12.0])
    periodic.pbc = True
    everything = [small, one, two, few, many, periodic]

    steps: dict[str, Any] = {
        "round_trip": lambda: measure.round_trip(loaded),
        "shapes": lambda: measure.shapes(calculator, everything),
        "single_atom": lambda: measure.single_atoms(loaded, calculator),
        "batch": lambda: {
            # The native engine takes structures one by one; torch makes one graph of a batch.
            kind: measure.batch(
                StudentForceFieldCalculator(loaded, device, engine=kind), everything, BATCHES
            )
            for kind in dict.fromkeys((str(calculator.describe()["engine"]), "torchscript"))
        },
        "repeatability": lambda: measure.repeats(make, small),
        "latency": lambda: measure.latency(calculator, small),
        "leak": lambda: measure.leak(calculator, small, evaluations),
        "large": lambda: measure.memory(os.fspath(student), options, LARGE),
        "devices": lambda: measure.devices(loaded, small, reference.get_forces(small)),
        "formats": lambda: measure.formats(loaded, wanted),
    }
    found: dict[str, Any] = {
        "student": loaded.name,
        "calculator": dict(calculator.describe()),
        "environment": environment(),
    }
    progress.begin("checks", len(steps))
    try:
        for done, (name, step) in enumerate(steps.items(), 1):
            found[name] = step()
            progress.update(done)
    finally:
        progress.end()
    write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())
    return path


def analyze(raw: str | Path, thresholds: Mapping[str, Threshold] = THRESHOLDS) -> Report:
    """Judge what :func:`run` measured.

    Parameters
    ----------
    raw
        The file that it wrote, or the folder that it was given.
    thresholds
        Limits.

    Raises
    ------
    DataError
        If it is missing or damaged.
    """
    path = Path(raw)
    path = path / "raw" / RAW if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        checks = tuple(row(found, thresholds) for row in ROWS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not what the checklist measured: {error!r}") from error
    return Report(
        command="check",
        title=f"{found['student']}: checklist before production",
        verdict=overall_verdict(checks),
        checks=checks,
        provenance={
            "calculator": found["calculator"],
            **found["environment"],
            "formats": found["formats"],
        },
    )


def standard_structure(elements: tuple[str, ...]) -> Atoms:
    """Return aspirin, 21 atoms, or as many at random if the student does not know its elements."""
    from mlff_md.structures import read_structure

    if {"H", "C", "O"} <= set(elements):
        return read_structure(Path(__file__).parents[1] / "bench" / "aspirin.xyz")
    symbols = np.random.default_rng(0).choice(elements, 21)
    side = np.arange(3) * 2.6
    grid = np.stack(np.meshgrid(side, side, side), -1).reshape(-1, 3)[:21]
    return Atoms(symbols.tolist(), grid)
