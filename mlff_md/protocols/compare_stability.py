"""How long the model's runs stay sound, beside the teacher's from the same starts.

A run is lost when it blows up (not-a-number, ten times the temperature, a step of 1 Å), when a
bond of a molecule differs from its reference by more than 0.5 Å, or, for a periodic structure
without molecules, when a window's g(r) has left the teacher's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlff_md.protocols.bonds import BROKEN_BY_A
from mlff_md.protocols.compare_data import CompareData
from mlff_md.protocols.observables.frames import Frames
from mlff_md.protocols.observables.radial import RadialDistribution
from mlff_md.protocols.observables.topology import Topology, find_topology
from mlff_md.protocols.records import Check, Threshold, Verdict

_WINDOWS = 5


@dataclass(frozen=True)
class Fate:
    """How one run ended: time in ps until it was lost and why; ``None`` if it was not."""

    time_ps: float
    why: str | None


@dataclass(frozen=True, eq=False)
class Survival:
    """Fates of the two runs of each pair, by the number of the pair."""

    model: Mapping[int, Fate]
    teacher: Mapping[int, Fate]
    planned: int
    length_ps: float


def measure(data: CompareData, thresholds: Mapping[str, Threshold]) -> Survival:
    """Find when and how each run was lost."""
    s = data.settings
    reference = data.reference
    topology = find_topology(reference) if reference is not None else None
    lengths = None
    if reference is not None and topology is not None and len(topology.bonds):
        lengths = _lengths(reference.positions[None], topology)[0]
    radial = None
    if reference is not None and reference.pbc.all() and lengths is None:
        radial = RadialDistribution(reference)
    fates: dict[str, dict[int, Fate]] = {"model": {}, "teacher": {}}
    for k in range(s.replicas):
        runs = {part: data.run(part, k) for part in fates}
        for part, frames in runs.items():
            if frames is None:
                continue
            fate = _blown_up(frames, s.timestep_fs)
            if lengths is not None and topology is not None and len(frames):
                fate = min(fate, _broken(frames, topology, lengths), key=lambda f: f.time_ps)
            if radial is not None and runs["teacher"] is not None and len(runs["teacher"]):
                limit = thresholds["rdf_window"].value
                fate = min(
                    fate,
                    _molten(frames, runs["teacher"], radial, limit),
                    key=lambda found: found.time_ps,
                )
            fates[part][k] = fate
    return Survival(fates["model"], fates["teacher"], s.replicas, s.length_ps)


def check(survival: Survival, thresholds: Mapping[str, Threshold]) -> Check:
    """Whether the model's runs survive, at least where the teacher's do."""
    limit = thresholds["survival"]
    common: dict[str, Any] = {
        "id": "survival",
        "title": "The model's runs stay sound",
        "unit": limit.unit,
        "threshold": limit,
        "source": limit.source,
        "blind_to": "what happens after the last step, and at a higher temperature; a bond that "
        "ought to break and does not",
    }
    lost = {k: fate for k, fate in survival.model.items() if fate.why is not None}
    teachers = {k: fate for k, fate in survival.teacher.items() if fate.why is not None}
    parts = [100.0 * min(1.0, f.time_ps / survival.length_ps) for f in survival.model.values()]
    worst = min(parts, default=math.nan)
    verdict: Verdict = "pass"
    summary = (
        f"all {len(survival.model)} runs of {survival.length_ps:g} ps reach their end, no bond lost"
    )
    if lost:
        k, fate = next(iter(lost.items()))
        summary = (
            f"{len(lost)} of {len(survival.model)} runs are lost, the teacher loses "
            f"{len(teachers)}; run {k} at {fate.time_ps:.3g} ps: {fate.why}"
        )
        alone = [k for k in lost if k not in teachers]
        verdict = "fail" if alone and worst < limit.value else "inconclusive"
    elif len(survival.model) < survival.planned:
        verdict = "inconclusive"
        summary = f"only {len(survival.model)} of {survival.planned} runs of the model are there"
        if teachers:
            k, fate = next(iter(teachers.items()))
            summary += f"; the teacher's run {k}: {fate.why}"
    return Check(
        verdict=verdict,
        value=worst,
        summary=summary,
        details={
            "runs": [
                {
                    "pair": k,
                    "model_ps": survival.model[k].time_ps if k in survival.model else None,
                    "model_lost_by": survival.model[k].why if k in survival.model else None,
                    "teacher_ps": fate.time_ps,
                    "teacher_lost_by": fate.why,
                }
                for k, fate in survival.teacher.items()
            ]
        },
        **common,
    )


def _blown_up(frames: Frames, timestep_fs: float) -> Fate:
    time_ps = 1e-3 * timestep_fs * (frames.steps_done if frames.error else frames.steps_planned)
    return Fate(time_ps, frames.error)


def _broken(frames: Frames, topology: Topology, lengths: np.ndarray) -> Fate:
    change = np.abs(_lengths(frames.positions_A, topology) - lengths)
    frame, bond = np.unravel_index(np.argmax(change > BROKEN_BY_A), change.shape)
    if not change[frame, bond] > BROKEN_BY_A:
        return Fate(math.inf, None)
    pair = topology.bonds[bond]
    name = topology.name(pair[None], frames.atoms.numbers)
    longer = change[frame, bond]
    return Fate(
        1e-3 * float(frames.time_fs[frame]), f"the bond {name} is {longer:.2f} Å off its length"
    )


def _molten(run: Frames, teacher: Frames, radial: RadialDistribution, limit_A: float) -> Fate:
    """Compare g(r) of windows of a run with that of the teacher's whole run."""
    if len(run) < 2:
        return Fate(math.inf, None)
    target = radial.measure(teacher)
    for window in np.array_split(np.arange(len(run)), min(_WINDOWS, len(run))):
        part = run.select(slice(int(window[0]), int(window[-1]) + 1))
        away = radial.integral(radial.measure(part) - target)
        if away > limit_A:
            when = 1e-3 * float(part.time_fs[0])
            return Fate(when, f"g(r) has left the teacher's by {away:.2f} Å")
    return Fate(math.inf, None)


def _lengths(positions: np.ndarray, topology: Topology) -> np.ndarray:
    """Return the length of each bond, Å, shape (frames, bonds)."""
    whole = positions + topology.offsets_A
    first, second = topology.bonds.T
    return np.asarray(np.linalg.norm(whole[:, first] - whole[:, second], axis=2))
