"""Energies from text tables: ASE's MDLogger, GROMACS .xvg, OpenMM and other .csv, plain columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlff_md.errors import ConfigError, DataError
from mlff_md.protocols.drift_columns import Column, Roles, roles
from mlff_md.protocols.drift_series import (
    Array,
    EnergySeries,
    check_finite,
    freedom_from_temperature,
    number,
    quantum,
)
from mlff_md.units import BOLTZMANN_EV_PER_K

# What ASE's MDLogger heads its table with: its temperature is 2 K / (3 N k_B) without constraints.
_OF_ASE = {"etot[ev]", "epot[ev]", "ekin[ev]", "t[k]"}


@dataclass(frozen=True)
class _Printed:
    """Numbers of one column as printed, and its unit."""

    tokens: list[str]
    unit: float = 1.0

    @property
    def values(self) -> Array:
        return self.unit * np.array([number(token) for token in self.tokens])

    @property
    def quantum(self) -> float:
        return self.unit * quantum(self.tokens)


def read_table(
    text: str,
    *,
    units: str | None,
    timestep_fs: float | None,
    n_atoms: int | None,
    column: str | None,
) -> tuple[EnergySeries, list[str]]:
    """Return the one run of a table, possibly with restarts in it, and notes on what was taken.

    Parameters
    ----------
    text
        Table with a header: ASE's ``Time[ps] Etot[eV] ...``, ``.xvg`` with legends, or names
        with units in brackets or behind (``time_fs``), separated by commas or blanks.
    units
        Unit of energy, where the header does not tell, or tells one that is unknown.
    timestep_fs, n_atoms
        What the table does not tell.
    column
        Name of the conserved energy, where it is not found by itself.

    Raises
    ------
    DataError
        If there is no header, time or energy, or they are not numbers.
    ConfigError
        If a unit is unknown.
    """
    xvg = re.search(r"^@\s", text, re.M)
    names, rows, notes = _xvg(text) if xvg else _columns(text, column)
    if len(rows) < 2:
        raise DataError(f"the table has {len(rows)} complete rows: too few for a slope")
    columns = [Column.of(name) for name in names]
    role = roles(columns, column)
    times, time_quantum, said = _times(columns, rows, role, timestep_fs)
    notes += said
    if column is not None and role.total is None:
        raise ConfigError(f"there is no column {column!r}; there are {', '.join(names)}")
    kinetic = _energies(columns, rows, role.kinetic, units)
    temperature = None if role.temperature is None else _cells(rows, role.temperature)
    energy_at = role.potential if role.total is None else role.total
    printed = _energies(columns, rows, energy_at, units)
    if printed is None or energy_at is None or (role.total is None and kinetic is None):
        raise DataError(
            f"the table has no total energy, only {', '.join(names)}; name the column (--column)"
        )
    energy, quantity = printed.values, names[energy_at]
    if role.total is None and role.kinetic is not None and kinetic is not None:
        energy, quantity = energy + kinetic.values, f"{quantity} + {names[role.kinetic]}"
    check_finite(times, energy)
    per_atom = columns[energy_at].per_atom
    count = n_atoms or (1 if per_atom else None)
    if count is None:
        count, said = _count(names, kinetic, temperature)
        notes += said
    scale = count if per_atom else 1
    kelvin = None if temperature is None else temperature.values
    motion = None if kinetic is None else scale * kinetic.values
    if motion is None and kelvin is not None:
        motion = 1.5 * count * BOLTZMANN_EV_PER_K * kelvin
    run = EnergySeries(
        times,
        scale * energy,
        motion,
        count,
        timestep_fs,
        scale * printed.quantum,
        time_quantum,
        "unknown",
        quantity,
        temperature_K=kelvin,
    )
    return run, notes


def _times(
    columns: Sequence[Column], rows: list[list[str]], role: Roles, timestep_fs: float | None
) -> tuple[Array, float, list[str]]:
    """Return times and their last digit, fs, and a note where their unit is not told."""
    if role.time is not None:
        clock = _cells(rows, role.time, columns[role.time].time_unit())
        untold = columns[role.time].unit is None
        note = ["times are taken as ps: the table does not say"] if untold else []
        return clock.values, clock.quantum, note
    if role.step is None or timestep_fs is None:
        raise DataError(
            f"the table has no column of times, only {', '.join(c.name for c in columns)}; with a "
            "column of steps pass the time step (--timestep-fs)"
        )
    return timestep_fs * _cells(rows, role.step).values, 0.0, []


def _cells(rows: list[list[str]], at: int, unit: float = 1.0) -> _Printed:
    return _Printed([row[at] for row in rows], unit)


def _energies(
    columns: Sequence[Column], rows: list[list[str]], at: int | None, units: str | None
) -> _Printed | None:
    return None if at is None else _cells(rows, at, columns[at].energy_unit(units))


def _count(
    names: Sequence[str], kinetic: _Printed | None, temperature: _Printed | None
) -> tuple[int, list[str]]:
    """Return the number of atoms as far as kinetic energy and temperature tell, and a note.

    They tell the degrees of freedom, f. ASE's logger takes 3 N where nothing is constrained;
    others take off the total momentum and every rigid bond, so that f alone tells no N.
    """
    asked = "the table does not tell the number of atoms; pass it (--n-atoms)"
    if kinetic is None or temperature is None:
        raise DataError(asked)
    freedom = freedom_from_temperature(
        kinetic.values, temperature.values, kinetic.quantum, temperature.quantum
    )
    if freedom is None or freedom % 3:
        raise DataError(asked)
    count = freedom // 3
    if not {name.lower() for name in names} >= _OF_ASE:
        raise DataError(
            f"{asked}: kinetic energy and temperature tell {freedom} degrees of freedom, of "
            f"{count} atoms (3N), or {count + 1} (3N-3), or more with constraints"
        )
    note = f"{count} atoms, from kinetic energy and temperature; with constraints pass --n-atoms"
    return count, [note]


def _columns(text: str, asked: str | None) -> tuple[list[str], list[list[str]], list[str]]:
    """Return names and rows of a table with a header line; repeated headers are skipped.

    Only the columns that are used have to hold numbers: OpenMM prints progress as ``0.1%`` and
    the time that remains as ``--`` or ``0:12``.
    """
    lines = [line.strip().lstrip("#").strip() for line in text.split("\n")[:-1]]
    lines = [line for line in lines if line]
    comma = sum("," in line for line in lines[:5]) >= min(2, len(lines))
    split = re.compile(r"\s*,\s*" if comma else r"\s+").split
    table = [[word.strip('"') for word in split(line)] for line in lines]
    if table and len(table[0]) > 1 and all(map(_is_number, table[0])):
        raise DataError("the table has no header with the names of its columns")
    # "Total Energy  Kinetic Energy": blanks stand within names where two stand between them.
    headers = [table[0], re.split(r"\s{2,}|\t", lines[0])] if table else []
    for names in headers:
        used = roles([Column.of(name) for name in names], asked).used or range(len(names))
        wide = [words for words in table[1:] if len(words) == len(names) > 1 and words != names]
        rows = [words for words in wide if all(_is_number(words[k]) for k in used)]
        if rows:
            lost = len(wide) - len(rows)
            note = [f"{lost} rows of the table hold no numbers and were left out"] if lost else []
            return names, rows, note
    what = " ".join(headers[0])[:60] if headers else ""
    raise DataError(f"the table has no rows of numbers below a header ({what!r})")


def _xvg(text: str) -> tuple[list[str], list[list[str]], list[str]]:
    """Return names (with units) and rows of a GROMACS .xvg file."""
    axis = re.search(r'@\s+xaxis\s+label\s+"([^"]*)"', text)
    units = re.search(r'@\s+yaxis\s+label\s+"([^"]*)"', text)
    energy = re.search(r"[\[({][^\])}]+[\])}]", units[1]) if units else None
    names = [axis[1] if axis else "Time"]
    for legend in re.findall(r'@\s+s\d+\s+legend\s+"([^"]*)"', text):
        known = "temp" in legend.lower() or energy is None
        names.append(legend if known else f"{legend} {energy[0]}")  # type: ignore[index]
    lines = text.split("\n")[:-1]
    rows = [line.split() for line in lines if line.strip() and line.lstrip()[0] not in "#@&"]
    return names, [row for row in rows if len(row) == len(names)], []


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
