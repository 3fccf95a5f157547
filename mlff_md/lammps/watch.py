"""The guard of a LAMMPS run: it stops where the student leaves what it was trained on. No torch."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import SimulationError
from mlff_md.guard import Inspector

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_md.engines import Engine
    from mlff_md.student import Student

EVERY = 20
"""Steps between full inspections; energies of atoms are looked at in every step."""


class Watch:
    """Looks at each evaluation of one rank.

    Parameters
    ----------
    student, engine
        What evaluates.
    """

    def __init__(self, student: Student, engine: Engine) -> None:
        # Of an ASE calculator an inspector needs just this.
        self._calculator = SimpleNamespace(student=student, engine=engine, results={})
        self._inspector = Inspector(self._calculator)

    def look(
        self,
        step: int,
        atoms: Atoms,
        energies: NDArray[np.float64],
        ids: Callable[[], NDArray[np.integer]],
    ) -> None:
        """Look at the structure that the engine has just evaluated.

        Parameters
        ----------
        step
            LAMMPS' step.
        atoms, energies
            The structure and the energy of each atom, eV.
        ids
            Returns LAMMPS' ids of the atoms.

        Raises
        ------
        SimulationError
            If the student was not trained on such a thing; one line.
        """
        self._calculator.results["energies"] = energies
        full = step % (EVERY * self._inspector.interval_factor) == 0
        if not full and self._inspector.energies_known(atoms):
            return
        self._inspector.ids = ids()
        findings = self._inspector.inspect(atoms, current=True)
        if findings:
            raise SimulationError(
                f"outside of the training domain at step {step}: {findings[0].text} (the variable "
                "mlff_guard is 'stop')"
            )
