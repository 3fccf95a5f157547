"""Robustness of a force field: hot molecules stay whole, and atoms never fall into each other.

``stability`` runs molecules hot and looks for broken bonds; where one breaks the teacher is asked
whether it would let it. :func:`mlff_md.protocols.pair_scans.scan_pairs` scans short distances.
Both results become checks of a report.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md.errors import SimulationError, StructureError
from mlff_md.md import UnstableRunError, evaluate, relax, run_nvt
from mlff_md.progress import Part, Progress, silent
from mlff_md.protocols.bonds import BROKEN_BY_A, find_bonds, stretches
from mlff_md.protocols.pair_scans import PairScan
from mlff_md.protocols.records import Check, Threshold
from mlff_md.protocols.thresholds import THRESHOLDS

if TYPE_CHECKING:
    from ase import Atoms

_LOOK_EVERY = 10
_FRICTION_PER_PS = 10.0
CONFIRMED_WITHIN_EV = 0.5
"""An open bond that costs the teacher at most this much more than the student is its own doing."""


@dataclass(frozen=True, eq=False)
class HotRun:
    """How one molecule fared.

    Attributes
    ----------
    name
        Of the molecule.
    n_atoms
        Its size.
    steps, steps_done
        Planned and made.
    longest_stretch_A
        Largest elongation of any bond over its length in the relaxed structure.
    broken
        ``C3-O7 at step 1230`` for the first bond that opened by 0.5 Å, or ``None``.
    error
        Why the run stopped before its end, or ``None``.
    frame
        The first structure with an open bond, or the last one before the stop.
    student_cost_eV, teacher_cost_eV
        Energy of that structure above the relaxed one, for the force field and for the teacher;
        ``None`` where nothing broke or no teacher was given.
    """

    name: str
    n_atoms: int
    steps: int
    steps_done: int
    longest_stretch_A: float
    broken: str | None = None
    error: str | None = None
    frame: Atoms | None = None
    student_cost_eV: float | None = None
    teacher_cost_eV: float | None = None

    @property
    def confirmed(self) -> bool:
        """Whether the teacher, too, would pay about this much for the open bond."""
        if self.student_cost_eV is None or self.teacher_cost_eV is None:
            return False
        return self.teacher_cost_eV - self.student_cost_eV <= CONFIRMED_WITHIN_EV

    @property
    def survived(self) -> bool:
        """Whether it reached the end with all its bonds, or broke as the teacher would."""
        return self.error is None and (self.broken is None or self.confirmed)


def stability(
    molecules: Sequence[Atoms],
    calculator: Any,
    *,
    teacher: Any = None,
    steps: int = 20_000,
    timestep_fs: float = 0.5,
    temperature_K: float = 600.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[HotRun, ...]:
    """Run each molecule with a Langevin thermostat and look for broken bonds.

    Parameters
    ----------
    molecules
        Molecules without periodicity; ``info["name"]`` names them.
    calculator
        Any ASE calculator.
    teacher
        ASE calculator that is asked about structures with an open bond; none unless given.
    steps, timestep_fs, temperature_K, seed
        Of each run (friction 10/ps); bonds are looked at every tenth step.
    progress
        Told of every step.

    Raises
    ------
    ConfigError, StructureError, SimulationError
        If a molecule cannot be run to begin with. One that blows up is a result.
    """
    told = progress or silent
    told.begin("hot runs", len(molecules) * steps, timestep_fs)
    runs = []
    try:
        for k, atoms in enumerate(molecules):
            start = relax(atoms, calculator)
            part = Part(told, k * steps)
            run = _run(start, calculator, steps, timestep_fs, temperature_K, seed + k, part)
            runs.append(_ask(run, start, calculator, teacher) if run.frame is not None else run)
    finally:
        told.end()
    return tuple(runs)


def _run(
    start: Atoms,
    calculator: Any,
    steps: int,
    timestep_fs: float,
    temperature_K: float,
    seed: int,
    progress: Progress,
) -> HotRun:
    from ase.io import Trajectory

    bonds = find_bonds(start)
    error, done = None, steps
    with tempfile.TemporaryDirectory(prefix="mlff-md-hot-") as folder:
        path = Path(folder) / "run.traj"
        try:
            run_nvt(
                start,
                calculator,
                steps=steps,
                timestep_fs=timestep_fs,
                temperature_K=temperature_K,
                friction_per_ps=_FRICTION_PER_PS,
                seed=seed,
                sample_every=_LOOK_EVERY,
                trajectory=path,
                trajectory_every=_LOOK_EVERY,
                progress=progress,
            )
        except UnstableRunError as stop:
            error, done = str(stop), stop.step
        frames = []
        if path.exists():
            with Trajectory(str(path)) as written:
                frames = [frame.positions for frame in written]
    longer = stretches(bonds, frames)
    open_frames = np.flatnonzero((longer > BROKEN_BY_A).any(axis=1))
    broken = None
    shown: int | None = len(frames) - 1 if error and frames else None
    if len(open_frames):
        shown = int(open_frames[0])
        i, j = bonds.pairs[int(longer[shown].argmax())]
        symbols = start.get_chemical_symbols()
        broken = f"{symbols[i]}{i}-{symbols[j]}{j} at step {shown * _LOOK_EVERY}"
    frame = None
    if shown is not None:
        frame = start.copy()
        frame.positions = frames[shown]
    return HotRun(
        name=str(start.info.get("name", start.get_chemical_formula())),
        n_atoms=len(start),
        steps=steps,
        steps_done=done,
        longest_stretch_A=float(longer.max(initial=0.0)),
        broken=broken,
        error=error,
        frame=frame,
    )


def _ask(run: HotRun, start: Atoms, calculator: Any, teacher: Any) -> HotRun:
    """Add what the open structure costs the force field and, if there is one, the teacher."""
    if teacher is None or run.frame is None:
        return run
    costs: list[float | None] = []
    for judge in (calculator, teacher):
        try:
            costs.append(evaluate(run.frame, judge)[0] - evaluate(start, judge)[0])
        except (SimulationError, StructureError):
            costs.append(None)
    return dataclasses.replace(run, student_cost_eV=costs[0], teacher_cost_eV=costs[1])


def stability_check(
    runs: Sequence[HotRun], thresholds: Mapping[str, Threshold] = THRESHOLDS
) -> Check:
    """Return the check that every molecule stayed whole."""
    limit = thresholds["hot_stability"]
    percent = 100.0 * sum(run.survived for run in runs) / max(len(runs), 1)
    lost = [run for run in runs if not run.survived]
    confirmed = sum(run.broken is not None and run.survived for run in runs)
    if lost:
        first = lost[0]
        summary = f"{len(lost)} of {len(runs)} did not stay whole: {first.name}, "
        summary += first.broken or str(first.error)
    else:
        longest = max((run.longest_stretch_A for run in runs), default=0.0)
        summary = f"all {len(runs)} molecules stayed whole; longest stretch {longest:.2f} Å"
    if confirmed:
        summary += f"; {confirmed} broke as the teacher would have it"
    return Check(
        id="hot_stability",
        title="Hot molecules stay whole",
        verdict="pass" if percent >= limit.value and runs else "fail" if runs else "inconclusive",
        value=percent,
        unit=limit.unit,
        n_eff=float(len(runs)),
        threshold=limit,
        source=limit.source,
        blind_to="reactions slower than the run; a wrong conformation with all its bonds",
        summary=summary,
        details={
            "runs": [
                {
                    "molecule": run.name,
                    "n_atoms": run.n_atoms,
                    "steps_done": run.steps_done,
                    "longest_stretch_A": round(run.longest_stretch_A, 3),
                    "broken": run.broken,
                    "error": run.error,
                    "student_cost_eV": run.student_cost_eV,
                    "teacher_cost_eV": run.teacher_cost_eV,
                }
                for run in runs
            ]
        },
    )


def short_range_check(
    scans: Sequence[PairScan], thresholds: Mapping[str, Threshold] = THRESHOLDS
) -> Check:
    """Return the check that every pair of elements has a wall and no hole."""
    limit = thresholds["short_range"]
    unsound = [scan for scan in scans if not scan.sound]
    summary = f"{len(scans)} scans: energy falls from {_start(scans):g} Å out to the first bond"
    if unsound:
        first = unsound[0]
        where = f"hole at {first.hole_A:.2f} Å" if first.hole_A else f"wall {first.wall_eV:.2g} eV"
        what = where if first.finite else "energy or forces are not finite"
        summary = f"{len(unsound)} of {len(scans)} scans: {first.pair} ({first.context}): {what}"
    return Check(
        id="short_range",
        title="No hole at short distance",
        verdict="inconclusive" if not scans else "pass" if len(unsound) <= limit.value else "fail",
        value=float(len(unsound)),
        unit=limit.unit,
        n_eff=float(len(scans)),
        threshold=limit,
        source=limit.source,
        blind_to="three atoms at once; whether the height of the wall is right",
        summary=summary,
        details={
            "scans": [
                {
                    "pair": scan.pair,
                    "context": scan.context,
                    "first_minimum_A": scan.first_minimum_A,
                    "wall_eV": scan.wall_eV,
                    "hole_A": scan.hole_A,
                    "roughness_eV_per_A": scan.roughness_eV_per_A,
                }
                for scan in scans
            ]
        },
    )


def _start(scans: Sequence[PairScan]) -> float:
    return float(min((scan.distances_A[0] for scan in scans), default=float("nan")))
