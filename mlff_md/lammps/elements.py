"""Atom types and elements: a wrong order of names is silent elsewhere. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError
from mlff_md.hints import did_you_mean

_SAME_MASS = 0.01
"""Two masses within 1 % are those of one element; isotopes and repartitioned masses are not."""


def check_name(name: str, elements: Sequence[str]) -> None:
    """Check that ``pair_coeff`` names an element of the student.

    Raises
    ------
    ConfigError
        Naming the elements that there are.
    """
    if name in elements:
        return
    near = [symbol for symbol in elements if symbol.lower() == name.lower()]
    meant = did_you_mean(near) if near else f"it knows {' '.join(elements)}"
    raise ConfigError(f"pair_coeff: the student does not know {name!r}; {meant}")


def check_masses(types: Mapping[int, str], masses: NDArray[np.float64]) -> None:
    """Check the element of each type against its mass.

    Only a mass that is another element's is an error: a mass that is nobody's may be an isotope
    or a repartitioned one.

    Parameters
    ----------
    types
        Atom type -> chemical symbol.
    masses
        ``[types + 1]``, u; entry 0 is not used, and 0 means that no mass is set.

    Raises
    ------
    ConfigError
        If a mass is that of another element.
    """
    from ase.data import atomic_masses, atomic_numbers, chemical_symbols

    for kind, symbol in types.items():
        mass = float(masses[kind])
        if mass <= 0.0 or abs(mass / atomic_masses[atomic_numbers[symbol]] - 1.0) < _SAME_MASS:
            continue
        other = int(np.nanargmin(np.abs(atomic_masses[1:] - mass))) + 1
        if abs(mass / atomic_masses[other] - 1.0) < _SAME_MASS:
            raise ConfigError(
                f"pair_coeff makes atom type {kind} {symbol}, but its mass {mass:g} is that of "
                f"{chemical_symbols[other]}: put the elements in the order of the types, or, if "
                "the mass is meant, write: variable mlff_masses string any"
            )


def numbers_by_type(types: Mapping[int, str], count: int) -> NDArray[np.int64]:
    """Return the atomic number of each type, ``int64 [count + 1]``, 0 where it has no element."""
    from ase.data import atomic_numbers

    numbers = np.zeros(count + 1, dtype=np.int64)
    for kind, symbol in types.items():
        numbers[kind] = atomic_numbers[symbol]
    return numbers
