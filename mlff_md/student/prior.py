r"""Short-range repulsive prior: screened nuclear repulsion, switched off below the bond length.

A network that never saw two atoms at 0.5 Å may find a hole there. The Ziegler-Biersack-Littmark
potential (Ziegler, Biersack, Littmark, *The Stopping and Range of Ions in Matter*, 1985) cannot:

.. math::  V(r) = \frac{e^2}{4\pi\epsilon_0}\frac{Z_i Z_j}{r}\,\phi(r/a)\,f(r/r_{ij}),\qquad
           a = 0.8854\,a_0 / (Z_i^{0.23} + Z_j^{0.23})

with a twice continuously differentiable switch ``f`` that ends at :data:`RADIUS_FACTOR` times the
sum of the covalent radii (Cordero et al., Dalton Trans. 2008, 2832). No vibrating bond comes that
close, triple bonds included: a prior that reaches into the bonds roughens them where its switch
ends, and the energy of a run at 0.5 fs then wanders. The network learns the rest.

Alone, the prior would not do: a network extrapolates to thousands of eV, of either sign, at
distances that it never saw. So it does not get to see them. Below the prior's end it is shown a
distance that levels off at a floor,

.. math::  r_{\mathrm{seen}} = r_f + w\,S(t) + \max(r - r_h, 0),\qquad t = (r - r_l) / w
           \text{ within } 0..1

with ``S`` the integral of the quintic smoothstep, which is ``r`` itself from ``r_h`` on: twice
continuously differentiable, and what is left to change at shorter distances is the prior.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlff_md.errors import StructureError
from mlff_md.units import BOHR_A, COULOMB_EV_A

PRIOR = "zbl-floor-1"
"""Name of what this module defines; a student file says which prior its weights go with."""

RADIUS_FACTOR = 0.7
"""Of the sum of the covalent radii: 0.75 Å for C-H, 1.00 Å for C=O and N≡N."""

FLOOR_END = 0.66 / 0.70
"""``r_h`` as a part of the prior's end: 0.66 of the sum of the covalent radii."""

FLOOR_WIDTH = 0.12 / 0.70
"""``w = r_h - r_l``. The floor ``r_f = r_h - w / 2`` is then 0.60 of the sum of the covalent radii,
where the sampling of the training sets ends."""

ZBL_EXPONENTS = (3.19980, 0.94229, 0.40290, 0.20162)
ZBL_COEFFICIENTS = (0.18175, 0.50986, 0.28022, 0.02817)


def pair_tables(
    nuclear_charges: Sequence[int], radii_A: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Return what the prior needs for each pair of species.

    Parameters
    ----------
    nuclear_charges, radii_A
        Nuclear charge and radius (Å, see :func:`prior_radii`) of each species, shape (S,).

    Returns
    -------
    tables
        Shape (3, S * S): strength ``e^2 Z_i Z_j`` (eV Å), inverse screening length (1/Å) and
        cutoff (Å) of the pair, at index ``species_i * S + species_j``.
    """
    charge = np.asarray(nuclear_charges, dtype=np.float64)
    radius = np.asarray(radii_A, dtype=np.float64)
    strength = COULOMB_EV_A * np.outer(charge, charge)
    power = charge**0.23
    inverse_length = (power[:, None] + power[None, :]) / (0.8854 * BOHR_A)
    cutoff = radius[:, None] + radius[None, :]
    return np.stack([strength.ravel(), inverse_length.ravel(), cutoff.ravel()])


def shortest_seen_A(radii_A: Sequence[float]) -> float:
    """Return the shortest distance that a network with these prior radii is ever shown, Å."""
    return 2.0 * min(radii_A) * (FLOOR_END - 0.5 * FLOOR_WIDTH)


def prior_radii(elements: Sequence[str]) -> tuple[float, ...]:
    """Return for each element the radius (Å) that two of which end the prior of a pair."""
    from ase.data import covalent_radii

    return tuple(
        RADIUS_FACTOR * float(covalent_radii[number]) for number in atomic_numbers(elements)
    )


def atomic_numbers(elements: Sequence[str]) -> tuple[int, ...]:
    """Return the atomic number of each symbol.

    Raises
    ------
    StructureError
        If a symbol is not an element.
    """
    from ase.data import atomic_numbers as table

    unknown = [symbol for symbol in elements if table.get(symbol, 0) < 1]
    if unknown:
        raise StructureError(f"not chemical elements: {', '.join(map(str, unknown))}")
    return tuple(int(table[symbol]) for symbol in elements)
