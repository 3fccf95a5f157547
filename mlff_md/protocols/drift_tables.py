"""Energies from text tables: ASE's MDLogger, GROMACS .xvg, OpenMM and other .csv, plain columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from mlff_md.errors import ConfigError, DataError
from mlff_md.protocols.drift_series import (
    Array,
    EnergySeries,
    atoms_from_temperature,
    check_finite,
    number,
    quantum,
)
from mlff_md.units import BOLTZMANN_EV_PER_K, KJ_PER_MOL_PER_EV

ENERGY_UNITS: Mapping[str, float] = {
    "ev": 1.0,
    "mev": 1e-3,
    "kj/mol": 1.0 / KJ_PER_MOL_PER_EV,
    "kj/mole": 1.0 / KJ_PER_MOL_PER_EV,
    "kcal/mol": 4.184 / KJ_PER_MOL_PER_EV,
    "kcal/mole": 4.184 / KJ_PER_MOL_PER_EV,
    "hartree": 27.21138602,
    "ha": 27.21138602,
    "ry": 13.60569301,
}
_TIME_UNITS: Mapping[str, float] = {"fs": 1.0, "ps": 1e3, "ns": 1e6}
_TOTAL = ("conserved", "econserv", "hlfpot", "cons qty", "etot", "toteng", "total", "e_tot")
_POTENTIAL = ("epot", "poteng", "potential", "e_pot")
_KINETIC = ("ekin", "kineng", "kinetic", "e_kin")
_UNIT = re.compile(r"[\[({]\s*([^\])}]+?)\s*[\])}]")


def read_table(
    text: str,
    *,
    units: str | None,
    timestep_fs: float | None,
    n_atoms: int | None,
    column: str | None,
) -> EnergySeries:
    """Return the one run of a table, possibly with restarts in it.

    Parameters
    ----------
    text
        Table with a header: ASE's ``Time[ps] Etot[eV] ...``, ``.xvg`` with legends, or names
        with units in parentheses, separated by commas or blanks.
    units
        Unit of energy, where the header does not tell.
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
    names, rows = _xvg(text) if re.search(r"^@\s", text, re.M) else _columns(text)
    if len(rows) < 2:
        raise DataError(f"the table has {len(rows)} complete rows: too few for a slope")
    columns = {name: [row[k] for row in rows] for k, name in enumerate(names)}
    time_name = _find(names, ("time",))
    if time_name is not None:
        unit = _unit_of(time_name) or "ps"
        if unit not in _TIME_UNITS:
            raise ConfigError(f"the unit of time {unit!r} is unknown; use fs, ps or ns")
        times = _TIME_UNITS[unit] * _numbers(columns[time_name])
        time_quantum = _TIME_UNITS[unit] * quantum(columns[time_name])
    else:
        step_name = _find(names, ("step",))
        if step_name is None or timestep_fs is None:
            raise DataError(
                f"the table has no column of times, only {', '.join(names)}; with a column of "
                "steps pass the time step (--timestep-fs)"
            )
        times, time_quantum = timestep_fs * _numbers(columns[step_name]), 0.0
    total_name = _total_name(names, column)
    kinetic_name, potential_name = _find(names, _KINETIC), _find(names, _POTENTIAL)
    temperature = columns.get(_find(names, ("t[k]", "temp")) or "")
    kinetic = None
    if kinetic_name is not None:
        kinetic = _energy_unit(kinetic_name, units) * _numbers(columns[kinetic_name])
    if total_name is not None:
        factor = _energy_unit(total_name, units)
        energy, printed = factor * _numbers(columns[total_name]), columns[total_name]
    elif potential_name is not None and kinetic is not None:
        factor, printed = _energy_unit(potential_name, units), columns[potential_name]
        energy = factor * _numbers(printed) + kinetic
    else:
        raise DataError(
            f"the table has no total energy, only {', '.join(names)}; name the column (--column)"
        )
    check_finite(times, energy)
    per_atom = "/n" in (total_name or potential_name or "").lower()
    count = n_atoms or _count(kinetic, temperature, per_atom=per_atom)
    if count is None:
        raise DataError("the table does not tell the number of atoms; pass it (--n-atoms)")
    scale = count if per_atom else 1
    if kinetic is None and temperature is not None:
        kinetic = 1.5 * count / scale * BOLTZMANN_EV_PER_K * _numbers(temperature)
    return EnergySeries(
        times,
        scale * energy,
        None if kinetic is None else scale * kinetic,
        count,
        timestep_fs,
        scale * factor * quantum(printed),
        time_quantum,
        "unknown",
        total_name or f"{potential_name} + {kinetic_name}",
    )


