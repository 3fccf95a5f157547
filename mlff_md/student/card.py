"""The card of a student: its manifest for a person to read. Measured numbers only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlff_md.student.file import Student

_COLUMNS = (
    ("r2", 9, 5),
    ("mae_eV_per_A", 11, 4),
    ("rmse_eV_per_A", 11, 4),
    ("angle_deg", 11, 2),
    ("energy_mae_meV_per_atom", 12, 2),
)
_WIDTH = 96


def card(student: Student) -> str:
    """Return the card as plain text; what the manifest does not say is left out."""
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
    lines += _safely(_use, manifest.use)
    lines += _safely(_training, manifest.training)
    lines += _safely(_accuracy, manifest.accuracy, shape.elements)
    lines += _safely(_nve, manifest.nve)
    lines += _safely(_robustness, manifest.robustness)
    lines += _safely(_speed, manifest.speed)
    lines += _safely(_domain, manifest.domain)
    return _plain("\n".join(lines))


def _use(section: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for title, key in (("for", "intended"), ("not for", "limits")):
        if section.get(key):
            lines += ["", *_wrapped(f"{title:<12}{section[key]}")]
    return lines


def _training(section: Mapping[str, Any]) -> list[str]:
    if not {"num_frames", "num_molecules"} <= set(section):
        return []
    kinds = "kinds of periodic structures" if section.get("periodic") is True else "structures"
    return [
        "",
        f"trained on  {section['num_frames']:,} frames of {section['num_molecules']:,} {kinds}",
    ]


def _accuracy(section: Mapping[str, Any], elements: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for name, measured in section.items():
        lines += ["", *_errors(name, measured, elements)]
    return lines


def _errors(name: str, section: Mapping[str, Any], elements: Sequence[str]) -> list[str]:
    """Return the lines of one measured set: a table over its parts, or a single row."""
    rows = section if "all" in section else {"all": section}
    title = f"errors against the teacher, {name} set"
    if rows.get("periodic") is True:
        title += f", {rows['all'].get('num_frames')} periodic frames of other trajectories"
    elif isinstance(rows.get("num_molecules"), int):
        title += f" of {rows['num_molecules']} molecules, held out whole"
    lines = [
        title,
        f"  {'':<10}{'R2':>9}{'MAE eV/Å':>11}{'RMSE eV/Å':>11}{'angle deg':>11}"
        f"{'E meV/atom':>12}{'frames':>8}",
    ]
    parts = [part for part, errors in rows.items() if isinstance(errors, Mapping)]
    for part in sorted(parts, key=lambda part: _order(part, elements)):
        errors = rows[part]
        numbers = [_number(errors.get(key), width, digits) for key, width, digits in _COLUMNS]
        lines.append(f"  {part:<10}{''.join(numbers)}{errors.get('num_frames', ''):>8}")
    return lines


def _nve(section: Mapping[str, Any]) -> list[str]:
    lines = ["", "NVE (mlff-md validate-nve)"]
    for name, run in section.items():
        ci = run.get("drift_meV_per_atom_ps_ci")
        interval = f" ({ci[0]:+.2g} to {ci[1]:+.2g})" if ci else ""
        lines.append(
            f"  {name:<18} drift {run['drift_meV_per_atom_ps']:+.2g}{interval} meV/atom/ps, "
            f"{run['percent_per_100_steps']:.2g} % per 100 steps: {run['verdict']}"
        )
        lines.append(
            f"  {'':<18} {run['n_atoms']} atoms, {run['replicas']} x {run['steps']} steps of "
            f"{run['timestep_fs']:g} fs at {run['temperature_K']:g} K"
        )
    return lines


def _robustness(section: Mapping[str, Any]) -> list[str]:
    short, hot = section["short_range"], section["hot"]
    return [
        "",
        "robustness",
        f"  {short['holes']} holes in {short['scans']} scans of pairs of elements from "
        f"{short['from_A']:g} Å up",
        f"  {hot['whole']} of {hot['molecules']} test molecules whole after {hot['steps']:,} steps "
        f"of {hot['timestep_fs']:g} fs at {hot['temperature_K']:g} K (longest stretch of a bond "
        f"{hot['longest_stretch_A']:.2f} Å)",
    ]


def _speed(section: Mapping[str, Any]) -> list[str]:
    threads = "1 thread" if section["threads"] == 1 else f"{section['threads']} threads"
    return [
        "",
        f"speed on {section['processor']}, {threads}",
        *(
            f"  {row['n_atoms']:>6} atoms  {row['what']:<20} {row['median_ms']:8.3g} ms  "
            f"{row['ns_per_day_at_0.5_fs']:8.3g} ns/day at 0.5 fs"
            for row in section["times"]
        ),
    ]


def _domain(section: Mapping[str, Any]) -> list[str]:
    pairs = ", ".join(f"{pair} {distance:.2f}" for pair, distance in section["shortest_A"].items())
    most = ", ".join(
        f"{symbol} {entry['most_neighbors']}" for symbol, entry in section["elements"].items()
    )
    return [
        "",
        f"domain: what {section['num_frames']:,} training frames hold",
        *_wrapped(f"shortest distances, Å: {pairs}", "  "),
        *_wrapped(f"most neighbors within the cutoff: {most}", "  "),
    ]


def _safely(lines: Any, section: Mapping[str, Any], *more: Any) -> list[str]:
    """Return the lines of a section; one from a stranger's file may lack anything."""
    if not section:
        return []
    try:
        return list(lines(section, *more))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
        name = lines.__name__.removeprefix("_")
        return ["", f"{name}: this section of the file is damaged"]


def _wrapped(text: str, indent: str = "") -> list[str]:
    import textwrap

    hanging = indent or " " * 12
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=hanging)


def _order(part: str, elements: Sequence[str]) -> tuple[int, float, str]:
    """Return a key that puts the whole first, then temperatures and elements in their order."""
    first = part.split(" ")[0]
    if part == "all":
        return 0, 0.0, part
    if part in elements:
        return 2, float(list(elements).index(part)), part
    return 1, float(first) if first.isdigit() else math.inf, part


def _number(value: object, width: int, digits: int) -> str:
    known = isinstance(value, int | float)
    return f"{value:{width}.{digits}f}" if known else f"{'-':>{width}}"


def _plain(text: str) -> str:
    """Return a text from a file without the control characters that would steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
