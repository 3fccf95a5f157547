"""The twelve defects: what each is, and which check must fail for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md.errors import ConfigError
from mlff_md.protocols.defects import wrappers as w

if TYPE_CHECKING:
    from ase import Atoms

CUTOFF_A = 4.0
"""Cutoff of the defects that have one: within most molecules and the first shell of liquids."""

# What two carbon atoms attract each other with at this distance, within a factor of two.
_DEPTH_EV = 2e-3
_SHORTEST_A = 3.0


@dataclass(frozen=True)
class Defect:
    """One fault.

    Attributes
    ----------
    id
        Its name for :func:`with_defect`.
    meaning
        One line.
    caught_by
        Id of the check that must fail; ``None`` if no check of this protocol may.
    make
        Wraps a calculator; the second argument is the cutoff of faults that have one, Å.
    """

    id: str
    meaning: str
    caught_by: str | None
    make: Callable[[Any, float], Any]


_ALL = (
    Defect(
        "float32_forces",
        "forces are float32 numbers: harmless, no check may fail",
        None,
        lambda c, r: w.Float32Forces(c),
    ),
    Defect(
        "float32_all",
        "positions, forces and energy are float32 numbers: harmless, no check may fail",
        None,
        lambda c, r: w.Float32All(c),
    ),
    Defect(
        "curl",
        "pair forces of 1.1 % that belong to no energy",
        "jacobian_symmetry",
        lambda c, r: w.Curl(c, r, 0.011),
    ),
    Defect(
        "direct_head",
        "forces predicted, not derived, 2 % off",
        "force_gradient",
        lambda c, r: w.DirectHead(c, r, 0.02),
    ),
    Defect(
        "truncated",
        "a pair potential cut off: 2 meV step of the energy",
        "cutoff_energy_step",
        lambda c, r: w.PairTerm(c, r, w.attraction(r, _DEPTH_EV, shifted=False)),
    ),
    Defect(
        "truncated_shifted",
        "the same, shifted to zero: a step of the force only",
        "cutoff_force_step",
        lambda c, r: w.PairTerm(c, r, w.attraction(r, _DEPTH_EV, shifted=True)),
    ),
    Defect(
        "stale_list",
        "a neighbor list without skin, renewed every 25 evaluations",
        "repeatability",
        lambda c, r: w.StalePairTerm(c, r, w.smooth_attraction(r, 0.2), 25),
    ),
    Defect(
        "int8_forces",
        "forces quantised to 255 levels up to the largest",
        "force_noise",
        lambda c, r: w.Rounded(c, None),
    ),
    Defect(
        "rounded_forces",
        "forces rounded to 0.001 eV/Å",
        "force_noise",
        lambda c, r: w.Rounded(c, 1e-3),
    ),
    Defect(
        "random_noise",
        "forces with noise of 0.001 eV/Å, new at each evaluation",
        "repeatability",
        lambda c, r: w.Noisy(c, 1e-3),
    ),
    Defect(
        "force_unit",
        "forces 5 % too large: a wrong unit or prefactor",
        "force_gradient",
        lambda c, r: w.Scaled(c, 1.05, energy=False),
    ),
    Defect(
        "quantised_weights",
        "energy and forces 2 % off but consistent, as quantised weights leave them: only a "
        "comparison with the teacher sees it",
        None,
        lambda c, r: w.Scaled(c, 1.02, energy=True),
    ),
)

DEFECTS: Mapping[str, Defect] = MappingProxyType({defect.id: defect for defect in _ALL})
"""Id -> defect."""


def cutoff_for(atoms: Atoms) -> float:
    """Return a cutoff with pairs on both sides of it: shorter for small molecules, Å."""
    if atoms.pbc.any():
        return CUTOFF_A
    spread = atoms.positions[:, None] - atoms.positions[None]
    widest = float(np.linalg.norm(spread, axis=2).max())
    return min(CUTOFF_A, max(_SHORTEST_A, 0.75 * widest))


def with_defect(name: str, calculator: Any, cutoff_A: float = CUTOFF_A) -> Any:
    """Return an ASE calculator that answers as ``calculator`` does, but for one known fault.

    Parameters
    ----------
    name
        One of :data:`DEFECTS`.
    calculator
        Any ASE calculator; it is used, not copied.
    cutoff_A
        Cutoff of the defects that have one, Å. There must be pairs on both sides of it.

    Raises
    ------
    ConfigError
        If there is no such defect.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> faulty = with_defect("force_unit", EMT())
    """
    if name not in DEFECTS:
        raise ConfigError(f"there is no defect {name!r}; there are {', '.join(DEFECTS)}")
    return DEFECTS[name].make(calculator, cutoff_A)
