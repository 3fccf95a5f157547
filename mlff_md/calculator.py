"""The ASE calculator of a student."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError

from mlff_md.engines import (
    ExportedStudent,
    Properties,
    evaluate_structures,
    is_exported,
    load_exported,
    make_engine,
)
from mlff_md.engines.lock import one_at_a_time
from mlff_md.errors import StructureError
from mlff_md.limits import check_fits
from mlff_md.student import Student, load_student


class StudentForceFieldCalculator(Calculator):
    """Run a student as an ASE calculator.

    Provides ``energy``, ``free_energy`` (the same), ``energies``, ``forces`` and, for structures
    periodic in all three directions, ``stress``, in ASE's units: eV, Å, eV/Å^3. A model
    evaluation happens only when positions, cell, elements or periodicity have changed. Threads may
    share one: it evaluates one structure after the other. One for each thread is faster.

    Parameters
    ----------
    student
        Name of a shipped student, path of a student file or of an exported one (``.onnx``,
        ``.pt``, ``.pt2``), or a loaded :class:`~mlff_md.student.Student`.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    engine
        ``native``, ``torch``, ``torchscript``, ``onnx``, ``onnx-int8``, ``aoti``, or ``auto``: the
        fastest that this machine has. An exported student has its own engine.
    dtype
        ``float32`` for MD; ``float64`` for checks that need it, at two to three times the cost.
    skin_A
        Neighbors are searched within cutoff + skin and reused until an atom could have come from
        beyond; 0 searches at every step. Results do not depend on it, but for the last digits of
        the native engine from 2048 atoms on, which sorts them in space at each search.
    threads
        Threads of an evaluation. One is fastest for molecules.
    trust
        Whether a ``.pt`` or ``.pt2`` file may be run: such a file is a program and can do anything
        once it is loaded. From Python the sha256 of the file that may be run can be given, too.

    Raises
    ------
    StudentFileError
        If the student cannot be loaded.
    ConfigError
        If an option is unknown or cannot be had on this machine.
    StructureError
        From any evaluation, if the structure has elements unknown to the student, overlapping
        atoms, positions that are not finite, or no atoms.

    Examples
    --------
    >>> from ase.build import molecule
    >>> atoms = molecule("CH3CH2OH")
    >>> atoms.calc = StudentForceFieldCalculator("tiny")
    >>> energy = atoms.get_potential_energy()
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        student: str | os.PathLike[str] | Student | ExportedStudent = "tiny",
        device: str = "cpu",
        *,
        engine: str = "auto",
        dtype: str = "float32",
        skin_A: float = 1.0,
        threads: int = 1,
        trust: bool | str = False,
    ) -> None:
        super().__init__()
        self.student = _loaded(student, trust)
        self.engine = make_engine(
            self.student, engine, device=device, dtype=dtype, threads=threads, skin_A=skin_A
        )
        self._options = {
            "device": device,
            "engine": engine,
            "dtype": dtype,
            "skin_A": skin_A,
            "threads": threads,
        }
        self.n_evaluations = 0
        self._lock = threading.RLock()
        self._state: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as a new calculator with the same options: engines hold native code."""
        return _rebuild, (self.student, self._options)

    def __repr__(self) -> str:
        told = {**self.engine.describe(), "skin_A": self.engine.skin_A}
        options = "".join(f", {name}={value!r}" for name, value in told.items())
        return f"{type(self).__name__}({self.student.name!r}{options})"

    def describe(self) -> Mapping[str, Any]:
        """Return what a report's provenance needs: student, file hash, engine, dtype, device."""
        told: dict[str, Any] = {
            "calculator": type(self).__name__,
            "student": self.student.name,
            "student_sha256": self.student.sha256,
        }
        if isinstance(self.student, ExportedStudent):
            told["parent_sha256"] = self.student.parent_sha256
        return {
            **told,
            "teacher": dict(self.student.manifest.teacher),
            "skin_A": self.engine.skin_A,
            **self.engine.describe(),
        }

    @one_at_a_time
    def evaluate(self, structures: Iterable[Atoms], max_edges: int = 200_000) -> list[Properties]:
        """Evaluate many structures: the torch engines batch, several times faster if small.

        Parameters
        ----------
        structures
            Any mixture of molecules and periodic structures.
        max_edges
            Directed pairs evaluated at once; bounds the memory to about 1.5 GB for ``tiny``. A
            structure that has more goes through alone.

        Returns
        -------
        list of Properties
            In the order of the structures.

        Raises
        ------
        StructureError
            Naming the first structure that cannot be evaluated.
        """
        structures = list(structures)
        for atoms in structures:
            self._warn_of_charge_and_spin(atoms)
            self._check_fits(atoms)
        return evaluate_structures(self.engine, structures, max_edges)

    # From here on: ASE's interface. ASE's own cache compares and copies whole Atoms objects, which
    # costs as much as a small student, so the comparison is done on the four arrays that matter.

    @one_at_a_time
    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = (),
    ) -> None:
        """Evaluate a structure and store all properties in ``results`` (ASE's interface)."""
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise StructureError("the calculator has no structure; set atoms.calc = calculator")
        if self._state is None or not np.array_equal(self._state[0], atoms.numbers):
            self._warn_of_charge_and_spin(atoms)
            self._check_fits(atoms)
        self.reset()
        computed = self.engine.compute(atoms)
        self.n_evaluations += 1
        self.results = {
            "energy": computed.energy,
            "free_energy": computed.energy,
            "energies": computed.energies,
            "forces": computed.forces,
        }
        if computed.stress is not None:
            self.results["stress"] = computed.stress
        self._state = (
            atoms.numbers.copy(),
            atoms.positions.copy(),
            atoms.cell.array.copy(),
            atoms.pbc.copy(),
        )

    @one_at_a_time
    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """Return a property, evaluating only if the structure has changed (ASE's interface)."""
        if name not in self.implemented_properties:
            raise PropertyNotImplementedError(
                f"{name} is not a property of a student; it has "
                f"{', '.join(self.implemented_properties)}"
            )
        if self._state is None or (atoms is not None and not self._is_current(atoms)):
            if not allow_calculation:
                return None
            self.calculate(atoms)
        if name not in self.results:
            raise PropertyNotImplementedError(
                f"{name} needs a structure that is periodic in all three directions"
            )
        value = self.results[name]
        return value.copy() if isinstance(value, np.ndarray) else value

    def calculation_required(self, atoms: Atoms, properties: Sequence[str]) -> bool:
        """Return whether any of the properties would need an evaluation (ASE's interface)."""
        return not self._is_current(atoms) or any(name not in self.results for name in properties)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return which of ASE's names for changes apply (ASE's interface; exact comparison)."""
        names = ("numbers", "positions", "cell", "pbc")
        if self._state is None:
            return list(names)
        return [
            name
            for name, mine, theirs in zip(names, self._state, _arrays(atoms), strict=True)
            if not np.array_equal(mine, theirs)
        ]

    def reset(self) -> None:
        """Forget the last evaluation."""
        self.results = {}
        self._state = None

    @property
    def atoms(self) -> Atoms | None:
        """Copy of the structure that was evaluated last."""
        if self._state is None:
            return None
        numbers, positions, cell, pbc = self._state
        return Atoms(numbers=numbers, positions=positions, cell=cell, pbc=pbc)

    @atoms.setter
    def atoms(self, value: Atoms | None) -> None:
        # ASE's base class assigns this; the state is kept by calculate() alone.
        self._state = None

    @one_at_a_time
    def forget_history(self) -> None:
        """Make the next evaluation depend on its structure alone, not on those before."""
        self.reset()
        self.engine.forget_history()

    def _is_current(self, atoms: Atoms) -> bool:
        if self._state is None:
            return False
        numbers, positions, cell, pbc = self._state
        return (
            np.array_equal(positions, atoms.positions)
            and np.array_equal(numbers, atoms.numbers)
            and np.array_equal(cell, atoms.cell.array)
            and np.array_equal(pbc, atoms.pbc)
        )

    def _check_fits(self, atoms: Atoms) -> None:
        if self._options["device"] == "cpu":
            check_fits(
                atoms,
                self.student.manifest.architecture,
                engine=self.engine.name,
                dtype=str(self._options["dtype"]),
                skin_A=self.engine.skin_A,
            )

    def _warn_of_charge_and_spin(self, atoms: Atoms) -> None:
        # Some packages call the multiplicity "spin": 1 means closed-shell there.
        neutral: dict[str, tuple[int, ...]] = {"charge": (0,), "total_charge": (0,), "uhf": (0,)}
        neutral |= {"spin": (0, 1), "multiplicity": (0, 1)}
        ignored = [
            f"{key}={atoms.info[key]}"
            for key, values in neutral.items()
            if not np.isin(0 if atoms.info.get(key) is None else atoms.info[key], values).all()
        ]
        if atoms.has("initial_charges") and abs(atoms.get_initial_charges().sum()) > 1e-6:
            ignored.append(f"initial charges summing to {atoms.get_initial_charges().sum():g} e")
        if atoms.has("initial_magmoms") and np.abs(atoms.get_initial_magnetic_moments()).any():
            ignored.append("initial magnetic moments")
        if ignored:
            warnings.warn(
                f"{self.student.name} knows neither charge nor spin and ignores "
                f"{', '.join(ignored)}: it sees a neutral closed-shell structure",
                stacklevel=3,
            )


def _loaded(
    student: str | os.PathLike[str] | Student | ExportedStudent, trust: bool | str
) -> Student | ExportedStudent:
    if isinstance(student, Student | ExportedStudent):
        return student
    return load_exported(student, trust) if is_exported(student) else load_student(student)


def _rebuild(
    student: Student | ExportedStudent, options: Mapping[str, Any]
) -> StudentForceFieldCalculator:
    return StudentForceFieldCalculator(student, **options)


def _arrays(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc
