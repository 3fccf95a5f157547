"""Restart: a run that was cut off and goes on must be the run that was not, to the last bit.

The same start is run twice: in one go, and cut off half way, with another structure evaluated in
between as after any interruption. What differs at the end has forces that depend on more than the
positions, such as the last electron density, and a trajectory that nobody can make again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import SimulationError, StructureError
from mlff_md.md import evaluate, run_nve
from mlff_md.progress import Part, Progress, silent
from mlff_md.protocols.raw import RESTART_FILE, read_arrays, write_arrays
from mlff_md.protocols.records import Check, Threshold

if TYPE_CHECKING:
    from ase import Atoms

_SHAKE_A = 0.05


def run(
    raw: Path,
    start: Atoms,
    calculator: Any,
    *,
    timestep_fs: float,
    steps: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run the start in one go and in two; return the entry for the record.

    Parameters
    ----------
    raw
        Folder that gets ``restart.npz``.
    start
        Structure with momenta.
    calculator
        Any ASE calculator.
    timestep_fs
        Time step, fs.
    steps
        Steps of the run; it is cut off at half of them.
    progress
        Told of every step.
    """
    told = progress or silent
    half = steps // 2
    entry: dict[str, Any] = {"steps": 2 * half, "cut_at": half, "error": None, "file": RESTART_FILE}
    told.begin("restart", 4 * half)
    arrays: dict[str, NDArray[np.float64]] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="mlff-md-restart-") as scratch:
            common: dict[str, Any] = {
                "timestep_fs": timestep_fs,
                "temperature_K": None,
                "checkpoint_every": half,
                "checkpoint_s": 0.0,
            }
            whole = run_nve(
                start,
                calculator,
                steps=2 * half,
                restart=Path(scratch, "whole"),
                progress=told,
                **common,
            )
            cut = Path(scratch, "cut")
            later = Part(told, 2 * half)
            run_nve(start, calculator, steps=half, restart=cut, progress=later, **common)
            other = start.copy()
            other.rattle(_SHAKE_A, seed=1)
            evaluate(other, calculator)
            resumed = run_nve(
                start,
                calculator,
                steps=2 * half,
                restart=cut,
                resume=True,
                progress=later,
                **common,
            )
        for name, made in (("whole", whole), ("resumed", resumed)):
            arrays[f"positions_A.{name}"] = made.atoms.positions
            arrays[f"energy_eV.{name}"] = made.total_energy_eV
    except (SimulationError, StructureError) as error:
        entry["error"] = str(error)
    finally:
        told.end()
    write_arrays(raw / RESTART_FILE, arrays)
    return entry


def check(raw: Path, record: Mapping[str, Any], thresholds: Mapping[str, Threshold]) -> Check:
    """Return how far the run that went on ends from the one that was not cut off."""
    limit = thresholds["restart"]
    entry = record.get("restart")
    arrays = read_arrays(raw / RESTART_FILE) if entry and entry["error"] is None else {}
    common: dict[str, Any] = {
        "id": "restart",
        "title": "A run that was cut off goes on to the same end",
        "unit": limit.unit,
        "threshold": limit,
        "source": limit.source,
        "blind_to": "another machine, another number of threads, another version of a library",
    }
    try:
        ends = [arrays[f"positions_A.{name}"] for name in ("whole", "resumed")]
        energies = [arrays[f"energy_eV.{name}"] for name in ("whole", "resumed")]
    except KeyError:
        why = entry["error"] if entry else "the run was cut off before this was made"
        return Check(**common, verdict="inconclusive", value=None, summary=str(why))
    apart = float(np.abs(ends[0] - ends[1]).max())
    same = apart <= limit.value
    equal = np.array_equal(*ends) and np.array_equal(*energies)
    where = f"cut off at step {entry['cut_at']} of {entry['steps']}" if entry else ""
    what = "equal to the last bit" if equal else f"the ends are {apart:.1e} Å apart"
    return Check(
        **common, verdict="pass" if same else "fail", value=apart, summary=f"{where}: {what}"
    )
