"""A classical force field (MMFF94, else UFF) that makes geometries for the teacher to label.

It only has to visit the regions that matter; the teacher gives all labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.distill.molecules import Molecule, require_rdkit
from mlff_md.errors import DataError
from mlff_md.units import ASE_TIME_UNIT_FS, BOLTZMANN_EV_PER_K, KJ_PER_MOL_PER_EV

EV_PER_KCAL_PER_MOL = 4.184 / KJ_PER_MOL_PER_EV

Positions = NDArray[np.float64]


@dataclass(frozen=True)
class Conformer:
    """An embedded molecule with its force field.

    Attributes
    ----------
    mol
        RDKit molecule with hydrogens.
    numbers
        (N,) atomic numbers.
    positions
        (N, 3) force-field minimum, Å.
    force_field
        RDKit force field: MMFF94 where it has parameters, else UFF where that has, else ``None``.
    """

    mol: Any
    numbers: NDArray[np.uint8]
    positions: Positions
    force_field: Any

    def forces(self, positions: Positions) -> Positions:
        """Return the force field's forces, (N, 3), eV/Å."""
        flat = positions.ravel().tolist()
        # CalcGrad(positions) on its own reuses stale distances: the energy call refreshes them.
        self.force_field.CalcEnergy(flat)
        gradient = np.array(self.force_field.CalcGrad(flat))
        return -gradient.reshape(-1, 3) * EV_PER_KCAL_PER_MOL


def embed(molecule: Molecule, seed: int) -> Conformer:
    """Embed a molecule in 3D and minimise it.

    Raises
    ------
    DataError
        If the SMILES cannot be read or RDKit finds no geometry for it.
    """
    chem = require_rdkit()
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    mol = chem.MolFromSmiles(molecule.smiles)
    if mol is None:
        raise DataError(f"{molecule.name}: RDKit cannot read the SMILES {molecule.smiles!r}")
    mol = chem.AddHs(mol)
    for random_start in (False, True):
        found = rdDistGeom.EmbedMolecule(
            mol, maxAttempts=20, randomSeed=seed, useRandomCoords=random_start
        )
        if found == 0:
            break
    else:
        raise DataError(f"{molecule.name}: RDKit finds no 3D geometry")
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
            mol, rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
        )
    elif rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
        field = rdForceFieldHelpers.UFFGetMoleculeForceField(mol)
    else:
        field = None
    if field is not None:
        field.Minimize(maxIts=200)
    positions = np.array(mol.GetConformer().GetPositions(), dtype=np.float64)
    if not np.isfinite(positions).all():
        raise DataError(f"{molecule.name}: the force field's minimum is not finite")
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.uint8)
    return Conformer(mol, numbers, positions, field)


def langevin_frames(
    conformer: Conformer,
    temperatures_K: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    timestep_fs: float = 0.7,
    friction_per_fs: float = 0.03,
    first_steps: int = 140,
    steps: int = 80,
) -> list[Positions]:
    """Run force-field Langevin dynamics (BAOAB-like splitting) and return one frame per segment.

    Parameters
    ----------
    conformer
        Start.
    temperatures_K
        (K,) bath temperature of each segment; one frame is kept at the end of each.
    rng
        Source of all randomness.
    timestep_fs, friction_per_fs
        Time step and friction. The default friction decorrelates velocities in 33 fs.
    first_steps, steps
        Length of the first segment (which starts at the minimum) and of the others.

    Returns
    -------
    list of (N, 3) arrays, Å. The list ends early if the dynamics become unstable. Without a force
    field: the embedded geometry with noise of 0.03 Å.
    """
    from ase.data import atomic_masses

    if conformer.force_field is None:
        shape = conformer.positions.shape
        return [conformer.positions + rng.normal(0.0, 0.03, shape) for _ in temperatures_K]
    masses = atomic_masses[conformer.numbers][:, None]
    dt = timestep_fs / ASE_TIME_UNIT_FS
    decay = float(np.exp(-friction_per_fs * timestep_fs))
    x = conformer.positions.copy()
    forces = conformer.forces(x)
    frames: list[Positions] = []
    v = np.zeros_like(x)
    for segment, temperature in enumerate(temperatures_K):
        thermal = np.sqrt(BOLTZMANN_EV_PER_K * temperature / masses)
        kick = thermal * np.sqrt(1.0 - decay**2)
        if segment == 0:
            v = rng.normal(size=x.shape) * thermal
        for _ in range(first_steps if segment == 0 else steps):
            v += 0.5 * dt * forces / masses
            x = x + 0.5 * dt * v
            v = decay * v + kick * rng.normal(size=x.shape)
            x = x + 0.5 * dt * v
            forces = conformer.forces(x)
            v += 0.5 * dt * forces / masses
        if not np.isfinite(x).all() or np.ptp(x, axis=0).max() > 60.0:
            break
        frames.append(x.copy())
    return frames
