"""Force analysis: each atom's force against the teacher's, over many frames.

``run`` evaluates the frames (and labels them, if they carry no forces) and writes raw arrays;
``analyze`` judges them, again and again if wished; ``analyze_forces`` does both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import DataError
from mlff_md.force_errors import frames_hash
from mlff_md.progress import Progress
from mlff_md.protocols import forces_checks
from mlff_md.protocols.forces_data import FRAMES_FILE, KIND, load, write_frames
from mlff_md.protocols.forces_figures import figures
from mlff_md.protocols.predictions import predict
from mlff_md.protocols.provenance import calculator_name, describe_calculator, environment
from mlff_md.protocols.raw import claim_folder, write_record
from mlff_md.protocols.records import Report, Threshold, overall_verdict
from mlff_md.protocols.thresholds import THRESHOLDS

if TYPE_CHECKING:
    from ase import Atoms

COMMAND = "forces"

_ROUNDING_EV_PER_A = 1e-4


def analyze_forces(
    frames: Iterable[Atoms],
    calculator: Any,
    *,
    teacher: Any = None,
    out: str | Path | None = None,
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Compare forces frame by frame and judge them: :func:`run`, then :func:`analyze`.

    Parameters
    ----------
    frames, calculator, teacher, overwrite, progress
        As in :func:`run`.
    out
        Folder for the raw data (``out/raw``); a temporary one, removed at the end, unless given.
    thresholds
        Limits, see :func:`mlff_md.protocols.thresholds.with_overrides`.

    Raises
    ------
    DataError, StructureError, SimulationError
        If there are no frames, or one cannot be evaluated.

    Examples
    --------
    >>> from ase.io import read
    >>> from mlff_md import StudentForceFieldCalculator
    >>> report = analyze_forces(
    ...     read("labelled.extxyz", ":"), StudentForceFieldCalculator("tiny")
    ... )  # doctest: +SKIP
    """
    with tempfile.TemporaryDirectory(prefix="mlff-md-forces-") as scratch:
        raw = run(
            frames,
            calculator,
            Path(out) if out is not None else Path(scratch),
            teacher=teacher,
            overwrite=overwrite,
            progress=progress,
        )
        return analyze(raw, thresholds)


