"""What the checklist measures: each function makes one entry of the raw data, as JSON types."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.engines import ExportedStudent, load_exported
from mlff_md.errors import ConfigError, MissingDependencyError, MlffError
from mlff_md.exporters import FORMATS, export
from mlff_md.exporters.parity import random_structure
from mlff_md.memory import peak_MB, resident_MB
from mlff_md.student import Student, load_student, save_student

Loaded = Student | ExportedStudent

_MEMORY_PROBE = """
import json, sys
from mlff_md.protocols.check_measure import evaluate_large
print(json.dumps(evaluate_large(**json.loads(sys.stdin.read()))))
"""


def formats(student: Student, wanted: Sequence[str]) -> dict[str, Any]:
    """Export to each format, load the files, and compare with torch in float64."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mlff-md-") as folder:
        for format in wanted:
            path = Path(folder, f"student{FORMATS[format]}")
            try:
                result = export(student, path, format=format)
                calculator = StudentForceFieldCalculator(load_exported(path, trust=True))
                calculator.get_forces(random_structure(student, 1, np.random.default_rng(0)))
            except MissingDependencyError as error:
                found[format] = {"skipped": str(error)}
            except MlffError as error:
                found[format] = {"error": str(error)}
            else:
                found[format] = {
                    "size_bytes": result.size_bytes,
                    "max_force_error_eV_per_A": result.parity.max_force_error_eV_per_A,
                    "of_tolerance": result.parity.worst,
                    "force_change": result.force_change,
                }
    return found


def round_trip(student: Student) -> dict[str, Any]:
    """Save the student, load it again, and compare every bit of it."""
    with tempfile.TemporaryDirectory(prefix="mlff-md-") as folder:
        again = save_student(Path(folder, "student.safetensors"), student.manifest, student.weights)
        again = load_student(Path(folder, "student.safetensors"))
    same = [np.array_equal(again.weights[name], student.weights[name]) for name in student.weights]
    return {
        "manifest_equal": again.manifest == student.manifest,
        "weights_different": len(same) - sum(same),
        "weights": len(same),
    }


def shapes(calculator: StudentForceFieldCalculator, structures: Sequence[Atoms]) -> list[str]:
    """Return what is wrong with the shapes of the results, or that they are not finite."""
    wrong = []
    for atoms in structures:
        (got,) = calculator.evaluate([atoms])
        count = len(atoms)
        arrays = {
            "energy": (np.asarray(got.energy), ()),
            "energies": (got.energies, (count,)),
            "forces": (got.forces, (count, 3)),
        }
        if all(atoms.pbc):
            arrays["stress"] = (np.asarray(got.stress, dtype=float), (6,))
        for name, (array, shape) in arrays.items():
            if array.shape != shape:
                wrong.append(f"{name} of {count} atoms has the shape {array.shape}")
            elif not np.isfinite(array).all():
                wrong.append(f"{name} of {count} atoms is not finite")
    return wrong


def batch(
    calculator: StudentForceFieldCalculator, structures: Sequence[Atoms], sizes: Sequence[int]
) -> dict[str, float]:
    """Return the largest difference of a force between a batch and one by one, eV/Å, by size."""
    alone = [calculator.evaluate([atoms])[0].forces for atoms in structures]
    worst = {}
    for size in sizes:
        chosen = [k % len(structures) for k in range(size)]
        together = calculator.evaluate([structures[k] for k in chosen])
        differences = [
            float(np.abs(one.forces - alone[k]).max(initial=0.0))
            for k, one in zip(chosen, together, strict=True)
        ]
        worst[str(size)] = max(differences)
    return worst


def repeats(
    make: Callable[[], StudentForceFieldCalculator], atoms: Atoms, count: int = 10
) -> dict[str, Any]:
    """Evaluate the same input again, also in a new calculator; differences of forces, eV/Å."""
    calculator = make()
    first = calculator.get_forces(atoms)
    worst = 0.0
    for number in range(count):
        calculator.reset()
        again = (calculator if number % 2 else make()).get_forces(atoms)
        worst = max(worst, float(np.abs(again - first).max()))
    return {"evaluations": count, "max_difference_eV_per_A": worst}


