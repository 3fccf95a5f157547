"""Which observables mean something for a structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_md.protocols.observables.base import Observable
from mlff_md.protocols.observables.distributions import PairDistances, internal_coordinates
from mlff_md.protocols.observables.motion import Displacement, Fluctuations
from mlff_md.protocols.observables.radial import RadialDistribution
from mlff_md.protocols.observables.spectra import spectra

if TYPE_CHECKING:
    from ase import Atoms


def observables_for(
    reference: Atoms, n_frames: int, interval_fs: float, timestep_fs: float
) -> list[Observable]:
    """Return the observables that mean something for a structure.

    Molecules, free or in a cell: bonds, angles, dihedrals. Free structures: all distances, RMSF.
    Periodic in three directions: g(r); periodic: mean square displacement. All: vibrations.
    """
    found: list[Observable] = list(internal_coordinates(reference))
    if not reference.pbc.any():
        found += [PairDistances(reference), Fluctuations(reference)]
    elif reference.pbc.all():
        found.append(RadialDistribution(reference))
    found += spectra(n_frames, interval_fs, timestep_fs)
    if reference.pbc.any():
        found.append(Displacement(n_frames, interval_fs))
    return found
