"""Two atoms pushed together and pulled apart: there must be a wall, and no hole behind it.

A network knows nothing of distances that it never saw. MD at high temperature, a bad start or a
minimiser does: one hole below the bond length, and two atoms fall into each other. The scans push
every pair of elements together, alone and as the bond of a small closed-shell molecule (ethane for
C-C, methylamine for C-N, ...).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError
from mlff_md.protocols.predictions import predict

if TYPE_CHECKING:
    from ase import Atoms

SHORTEST_BOND = 0.70
"""Least distance, as a part of the sum of the covalent radii, at which a minimum can be a bond.

The tightest bonds there are stand at 0.77 (N2: 1.10 of 1.42 Å) and 0.79 (C2H2, CO) of the sums of
Cordero et al., Dalton Trans. 2008, 2832; a minimum further in is a hole."""

LEAST_WALL_EV = 3.0
"""Least height of the wall, eV, from the first minimum up to the start of the scan: no collision
below 10,000 K passes it."""

_TETRAHEDRAL_COSINE = -1.0 / 3.0
_HYDROGENS = {"B": 2, "C": 3, "N": 2, "O": 1, "Si": 3, "P": 2, "S": 1}


@dataclass(frozen=True, eq=False)
class PairScan:
    """Energy and force along the distance of two atoms.

    Attributes
    ----------
    symbols
        The two elements.
    context
        ``diatomic``, or the formula of the molecule whose bond is scanned.
    distances_A
        Shape (n,), ascending.
    energies_eV
        Shape (n,).
    forces_eV_per_A
        Shape (n,): the pull along the axis, positive where it drives the two apart.
    largest_force_eV_per_A
        Largest force component on any atom of any point.
    """

    symbols: tuple[str, str]
    context: str
    distances_A: NDArray[np.float64]
    energies_eV: NDArray[np.float64]
    forces_eV_per_A: NDArray[np.float64]
    largest_force_eV_per_A: float

    @property
    def pair(self) -> str:
        """Name of the pair, such as ``C-O``."""
        return "-".join(self.symbols)

    @property
    def finite(self) -> bool:
        """Whether all energies and forces are numbers."""
        return math.isfinite(self.largest_force_eV_per_A) and bool(
            np.isfinite(self.energies_eV).all()
        )

    @property
    def first_minimum_A(self) -> float:
        """Where the energy first stops falling on the way out, Å; ``inf`` if it never does.

        Steps of less than 0.1 meV are rounding, and the flat end beyond the cutoff.
        """
        rising = np.flatnonzero(np.diff(self.energies_eV) > 1e-4)
        return float(self.distances_A[rising[0]]) if len(rising) else math.inf

    @property
    def wall_eV(self) -> float:
        """Energy at the shortest distance above the first minimum, eV."""
        outside = self.distances_A >= min(self.first_minimum_A, float(self.distances_A[-1]))
        return float(self.energies_eV[0] - self.energies_eV[outside][0])

    @property
    def hole_A(self) -> float | None:
        """Distance of a minimum that is no bond, Å, or ``None`` if there is no such hole."""
        least = SHORTEST_BOND * sum(_covalent_radius(symbol) for symbol in self.symbols)
        return self.first_minimum_A if self.first_minimum_A < least else None

    @property
    def sound(self) -> bool:
        """Whether everything is finite, the wall stands and there is no hole."""
        return self.finite and self.hole_A is None and self.wall_eV >= LEAST_WALL_EV

    @property
    def roughness_eV_per_A(self) -> float:
        """Largest difference of the force from the slope of the energy outside 0.7 bonds, eV/Å.

        The force over two steps (Simpson's rule) against the difference of the energies: what is
        left of a smooth curve is of fourth order in the step.
        """
        energy, force, step = self.energies_eV, self.forces_eV_per_A, np.diff(self.distances_A)[0]
        slope = (energy[2:] - energy[:-2]) / (2.0 * step)
        mean = (force[:-2] + 4.0 * force[1:-1] + force[2:]) / 6.0
        least = SHORTEST_BOND * sum(_covalent_radius(symbol) for symbol in self.symbols)
        outside = self.distances_A[1:-1] > least
        return float(np.abs(slope + mean)[outside].max(initial=0.0))


def scan_pairs(
    calculator: Any,
    elements: Sequence[str],
    *,
    start_A: float = 0.4,
    stop_A: float = 6.0,
    step_A: float = 0.01,
    molecules: bool = True,
) -> tuple[PairScan, ...]:
    """Scan the distance of every pair of elements.

    Parameters
    ----------
    calculator
        Any ASE calculator.
    elements
        Chemical symbols.
    start_A, stop_A, step_A
        Distances, Å. Go beyond the cutoff: the energy must stay smooth there as well.
    molecules
        Whether to scan each pair as a bond of a molecule too.

    Raises
    ------
    ConfigError
        If the distances make no scan.
    """
    if not (0.0 < start_A < stop_A and 0.0 < step_A < stop_A - start_A):
        raise ConfigError(
            f"a scan needs 0 < start < stop and a smaller step, got {start_A}, {stop_A}, {step_A}"
        )
    distances = np.arange(start_A, stop_A + 0.5 * step_A, step_A)
    scans = []
    for first, second in itertools.combinations_with_replacement(elements, 2):
        shapes = [_pair(first, second, hydrogens=False)]
        molecule = _pair(first, second, hydrogens=True)
        if molecules and len(molecule) > 2:
            shapes.append(molecule)
        scans += [_scan(shape, calculator, distances) for shape in shapes]
    return tuple(scans)


def _scan(shape: Atoms, calculator: Any, distances_A: NDArray[np.float64]) -> PairScan:
    moving = shape.arrays["fragment"] == 1
    frames = []
    for distance in distances_A:
        frame = shape.copy()
        frame.positions[moving, 2] += distance
        frames.append(frame)
    energies, forces = predict(frames, calculator)
    by_frame = forces.reshape(len(frames), len(shape), 3)
    first, second = shape.symbols[0], shape.symbols[1]
    return PairScan(
        symbols=(first, second),
        context="diatomic" if len(shape) == 2 else shape.get_chemical_formula(),
        distances_A=distances_A,
        energies_eV=energies,
        forces_eV_per_A=by_frame[:, moving, 2].sum(axis=1),
        largest_force_eV_per_A=float(np.abs(forces).max()),
    )


def _pair(first: str, second: str, *, hydrogens: bool) -> Atoms:
    """Return two fragments, both at the origin; the second is to be moved along z."""
    from ase import Atoms

    symbols, positions, owner = [first, second], [[0.0, 0.0, 0.0]] * 2, [0, 1]
    for fragment, symbol in enumerate((first, second)):
        count = _HYDROGENS.get(symbol, 0) if hydrogens else 0
        length = _covalent_radius(symbol) + _covalent_radius("H")
        outwards = -1.0 if fragment == 0 else 1.0
        for k in range(count):
            # Staggered: the two ends are turned against each other by 60 degrees.
            angle = 2.0 * math.pi * k / 3.0 + (math.pi / 3.0 if fragment else 0.0)
            aside = length * math.sqrt(1.0 - _TETRAHEDRAL_COSINE**2)
            along = -outwards * length * _TETRAHEDRAL_COSINE
            symbols.append("H")
            positions.append([aside * math.cos(angle), aside * math.sin(angle), along])
            owner.append(fragment)
    atoms = Atoms(symbols, positions)
    atoms.set_array("fragment", np.array(owner))
    return atoms


def _covalent_radius(symbol: str) -> float:
    from ase.data import atomic_numbers, covalent_radii

    return float(covalent_radii[atomic_numbers[symbol]])