def _total_name(names: Sequence[str], asked: str | None) -> str | None:
    if asked is None:
        return next((found for word in _TOTAL if (found := _find(names, (word,)))), None)
    found = next((name for name in names if asked.lower() in name.lower()), None)
    if found is None:
        raise ConfigError(f"there is no column {asked!r}; there are {', '.join(names)}")
    return found


def _count(kinetic: Array | None, temperature: list[str] | None, *, per_atom: bool) -> int | None:
    """Return the number of atoms as far as the table tells; any does for energies per atom."""
    if per_atom:
        return 1
    if kinetic is None or temperature is None:
        return None
    return atoms_from_temperature(kinetic, _numbers(temperature))


def _columns(text: str) -> tuple[list[str], list[list[str]]]:
    """Return names and rows of a table with a header line; repeated headers are skipped."""
    lines = [line.strip().lstrip("#").strip() for line in text.split("\n")[:-1]]
    lines = [line for line in lines if line]
    comma = sum("," in line for line in lines[:5]) >= min(2, len(lines))
    split = re.compile(r"\s*,\s*" if comma else r"\s+").split
    table = [[word.strip('"') for word in split(line)] for line in lines]
    rows = [words for words in table if len(words) > 1 and all(map(_is_number, words))]
    if table and table[0] in rows:
        raise DataError("the table has no header with the names of its columns")
    width = len(rows[0]) if rows else 0
    # "Total Energy  Kinetic Energy": blanks stand within names where two stand between them.
    headers = [table[0], re.split(r"\s{2,}|\t", lines[0])] if table else []
    names = next((words for words in headers if len(words) == width), None)
    if names is None:
        what = " ".join(headers[0])[:60] if headers else ""
        raise DataError(f"the table has no rows of numbers below a header ({what!r})")
    return names, [words for words in rows if len(words) == width]


def _xvg(text: str) -> tuple[list[str], list[list[str]]]:
    """Return names (with units) and rows of a GROMACS .xvg file."""
    axis = re.search(r'@\s+xaxis\s+label\s+"([^"]*)"', text)
    units = re.search(r'@\s+yaxis\s+label\s+"([^"]*)"', text)
    energy = _UNIT.search(units[1]) if units else None
    names = [axis[1] if axis else "Time (ps)"]
    for legend in re.findall(r'@\s+s\d+\s+legend\s+"([^"]*)"', text):
        known = "temp" in legend.lower() or energy is None
        names.append(legend if known else f"{legend} ({energy[1]})")  # type: ignore[index]
    lines = text.split("\n")[:-1]
    rows = [line.split() for line in lines if line.strip() and line.lstrip()[0] not in "#@&"]
    return names, [row for row in rows if len(row) == len(names)]


def _find(names: Sequence[str], words: Sequence[str]) -> str | None:
    return next((name for word in words for name in names if word in name.lower()), None)


def _unit_of(name: str) -> str | None:
    found = _UNIT.search(name)
    return found[1].lower() if found else None


def _energy_unit(name: str, asked: str | None) -> float:
    unit = (_unit_of(name) or asked or "").lower()
    if unit not in ENERGY_UNITS:
        known = "eV, kJ/mol, kcal/mol, hartree"
        what = f"the unit {unit!r} is unknown" if unit else f"the column {name!r} tells no unit"
        raise ConfigError(f"{what}; say which it is (--units): {known}")
    return ENERGY_UNITS[unit]


def _numbers(tokens: Sequence[str]) -> Array:
    return np.array([number(token) for token in tokens])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
