"""Raw numbers of the static protocol in memory, their arithmetic, and how a check is made of one.

Limits come in pairs, for float32 and for float64. Which one applies is what the calculator says of
itself; one that says nothing is held to float64 if its answers are smooth and repeat to nine
digits, else to float32.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlff_md.protocols.records import Check, Threshold, Verdict
from mlff_md.protocols.static_evaluate import Array

Thresholds = Mapping[str, Threshold]

_FLOAT64_NOISE = 1e-9
# Smaller forces are rounding. A shaken structure has thousands of times as much, unless symmetry
# cancels all of it: one atom in a cell.
_NO_FORCE_EV_PER_A = 1e-5
_NO_FORCES = (
    "no force to compare with: all are zero or rounding, as with one atom in a cell; take a larger "
    "cell, or shake the atoms"
)


@dataclass(frozen=True)
class StaticData:
    """Raw numbers of the static protocol.

    Attributes
    ----------
    arrays, text
        ``stage.name`` -> numbers, or words.
    errors
        Stage -> why it could not be made.
    dtype
        What the calculator says that it computes in, if it says so.
    evaluations
        How many evaluations were made.
    """

    arrays: Mapping[str, Array]
    text: Mapping[str, Any]
    errors: Mapping[str, str]
    dtype: str | None
    evaluations: int

    def stage(self, name: str) -> dict[str, Array] | None:
        """Return the numbers of a stage, or ``None`` if it was not made."""
        found = {
            key.partition(".")[2]: value
            for key, value in self.arrays.items()
            if key.partition(".")[0] == name
        }
        return found or None

    def stage_with_forces(self, name: str) -> dict[str, Array] | None:
        """Return a stage that is judged relative to the forces; ``None`` if there are none, too."""
        return None if self.without_forces else self.stage(name)

    @cached_property
    def without_forces(self) -> bool:
        """Whether the forces on the structure are zero but for rounding."""
        balance = self.stage("balance")
        return balance is not None and bool(balance["force_rms_eV_per_A"] < _NO_FORCE_EV_PER_A)

    @cached_property
    def precision(self) -> tuple[str, str]:
        """``float32`` or ``float64``, and how that is known."""
        if self.dtype in ("float32", "float64"):
            return self.dtype, "the calculator says so"
        rough, again = self.stage_with_forces("roughness"), self.stage_with_forces("repeats")
        if rough is None or again is None:
            return "float32", "not known"
        if bool(rough["float32_forces"]):
            return "float32", "all forces are float32 numbers"
        noise = max(
            float(rough["force_noise_eV_per_A"].max() / rough["force_rms_eV_per_A"]),
            float(again["force_change_eV_per_A"].max() / again["force_rms_eV_per_A"]),
        )
        kind = "float64" if noise < _FLOAT64_NOISE else "float32"
        return kind, f"forces carry noise of {noise:.1e} of their size"

    def limit(self, thresholds: Thresholds, name: str) -> Threshold:
        """Return the limit of a check for the arithmetic at work."""
        return thresholds[f"{name}_float64" if self.precision[0] == "float64" else name]


def make_check(
    data: StaticData,
    thresholds: Thresholds,
    name: str,
    title: str,
    blind_to: str,
    value: float,
    summary: str,
    details: Mapping[str, Any] | None = None,
    beyond: float | None = None,
    limit_name: str | None = None,
) -> Check:
    """Judge a value, or what of it stands beyond a floor, by the limit of the arithmetic."""
    limit = data.limit(thresholds, limit_name or name)
    judged = value if beyond is None else beyond
    verdict: Verdict = "inconclusive"
    if math.isfinite(judged):
        verdict = "pass" if judged <= limit.value else "fail"
    kind, why = data.precision
    return Check(
        id=name,
        title=title,
        verdict=verdict,
        value=value,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to=blind_to,
        summary=summary,
        details={**(details or {}), "judged_as": kind, "because": why},
    )


def undecided(check: Check) -> Check:
    """Return a check that passed on what could be evaluated, where something could not."""
    return dataclasses.replace(check, verdict="inconclusive")


def not_measured(
    data: StaticData,
    thresholds: Thresholds,
    name: str,
    stage: str,
    title: str,
    blind_to: str,
    why: str = "",
) -> Check:
    """Return a check without a value, and why the stage that it rests on was not made."""
    limit = data.limit(thresholds, name)
    if not why:
        why = "it was not measured" if data.stage(stage) is None else _NO_FORCES
    return Check(
        id=name,
        title=title,
        verdict="inconclusive",
        value=None,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to=blind_to,
        summary=data.errors.get(stage, why),
    )