def latency(
    calculator: StudentForceFieldCalculator, atoms: Atoms, count: int = 300
) -> dict[str, Any]:
    """Return the times of evaluations of one structure that moves as in MD, ms."""
    frames = _moved(atoms)
    times = []
    for number in range(count + 20):
        start = time.perf_counter()
        calculator.get_forces(frames[number % len(frames)])
        times.append(1e3 * (time.perf_counter() - start))
    measured = np.array(times[20:])
    return {
        "n_atoms": len(atoms),
        "evaluations": count,
        "median_ms": float(np.median(measured)),
        "p95_ms": float(np.percentile(measured, 95)),
        "best_ms": float(measured.min()),
    }


def leak(calculator: StudentForceFieldCalculator, atoms: Atoms, count: int) -> dict[str, Any]:
    """Return the resident memory, MB, every so often over many evaluations."""
    frames = _moved(atoms)
    every = max(1, count // 50)
    evaluations: list[int] = []
    resident: list[float] = []
    for number in range(count + 1):
        if number % every == 0:
            evaluations.append(number)
            resident.append(resident_MB())
        calculator.get_forces(frames[number % len(frames)])
    return {"evaluations": evaluations, "resident_MB": resident}


def memory(student: str, options: Mapping[str, Any], sizes: Sequence[int]) -> dict[str, Any]:
    """Return what a fresh process needs for the largest structure, see :func:`evaluate_large`."""
    question = json.dumps({"student": student, "options": dict(options), "sizes": list(sizes)})
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY_PROBE],
        input=question,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1]
        return {"error": last[:300]}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def evaluate_large(student: str, options: dict[str, Any], sizes: list[int]) -> dict[str, Any]:
    """Evaluate ever larger structures; return times, extensivity and peak memory of the process."""
    calculator = StudentForceFieldCalculator(student, **options)
    rows = []
    for size in sizes:
        atoms = random_structure(calculator.student, size, np.random.default_rng(0))
        start = time.perf_counter()
        energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
        rows.append(
            {
                "n_atoms": size,
                "seconds": time.perf_counter() - start,
                "finite": bool(np.isfinite(energy) and np.isfinite(forces).all()),
                "net_force_eV_per_A": float(np.abs(forces.sum(0)).max()),
            }
        )
    return {"sizes": rows, "peak_MB": peak_MB()}


def single_atoms(student: Loaded, calculator: StudentForceFieldCalculator) -> dict[str, Any]:
    """Return each element's atom alone: its energy, and whether no force acts on it."""
    expected = student.manifest.atomic_energies_eV
    alone = [calculator.evaluate([Atoms(symbol)])[0] for symbol in student.elements]
    return {
        "energies_eV": {
            symbol: got.energy for symbol, got in zip(student.elements, alone, strict=True)
        },
        "finite": bool(all(np.isfinite(got.energy) for got in alone)),
        "forces_zero": not any(got.forces.any() for got in alone),
        "shifts_eV": list(expected),
    }


def devices(student: Loaded, atoms: Atoms, expected: np.ndarray) -> dict[str, Any]:
    """Return the largest difference of a force on each device, eV/Å, or why it has none."""
    import torch

    found: dict[str, Any] = {}
    for device in ("cpu", "cuda"):
        if device == "cuda" and not torch.cuda.is_available():
            found[device] = {"skipped": "torch sees no CUDA device on this machine"}
            continue
        try:
            calculator = StudentForceFieldCalculator(student, device)
            error = float(np.abs(calculator.get_forces(atoms) - expected).max())
            found[device] = {
                "engine": calculator.describe()["engine"],
                "max_force_error_eV_per_A": error,
            }
        except ConfigError as reason:
            found[device] = {"skipped": str(reason)}
    return found


def _moved(atoms: Atoms) -> list[Atoms]:
    rng = np.random.default_rng(0)
    frames = [atoms.copy() for _ in range(8)]
    for frame in frames:
        frame.positions += rng.normal(scale=0.01, size=frame.positions.shape)
    return frames
