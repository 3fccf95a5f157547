"""Names of the columns of a table of energies: what each holds, and in which unit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlff_md.errors import ConfigError
from mlff_md.units import KJ_PER_MOL_PER_EV

_HARTREE = 27.21138602
ENERGY_UNITS: Mapping[str, float] = {
    "ev": 1.0,
    "mev": 1e-3,
    "kj/mol": 1.0 / KJ_PER_MOL_PER_EV,
    "kj/mole": 1.0 / KJ_PER_MOL_PER_EV,
    "kcal/mol": 4.184 / KJ_PER_MOL_PER_EV,
    "kcal/mole": 4.184 / KJ_PER_MOL_PER_EV,
    "hartree": _HARTREE,
    "ha": _HARTREE,
    "a.u.": _HARTREE,
    "au": _HARTREE,
    "ry": 13.60569301,
}
TIME_UNITS: Mapping[str, float] = {"fs": 1.0, "ps": 1e3, "ns": 1e6}
_KELVIN = ("k", "kelvin")

_TOTAL = ("conserved", "econserv", "hlfpot", "cons qty", "etot", "toteng", "total", "e_tot")
_POTENTIAL = ("epot", "poteng", "potential", "e_pot", "pot.")
_KINETIC = ("ekin", "kineng", "kinetic", "e_kin", "kin.")
# Times that are not those of the simulation: "Elapsed Time (s)", UsedTime[s], "Time Remaining".
_OTHER_TIMES = ("elapsed", "remaining", "used", "cpu", "wall", "step")
_PER_ATOM = "/atom"

_BRACKETED = re.compile(r"[\[({]\s*([^\])}]+?)\s*[\])}]")
# time_fs, t/ps, etot_eV, Epot/kJ/mol, E_kin_kcal_per_mol: only units that are known, or the N of
# Epot/N would be one.
_BEHIND = re.compile(
    r"^(.*[^\s_/])[\s_/]+(fs|ps|ns|m?ev|k(?:j|cal)(?:/|_per_|_)mole?|hartree|ha|a\.u\.|au|ry|k)$",
    re.I,
)


@dataclass(frozen=True)
class Column:
    """Name of a column as printed, taken apart.

    Attributes
    ----------
    name
        As printed.
    quantity
        The name without the unit, in lower case.
    unit
        In lower case; ``None`` if the name tells none.
    per_atom
        Whether the numbers are divided by the number of atoms.
    """

    name: str
    quantity: str
    unit: str | None
    per_atom: bool = False

    @classmethod
    def of(cls, name: str) -> Column:
        """Take a name apart: ``Etot/N[eV]``, ``Time (ps)``, ``time_fs``, ``E_pot/kJ/mol``."""
        lower = name.lower()
        bracketed, behind = _BRACKETED.search(lower), _BEHIND.match(lower)
        quantity, unit = lower, None
        if bracketed:
            quantity, unit = lower.replace(bracketed[0], " ").strip(), bracketed[1]
        elif behind:
            quantity, unit = behind[1], behind[2].replace("_per_", "/").replace("_", "/")
        per_atom = "/n" in quantity or (unit or "").endswith(_PER_ATOM)
        return cls(name, quantity, unit and unit.removesuffix(_PER_ATOM), per_atom)

    def energy_unit(self, asked: str | None) -> float:
        """Return the unit of energy, eV: that of the name, else the one that is asked for.

        Raises
        ------
        ConfigError
            If neither is known.
        """
        for unit in (self.unit, asked):
            if unit is not None and unit.lower() in ENERGY_UNITS:
                return ENERGY_UNITS[unit.lower()]
        unit = self.unit or asked
        what = (
            f"the unit {unit!r} is unknown" if unit else f"the column {self.name!r} tells no unit"
        )
        raise ConfigError(f"{what}; say which it is (--units): eV, kJ/mol, kcal/mol, hartree")

    def time_unit(self) -> float:
        """Return the unit of time, fs; ps if the name tells none.

        Raises
        ------
        ConfigError
            If it is unknown.
        """
        unit = self.unit or "ps"
        if unit not in TIME_UNITS:
            raise ConfigError(f"the unit of time {unit!r} is unknown; use fs, ps or ns")
        return TIME_UNITS[unit]


@dataclass(frozen=True)
class Roles:
    """Which column holds what; ``None`` where none does."""

    time: int | None
    step: int | None
    total: int | None
    potential: int | None
    kinetic: int | None
    temperature: int | None

    @property
    def used(self) -> list[int]:
        """The columns that have to hold numbers."""
        clock = self.step if self.time is None else self.time
        energy = self.potential if self.total is None else self.total
        return [k for k in (clock, energy, self.kinetic, self.temperature) if k is not None]


def roles(columns: Sequence[Column], asked: str | None) -> Roles:
    """Return which column holds what.

    Parameters
    ----------
    columns
        Of the table.
    asked
        Name, or part of it, of the conserved energy; ``None`` to go by the usual names.
    """
    return Roles(
        time=_first(columns, _is_time),
        step=_find(columns, ("step",)),
        total=_find(columns, _TOTAL) if asked is None else _asked(columns, asked),
        potential=_find(columns, _POTENTIAL),
        kinetic=_find(columns, _KINETIC),
        temperature=_first(columns, _is_temperature),
    )


def _is_time(column: Column) -> bool:
    if any(word in column.quantity for word in _OTHER_TIMES):
        return False
    # A bare T is a temperature as well as a time may be t.
    bare = column.name == "t" or (column.quantity == "t" and column.unit in TIME_UNITS)
    return bare or "time" in column.quantity


def _is_temperature(column: Column) -> bool:
    if column.unit is not None and column.unit not in _KELVIN:
        return False
    return "temp" in column.quantity or (column.quantity == "t" and column.unit in _KELVIN)


def _asked(columns: Sequence[Column], asked: str) -> int | None:
    """Return the column of this name, or of a name that it is part of."""
    wanted = asked.lower()
    exact = _first(columns, lambda column: wanted in (column.name.lower(), column.quantity))
    return exact if exact is not None else _first(columns, lambda c: wanted in c.name.lower())


def _find(columns: Sequence[Column], words: Sequence[str]) -> int | None:
    """Return the column of the first word that stands in a name."""
    hits = (k for word in words for k, column in enumerate(columns) if word in column.quantity)
    return next(hits, None)


def _first(columns: Sequence[Column], suits: Callable[[Column], bool]) -> int | None:
    return next((k for k, column in enumerate(columns) if suits(column)), None)
