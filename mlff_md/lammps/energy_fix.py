"""The ``fix external`` through which a student's energy reaches LAMMPS. No torch.

``pair_style python`` could return energies only pair by pair, which loses that of an atom without
neighbors and is scaled by ``special_bonds``. LAMMPS calls the fix after each force evaluation; it
reports what the students of that evaluation found, and nothing where there was none, so no energy
outlives its pair style.
"""

from __future__ import annotations

import ctypes
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mlff_md.lammps.ctypes_lammps import CALLBACK, Lammps

FIX_ID = "mlff_md"


class EnergyFix:
    """One LAMMPS' fix, shared by all students in it."""

    _known: ClassVar[dict[int, EnergyFix]] = {}

    def __init__(self, lammps: Lammps) -> None:
        self._lammps = lammps
        # LAMMPS keeps the bare pointer: the object has to live as long as this one.
        self._callback = CALLBACK(self._after_forces)
        self._energy, self._virial = 0.0, np.zeros(6)
        self._energies: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, lammps: Lammps) -> EnergyFix:
        """Return the fix of a LAMMPS; there is one for each."""
        return cls._known.setdefault(lammps.handle.value or 0, cls(lammps))

    def define(self) -> None:
        """Make the fix in LAMMPS, unless it is there."""
        if self.exists():
            return
        self._forget()
        lammps = self._lammps
        lammps.command(f"fix {FIX_ID} all external pf/callback 1 1")
        lammps.command(f"fix_modify {FIX_ID} energy yes virial yes")
        # A caller of NULL means in new LAMMPS that there is no callback.
        lammps.library.lammps_set_fix_external_callback(
            lammps.handle, FIX_ID.encode(), self._callback, lammps.handle
        )

    def exists(self) -> bool:
        """Return whether LAMMPS has it (``clear`` and ``unfix`` remove it)."""
        return self._lammps.has("fix", FIX_ID)

    def report(
        self, energy: float, virial: NDArray[np.float64], energies: NDArray[np.float64]
    ) -> None:
        """Add to what the next call hands over, in LAMMPS' units.

        Parameters
        ----------
        energy
            Of all ranks.
        virial
            ``[6]``, this rank's, xx yy zz xy xz yz.
        energies
            ``[n_local]``, of each atom.
        """
        self._energy += energy
        self._virial += virial
        self._energies = energies if self._energies is None else self._energies + energies

    def _forget(self) -> None:
        self._energy, self._virial, self._energies = 0.0, np.zeros(6), None

    def _after_forces(
        self, _caller: int, _step: int, n_local: int, _ids: int, _x: int, forces: int
    ) -> None:
        # An exception here would be printed and passed over, so nothing is done that could fail.
        library, handle, name = self._lammps.library, self._lammps.handle, FIX_ID.encode()
        if n_local and forces:
            # LAMMPS adds this memory to the forces, and has never cleared it.
            first = ctypes.c_void_p.from_address(forces).value
            if first:
                ctypes.memset(first, 0, 24 * n_local)
        energies = self._energies
        if energies is None or len(energies) != n_local:
            energies = np.zeros(n_local)
        library.lammps_fix_external_set_energy_global(handle, name, self._energy)
        library.lammps_fix_external_set_virial_global(handle, name, self._virial.ctypes.data)
        library.lammps_fix_external_set_energy_peratom(handle, name, energies.ctypes.data)
        self._forget()
