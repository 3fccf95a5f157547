"""Energies from LAMMPS logs: thermo tables of every style, with units, norm and fixes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mlff_md.errors import ConfigError, DataError
from mlff_md.protocols.drift_series import EnergySeries, check_finite, number, quantum, told_atoms
from mlff_md.units import BOLTZMANN_EV_PER_K, KJ_PER_MOL_PER_EV

_KCAL = 4.184 / KJ_PER_MOL_PER_EV
_JOULE = 1.0 / 1.6021766208e-19

# Energy in eV, time in fs, temperature in K, default time step in the style's own unit.
# Source: LAMMPS manual, command units. Reduced units are read as argon's.
UNITS: Mapping[str, tuple[float, float, float, float]] = {
    "metal": (1.0, 1000.0, 1.0, 0.001),
    "real": (_KCAL, 1.0, 1.0, 1.0),
    "lj": (0.0103, 2156.0, 0.0103 / BOLTZMANN_EV_PER_K, 0.005),
    "electron": (27.21138602, 1.0, 1.0, 0.001),
    "si": (_JOULE, 1e15, 1.0, 1e-8),
    "cgs": (1e-7 * _JOULE, 1e15, 1.0, 1e-8),
    "nano": (1e-21 * _JOULE, 1e6, 1.0, 0.00045),
}

ARGON_NOTE = (
    "reduced units are read as argon's (epsilon 10.3 meV, tau 2.156 ps); the limits in meV and "
    "ps hold for that"
)

_BATH = re.compile(
    r"^(nvt|npt|nph|langevin|temp/|press/|gle|gjf|nvk|bd|brownian|tgnvt|tgnpt|heat|ttm|"
    r"ipi|rigid/n[vp][tph]|bocs|viscous|efield|drag|spring|deform|move|adapt)"
)
# Those whose exchange of energy is in econserve; Langevin's is where it is tallied.
_COUNTED = re.compile(
    r"^(nvt|npt|nph|temp/|gle|tgnvt|tgnpt|rigid/n[vp][tph]|bocs|langevin.* tally$)"
)
_COMMAND = re.compile(
    r"^(units|timestep|fix|unfix|run|minimize|rerun|thermo_modify|clear)\s+(.*?)(?:#.*)?$"
)
_ATOMS = re.compile(r"^(?:Created|\s*)\s*(\d+) atoms\s*$")
_LOOP = re.compile(r"^Loop time of .* for (\d+) steps with (\d+) atoms")
_MULTI = re.compile(r"^-+\s*Step\s+(\d+)\s*-")
_PAIR = re.compile(r"([A-Za-z_][\w\[\]]*)\s*=\s*(\S+)")


@dataclass
class _Table:
    """One thermo table as printed, and what held while it was."""

    columns: list[str]
    units: str
    timestep: float | None
    normalised: bool
    fixes: dict[str, str]
    command: str
    rows: list[list[str]] = field(default_factory=list)
    n_atoms: int | None = None
    complete: bool = False

    def column(self, *names: str) -> list[str] | None:
        """Return the printed numbers of the first of these columns that is there."""
        for name in names:
            for k, column in enumerate(self.columns):
                if column.lower() == name:
                    return [row[k] for row in self.rows]
        return None


def is_lammps_log(text: str) -> bool:
    """Return whether a text looks like a log of LAMMPS."""
    head = text[:20000]
    return head.startswith("LAMMPS (") or "Per MPI rank memory" in text or bool(_LOOP.search(text))


def read_log(
    text: str, *, units: str | None, timestep_fs: float | None, n_atoms: int | None
) -> tuple[list[EnergySeries], list[str]]:
    """Return the runs of a log, and notes on what was noticed.

    Parameters
    ----------
    text
        The log.
    units
        Unit style, where the log does not hold the command.
    timestep_fs, n_atoms
        Time step and number of atoms, where the log does not tell or tells otherwise.

    Raises
    ------
    DataError
        If the log holds no energies, or they are not numbers.
    ConfigError
        If the unit style cannot be converted.
    """
    if units is not None and units not in UNITS:
        raise ConfigError(f"there are no units {units!r}; there are {', '.join(UNITS)}")
    tables, counted = _tables(text)
    notes = []
    skipped = [table for table in tables if table.command != "run"]
    tables = [table for table in tables if table.command == "run" and len(table.rows) > 1]
    if skipped:
        notes.append(f"{len(skipped)} tables are of no MD run and were left out")
    if not tables:
        raise DataError("the log holds no thermo table of an MD run with two rows or more")
    if not tables[-1].complete:
        notes.append("the log ends in the middle of a run")
    runs = []
    for table in tables:
        style = units or table.units
        if style == "lj" and ARGON_NOTE not in notes:
            notes.append(ARGON_NOTE)
        runs.append(_series(table, style, timestep_fs, n_atoms or table.n_atoms or counted))
    return _joined(runs), notes


def _tables(text: str) -> tuple[list[_Table], int | None]:
    """Take the thermo tables out of a log; also return the number of atoms it was made with."""
    state = {"units": "lj", "command": "run", "norm": ""}
    timestep: float | None = None
    fixes: dict[str, str] = {}
    tables: list[_Table] = []
    atoms: int | None = None
    table: _Table | None = None
    expecting = False
    lines = text.split("\n")
    # What stands behind the last line break was cut off in the middle, digits perhaps.
    for line in lines[:-1]:
        words = line.replace(",", " ").replace("[", " ").replace("]", " ").split()
        loop = _LOOP.match(line)
        command = _COMMAND.match(line)
        if loop and table is not None:
            table.n_atoms, table.complete, table = told_atoms(loop[2]), True, None
        elif line.startswith(("Per MPI rank memory", "Memory usage per processor")):
            expecting, table = True, None
        elif expecting and words and words[0] not in ("---", "WARNING:"):
            names = [word.strip("'\"") for word in words]
            names = names[1:] if names[0] == "keywords:" else names
            multi = _MULTI.match(line)
            normal = state["norm"] or ("yes" if state["units"] == "lj" else "no")
            table = _Table(
                ["Step"] if multi else names,
                state["units"],
                timestep,
                normal == "yes",
                dict(fixes),
                state["command"],
            )
            tables.append(table)
            expecting = False
            if multi:
                table.rows.append([multi[1]])
        elif table is not None:
            _add_row(table, line, words)
        elif command:
            name, rest = command[1], command[2].split()
            if name == "clear":
                fixes.clear()
            elif rest:
                timestep = _follow(name, rest, state, fixes, timestep)
        elif _ATOMS.match(line):
            atoms = told_atoms(_ATOMS.match(line)[1])  # type: ignore[index]
    return tables, atoms


def _follow(
    name: str,
    rest: list[str],
    state: dict[str, str],
    fixes: dict[str, str],
    timestep: float | None,
) -> float | None:
    """Follow one command of the input; return the time step that holds from here on."""
    if name == "units":
        state["units"] = rest[0]
    elif name == "timestep":
        value = number(rest[0])
        return value if value > 0.0 else timestep
    elif name == "fix" and len(rest) > 2:
        tallied = "tally yes" in " ".join(rest)
        fixes[rest[0]] = f"{rest[2]} tally" if tallied else rest[2]
    elif name == "unfix":
        fixes.pop(rest[0], None)
    elif name == "thermo_modify" and "norm" in rest[:-1]:
        state["norm"] = rest[rest.index("norm") + 1]
    elif name in ("run", "minimize", "rerun"):
        state["command"] = name
    return timestep


def _add_row(table: _Table, line: str, words: list[str]) -> None:
    """Add one line of a thermo table, if it is one."""
    multi = _MULTI.match(line)
    if multi:
        table.rows.append([multi[1]])
        return
    pairs = _PAIR.findall(line)
    if pairs and table.columns[0] == "Step" and len(table.rows) > 0 and "=" in line:
        if len(table.rows) == 1:
            table.columns += [name for name, _ in pairs]
        table.rows[-1] += [value for _, value in pairs]
        return
    row = words[1:] if words[:1] == ["-"] else words
    if len(row) == len(table.columns) and all(_is_number(word) for word in row):
        table.rows.append(row)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _series(
    table: _Table, style: str, timestep_fs: float | None, n_atoms: int | None
) -> EnergySeries:
    if style not in UNITS:
        raise ConfigError(
            f"units {style} cannot be converted; say units=... (one of {', '.join(UNITS)})"
        )
    energy_unit, time_unit, kelvin, default_step = UNITS[style]
    table.rows = [row for row in table.rows if len(row) == len(table.columns)]
    step_fs = timestep_fs or time_unit * (table.timestep or default_step)
    steps = table.column("step")
    clock = table.column("time")
    if steps is not None:
        times, time_quantum = step_fs * _numbers(steps), 0.0
    elif clock is not None:
        times, time_quantum = time_unit * _numbers(clock), time_unit * quantum(clock)
    else:
        raise DataError("the log has neither a column Step nor Time; add step to thermo_style")
    if n_atoms is None:
        raise DataError("the log does not tell the number of atoms; pass it (--n-atoms)")
    scale = energy_unit * (n_atoms if table.normalised else 1)
    conserved = table.column("econserve")
    total = conserved or table.column("toteng", "etotal")
    kinetic = _kinetic(table, scale, kelvin, n_atoms)
    if total is None:
        potential = table.column("poteng", "pe")
        if potential is None or kinetic is None:
            raise DataError(
                f"the log has no total energy, only {', '.join(table.columns)}; add etotal to "
                "thermo_style"
            )
        total, energy = potential, scale * _numbers(potential) + kinetic
    else:
        energy = scale * _numbers(total)
    check_finite(times, energy)
    bath, counted = _baths(table, conserved is not None)
    return EnergySeries(
        times,
        energy,
        kinetic,
        n_atoms,
        step_fs,
        scale * quantum(total),
        time_quantum,
        bath,
        "Econserve" if conserved else "TotEng",
        temperature_K=_temperature(table, kelvin),
        counted_bath=counted,
    )


def _baths(table: _Table, conserved: bool) -> tuple[str | None, str | None]:
    """Return the bath that is not in the energy, and the one that the conserved energy counts."""
    if not table.fixes:
        return "unknown", None
    baths = sorted({name for name in table.fixes.values() if _BATH.match(name)})
    told = f"fix {', '.join(baths)}" if baths else None
    if told is None or not conserved:
        return told, None
    missed = [name for name in baths if not _COUNTED.match(name)]
    if not missed:
        return None, told
    # Others may be in the potential energy (fix_modify energy yes); what fluctuates will tell.
    untallied = [name for name in missed if name.startswith("langevin")]
    return (f"fix {', '.join(untallied)} (tally no)" if untallied else "unknown"), None


def _kinetic(table: _Table, scale: float, kelvin: float, n_atoms: int) -> np.ndarray | None:
    kinetic = table.column("kineng", "ke")
    if kinetic is not None:
        return scale * _numbers(kinetic)
    temperature = _temperature(table, kelvin)
    return None if temperature is None else 1.5 * (n_atoms - 1) * BOLTZMANN_EV_PER_K * temperature


def _temperature(table: _Table, kelvin: float) -> np.ndarray | None:
    temperature = table.column("temp", "temperature")
    return None if temperature is None else kelvin * _numbers(temperature)


def _numbers(tokens: Sequence[str]) -> np.ndarray:
    return np.array([number(token) for token in tokens])


def _joined(runs: list[EnergySeries]) -> list[EnergySeries]:
    """Join runs that go on where the one before ended, with the same energy and ensemble."""
    joined = [runs[0]]
    for run in runs[1:]:
        last = joined[-1]
        goes_on = (
            run.time_fs[0] == last.time_fs[-1]
            and abs(run.energy_eV[0] - last.energy_eV[-1]) <= 2.0 * max(run.quantum_eV, 1e-12)
            and _same(run) == _same(last)
        )
        if not goes_on:
            joined.append(run)
            continue
        joined[-1] = replace(
            last,
            time_fs=np.concatenate([last.time_fs, run.time_fs[1:]]),
            energy_eV=np.concatenate([last.energy_eV, run.energy_eV[1:]]),
            kinetic_eV=_after(last.kinetic_eV, run.kinetic_eV),
            temperature_K=_after(last.temperature_K, run.temperature_K),
            quantum_eV=max(last.quantum_eV, run.quantum_eV),
        )
    return joined


def _same(run: EnergySeries) -> tuple[object, ...]:
    """Return what two parts of one run have in common."""
    columns = (run.kinetic_eV is None, run.temperature_K is None)
    return run.n_atoms, run.timestep_fs, run.bath, run.counted_bath, run.quantity, columns


def _after(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    return None if first is None or second is None else np.concatenate([first, second[1:]])