def run(
    frames: Iterable[Atoms],
    calculator: Any,
    out: str | Path,
    *,
    teacher: Any = None,
    source: str = "",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Evaluate frames with a calculator and, where needed, a teacher; write ``out/raw``.

    Parameters
    ----------
    frames
        ASE structures, labelled (forces, and an energy if known) or not; a
        :class:`mlff_md.distill.dataset.Dataset` is one such. ``info`` may hold ``name`` (the
        molecule) and ``temperature_K``.
    calculator
        What is judged: any ASE calculator.
    out
        Folder; ``raw`` is made in it.
    teacher
        ASE calculator that labels all frames anew. Without one the labels in the frames are
        taken.
    source
        What the frames are called in the report.
    overwrite
        Replace an analysis that is already in the folder.
    progress
        Told of each frame.

    Returns
    -------
    pathlib.Path
        The raw folder, for :func:`analyze`.

    Raises
    ------
    DataError
        If there are no frames, or no teacher was given and one has no forces, or a student's.
    StructureError, SimulationError
        If a frame cannot be evaluated.
    """
    frames = list(frames)
    if not frames:
        raise DataError("there are no frames to analyse")
    if teacher is None:
        energies, forces = labels(frames)
    else:
        bare = [_bare(atoms) for atoms in frames]
        energies, forces = predict(bare, teacher, progress)
    arrays: dict[str, NDArray[Any]] = {
        "numbers": np.concatenate([atoms.numbers for atoms in frames]),
        "positions_A": np.concatenate([atoms.positions for atoms in frames]),
        "counts": np.array([len(atoms) for atoms in frames]),
        "molecules": np.array([_name(atoms) for atoms in frames]),
        "temperature_K": np.array([_temperature(atoms) for atoms in frames]),
        "reference_eV_per_A": forces,
        "reference_energies_eV": energies,
    }
    predicted = predict([_bare(atoms) for atoms in frames], calculator, progress)
    if teacher is None:
        _refuse_own(forces, predicted[1])
    arrays["predicted_energies_eV"], arrays["predicted_eV_per_A"] = predicted
    raw = Path(out) / "raw"
    claim_folder(raw, overwrite=overwrite)
    write_frames(raw / FRAMES_FILE, arrays)
    card_set, card = _card(calculator)
    record = {
        "kind": KIND,
        "schema_version": "1.0",
        "source": source,
        "units": {"energy": "eV", "length": "Å", "force": "eV/Å", "temperature": "K"},
        "frames": {
            "frames": len(frames),
            "atoms": len(arrays["numbers"]),
            "molecules": len(np.unique(arrays["molecules"])),
            "sha256": frames_hash(
                arrays["numbers"], arrays["positions_A"], forces, arrays["counts"]
            ),
        },
        "calculator": describe_calculator(calculator),
        "reference": describe_calculator(teacher) if teacher is not None else "labels in the file",
        "card": {"set": card_set, "errors": card},
        "environment": environment(),
    }
    write_record(raw / "run.json", record)
    return raw


def analyze(raw_folder: str | Path, thresholds: Mapping[str, Threshold] = THRESHOLDS) -> Report:
    """Judge the raw data of :func:`run`; the same data give the same report.

    Raises
    ------
    DataError
        If the raw data are missing or damaged.
    """
    data = load(raw_folder)
    checks = forces_checks.checks(data, thresholds)
    record = data.record
    kept = ("source", "frames", "calculator", "reference", "card", "units", "environment")
    return Report(
        command=COMMAND,
        title=f"{calculator_name(record['calculator'])} on {record.get('source') or 'frames'}",
        verdict=overall_verdict(checks),
        checks=checks,
        provenance={key: record[key] for key in kept if record.get(key)},
        quantities=forces_checks.quantities(data),
        figures=figures(data),
    )


def labelled(frames: Iterable[Atoms]) -> bool:
    """Return whether every frame carries forces, and not those of a student."""
    return all(_stored(atoms, "forces") is not None and not _by_student(atoms) for atoms in frames)


def labels(frames: Iterable[Atoms]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the stored energies (F,), ``nan`` where there is none, and forces (A, 3).

    Raises
    ------
    DataError
        If a frame has no forces, those of a student, or some that are not finite.
    """
    energies, forces = [], []
    for index, atoms in enumerate(frames):
        stored = _stored(atoms, "forces")
        if stored is None:
            raise DataError(f"frame {index} carries no forces; give a teacher to label the frames")
        if _by_student(atoms):
            raise DataError(
                f"frame {index} carries the forces of a student, not of a teacher; give one to "
                "label the frames (--teacher gfn2-xtb)"
            )
        if not np.isfinite(stored).all():
            raise DataError(f"frame {index} carries forces that are not finite")
        energy = _stored(atoms, "energy")
        energies.append(np.nan if energy is None else float(energy))
        forces.append(np.asarray(stored, dtype=np.float64))
    return np.array(energies), np.concatenate(forces)


def _refuse_own(told_eV_per_A: NDArray[np.float64], own_eV_per_A: NDArray[np.float64]) -> None:
    """Refuse labels that are the calculator's own forces: they would prove anything."""
    apart = float(np.abs(told_eV_per_A - own_eV_per_A).max())
    if apart <= _ROUNDING_EV_PER_A < 0.01 * np.abs(own_eV_per_A).max():
        raise DataError(
            f"the forces in the frames are the calculator's own (within {apart:.0e} eV/Å), not a "
            "teacher's; give one to label the frames (--teacher gfn2-xtb)"
        )


def _by_student(atoms: Atoms) -> bool:
    return getattr(atoms.calc, "name", None) == "studentforcefieldcalculator"  # ASE's name for it


def _stored(atoms: Atoms, name: str) -> Any:
    """Return a label that came with a frame; never asks a calculator that would compute."""
    results = getattr(atoms.calc, "results", None)
    return results.get(name) if isinstance(results, Mapping) else None


def _bare(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.set_constraint()
    return copy


def _name(atoms: Atoms) -> str:
    name = atoms.info.get("name")
    return name if isinstance(name, str) and name else str(atoms.get_chemical_formula())


def _temperature(atoms: Atoms) -> float:
    try:
        return float(atoms.info.get("temperature_K", 0.0))
    except (TypeError, ValueError):
        return 0.0


def _card(calculator: Any) -> tuple[str | None, Mapping[str, Any] | None]:
    """Return which held-out set the student's card tells of, and its errors over all of it."""
    manifest = getattr(getattr(calculator, "student", None), "manifest", None)
    for name in ("test", "validation"):
        section = getattr(manifest, "accuracy", {}).get(name)
        if isinstance(section, Mapping) and isinstance(section.get("all"), Mapping):
            told = dict(section["all"])
            if "frames_sha256" in section:
                told["frames_sha256"] = section["frames_sha256"]
            return name, told
    return None, None
