"""Do LAMMPS and the ASE calculator say the same of one structure? Energy, forces, pressure."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, DataError
from mlff_md.lammps.deck import write_deck
from mlff_md.lammps.launcher import (
    choose_build,
    execute,
    prepare,
    read_deck,
    styles_of,
    with_attach,
)
from mlff_md.units import KJ_PER_MOL_PER_EV

if TYPE_CHECKING:
    from ase import Atoms

BAR_PER_EV_A3 = 1602176.6208
"""1 eV/Å^3 in bar."""

_STARTS = ("minimize", "rerun", "run", "temper", "tad", "neb", "prd")
"""Commands at which the start of a deck is over."""

_WRITERS = (
    *("dump", "dump_modify", "log", "print", "restart", "undump"),
    *("write_data", "write_dump", "write_restart"),
)
"""Commands that are left out, since they would write over what the deck's own run wrote."""

_KCAL_PER_EV = KJ_PER_MOL_PER_EV / 4.184
_BAR_PER_UNIT = {"metal": 1.0, "real": 1.01325}

_PROBE = """
compute mlff_parity all pressure NULL virial
thermo_style custom step pe {columns}
thermo_modify line one norm no
dump mlff_parity all custom 1 {dump} id type x y z fx fy fz
dump_modify mlff_parity sort id format float %.17g
run 0
print "energy $(pe:%.17g) virial {printed}" file {values}
print "box $(xlo:%.17g) $(ylo:%.17g) $(zlo:%.17g) $(lx:%.17g) $(ly:%.17g) $(lz:%.17g) &
$(xy:%.17g) $(xz:%.17g) $(yz:%.17g)" append {values}
"""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What LAMMPS says of the state in which a deck begins.

    Attributes
    ----------
    types, positions, forces
        Sorted by id: ``int [N]``, ``float64 [N, 3]`` in Å and eV/Å.
    cell, periodic
        ``float64 [3, 3]``, Å, and ``bool [3]``.
    energy
        eV.
    pressure_bar
        Without the kinetic part, ``[6]``: xx yy zz xy xz yz.
    elements
        Of the types, from ``pair_coeff``.
    lammps
        Which LAMMPS it was.
    """

    types: NDArray[np.int64]
    positions: NDArray[np.float64]
    forces: NDArray[np.float64]
    cell: NDArray[np.float64]
    periodic: NDArray[np.bool_]
    energy: float
    pressure_bar: NDArray[np.float64]
    elements: tuple[str, ...]
    lammps: str

    def atoms(self) -> Atoms:
        """Return the structure."""
        from ase import Atoms

        symbols = [self.elements[kind - 1] for kind in self.types]
        return Atoms(symbols, self.positions, cell=self.cell, pbc=self.periodic)


@dataclass(frozen=True)
class Parity:
    """How far LAMMPS and the ASE calculator are apart.

    Attributes
    ----------
    force_eV_per_A
        Largest difference of a component.
    energy_eV_per_atom
        Difference.
    pressure
        Largest difference of a component, as a part of the largest component; ``None`` unless the
        structure is periodic in all directions.
    n_atoms
        Number of atoms.
    """

    force_eV_per_A: float
    energy_eV_per_atom: float
    pressure: float | None
    n_atoms: int


def evaluate_structure(
    atoms: Atoms,
    *,
    model: str = "tiny",
    style: str = "python",
    engine: str = "auto",
    dtype: str = "float32",
    lmp: str | None = None,
    own_python: bool = False,
    ranks: int = 1,
) -> Evaluated:
    """Evaluate a structure in LAMMPS; as for :func:`mlff_md.lammps.deck.write_deck`.

    Raises
    ------
    MlffError
        If it cannot be evaluated.
    """
    with tempfile.TemporaryDirectory(prefix="mlff-md-") as folder:
        deck = write_deck(
            atoms,
            folder,
            model=model,
            style=style,
            engine=engine,
            dtype=dtype,
            ensemble="none",
            ranks=ranks,
        )
        return evaluate_deck(deck, lmp=lmp, own_python=own_python, ranks=ranks)


def evaluate_deck(
    deck: str | Path,
    *,
    lmp: str | None = None,
    own_python: bool = False,
    ranks: int = 1,
) -> Evaluated:
    """Evaluate the state in which a deck begins: what stands before its first run.

    Parameters
    ----------
    deck
        The deck. Its dumps, logs and restarts are not written.
    lmp, own_python, ranks
        As for :func:`mlff_md.lammps.launcher.run_deck`.

    Raises
    ------
    ConfigError
        If LAMMPS cannot run it; the message holds LAMMPS' own.
    DataError
        If what it wrote cannot be read.
    """
    deck = Path(deck)
    build = choose_build(styles_of(deck), lmp, own_python)
    with tempfile.TemporaryDirectory(prefix="mlff-md-") as name:
        folder = Path(name)
        start = folder / "start.lmp"
        text = with_attach(_until_first_run(read_deck(deck)), build)
        start.write_text(text + _probe(folder), encoding="utf-8")
        log = folder / "log.lammps"
        launch = prepare(start, build, ranks=ranks, log=log)
        trouble = execute(launch, deck.resolve().parent)
        if trouble:
            raise ConfigError(f"LAMMPS stopped: {trouble}")
        told = log.read_text(encoding="utf-8", errors="replace")
        return _read(folder, told, f"{build.path.name} of {build.version}")


def compare(evaluated: Evaluated, calculator: Any) -> Parity:
    """Compare with an ASE calculator.

    Raises
    ------
    StructureError
        If the calculator cannot evaluate the structure.
    """
    atoms = evaluated.atoms()
    atoms.calc = calculator
    forces = np.abs(atoms.get_forces() - evaluated.forces).max()
    energy = abs(atoms.get_potential_energy() - evaluated.energy) / len(atoms)
    pressure = None
    if evaluated.periodic.all():
        mine = -atoms.get_stress()[[0, 1, 2, 5, 4, 3]] * BAR_PER_EV_A3
        largest = float(np.abs(mine).max())
        pressure = float(np.abs(mine - evaluated.pressure_bar).max()) / max(largest, 1.0)
    return Parity(float(forces), float(energy), pressure, len(atoms))


def is_deck(path: Path) -> bool:
    """Return whether a file is a LAMMPS deck rather than a structure."""
    if path.suffix == ".lmp" or path.name.startswith("in."):
        return True
    return path.is_file() and b"\npair_style" in path.read_bytes()[:100_000]


def _until_first_run(text: str) -> str:
    """Return the commands before the first run, without those that write files."""
    kept = []
    for line in re.sub(r"&[ \t]*\n", " ", text).splitlines():
        command = line.split("#")[0].split()
        if command and command[0] in _STARTS:
            break
        if not command or command[0] not in _WRITERS:
            kept.append(line)
    return "\n".join(kept)


def _probe(folder: Path) -> str:
    names = [f"c_mlff_parity[{k}]" for k in range(1, 7)]
    return _PROBE.format(
        columns=" ".join(names),
        printed=" ".join(f"$({name}:%.17g)" for name in names),
        dump=folder / "forces",
        values=folder / "values",
    )


def _read(folder: Path, log: str, lammps: str) -> Evaluated:
    units = re.findall(r"^units\s+(\w+)", log, re.M)
    if not units or units[-1] not in _BAR_PER_UNIT:
        raise ConfigError("parity needs a deck in units metal or real")
    per_eV = _KCAL_PER_EV if units[-1] == "real" else 1.0
    maps = re.findall(r"^pair_coeff\s+\*\s+\*\s+(.*)", log, re.M)
    try:
        values = (folder / "values").read_text(encoding="utf-8").split()
        numbers = [float(word) for word in values if re.match(r"[-+.\d]", word)]
        energy, virial, box = numbers[0], np.array(numbers[1:7]), numbers[7:]
        dump = (folder / "forces").read_text(encoding="utf-8")
        header, _, rows = dump.partition("ITEM: ATOMS")
        flags = header.split("BOX BOUNDS")[1].splitlines()[0].split()
        table = np.array([row.split() for row in rows.splitlines()[1:]], dtype=np.float64)
        types = table[:, 1].astype(np.int64)
        elements = tuple(maps[-1].split()[-int(types.max()) :])
    except (OSError, IndexError, ValueError) as error:
        raise DataError(f"what LAMMPS wrote cannot be read: {error}") from error
    cell = np.diag(box[3:6])
    cell[1, 0], cell[2, 0], cell[2, 1] = box[6:9]
    periodic = np.array([flag == "pp" for flag in flags[-3:]])
    return Evaluated(
        types=types,
        positions=table[:, 2:5],
        forces=table[:, 5:8] / per_eV,
        cell=cell,
        periodic=periodic,
        energy=energy / per_eV,
        pressure_bar=virial * _BAR_PER_UNIT[units[-1]],
        elements=elements,
        lammps=lammps,
    )
