"""The card of a student: its manifest for a person to read. Measured numbers only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlff_md.student.file import Student

_COLUMNS = (
    ("r2", 9, 5),
    ("mae_eV_per_A", 11, 4),
    ("rmse_eV_per_A", 11, 4),
    ("angle_deg", 11, 2),
    ("energy_mae_meV_per_atom", 12, 2),
)


def card(student: Student) -> str:
    """Return the card as plain text; a section without measurements is left out."""
    manifest = student.manifest
    shape = manifest.architecture
    lines = [
        manifest.name,
        "=" * len(manifest.name),
        f"elements    {' '.join(shape.elements)}",
        f"cutoff      {shape.cutoff_A:g} Å, {shape.num_interactions} interactions "
        f"(sees {shape.cutoff_A * shape.num_interactions:g} Å)",
        f"size        {shape.num_parameters:,} parameters ({shape.hidden_dim} scalars, "
        f"{shape.vector_dim} vectors, {shape.quadrupole_dim} quadrupoles, {shape.num_rbf} radial "
        f"functions, networks of {shape.mlp_dim})",
        f"teacher     {' '.join(str(value) for value in manifest.teacher.values())}",
        f"license     {manifest.license}",
        f"sha256      {student.sha256}",
    ]
    training = manifest.training
    if {"num_frames", "num_molecules"} <= set(training):
        lines += [
            "",
            f"trained on  {training['num_frames']:,} frames of {training['num_molecules']:,} "
            "molecules",
        ]
    for name, section in manifest.accuracy.items():
        lines += ["", *_errors(name, section)]
    for name, value in manifest.domain.items():
        lines += ["", f"{name}: {value}"]
    return _plain("\n".join(lines))


def _errors(name: str, section: Mapping[str, Any]) -> list[str]:
    """Return the lines of one measured set: a table over its parts, or a single row."""
    rows = section if "all" in section else {"all": section}
    lines = [
        f"errors against the teacher, {name} set",
        f"  {'':<10}{'R2':>9}{'MAE eV/Å':>11}{'RMSE eV/Å':>11}{'angle deg':>11}"
        f"{'E meV/atom':>12}{'frames':>8}",
    ]
    for part, errors in sorted(rows.items(), key=lambda item: _order(item[0])):
        if not isinstance(errors, Mapping):
            lines.append(f"  {part}: {errors}")
            continue
        numbers = [_number(errors.get(key), width, digits) for key, width, digits in _COLUMNS]
        lines.append(f"  {part:<10}{''.join(numbers)}{errors.get('num_frames', ''):>8}")
    return lines


def _order(part: str) -> tuple[bool, float, str]:
    """Return a key that puts the whole first and temperatures in their order."""
    first = part.split(" ")[0]
    return part != "all", float(first) if first.isdigit() else math.inf, part


def _number(value: object, width: int, digits: int) -> str:
    known = isinstance(value, int | float)
    return f"{value:{width}.{digits}f}" if known else f"{'-':>{width}}"


def _plain(text: str) -> str:
    """Return a text from a file without the control characters that would steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
