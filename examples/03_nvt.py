"""Langevin dynamics at constant temperature, and what the trajectory says about a torsion.

Run: python examples/03_nvt.py
"""

import tempfile
from pathlib import Path

import ase.io
import numpy as np

from mlff_md import StudentForceFieldCalculator, read_structure, run_nvt
from mlff_md.progress import ConsoleProgress

structures = Path(__file__).parent.parent / "inputs" / "structures"

atoms = read_structure(structures / "alanine-dipeptide.xyz")
calculator = StudentForceFieldCalculator("tiny")

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "alanine-dipeptide.traj"
    run = run_nvt(
        atoms,
        calculator,
        steps=20_000,
        timestep_fs=0.5,
        temperature_K=300,
        seed=1,
        trajectory=path,
        trajectory_every=100,
        progress=ConsoleProgress(),
    )
    frames = ase.io.read(path, ":")

# The first 2 ps are left to reach the temperature.
settled = run.temperature_K[4000:]
print(f"{len(frames)} frames of {run.time_fs[-1] / 1000:g} ps")
print(f"temperature  {settled.mean():.0f} K, standard deviation {settled.std():.0f} K")
print(f"potential    {run.potential_energy_eV[4000:].mean():.3f} eV")


def ramachandran(frame):
    """Return the angles phi and psi, degrees, found from the bonds along the backbone."""
    symbols = np.array(frame.get_chemical_symbols())
    bonded = frame.get_all_distances() < 1.7

    def neighbors(atom, element):
        return [j for j in np.flatnonzero(bonded[atom]) if symbols[j] == element and j != atom]

    carbonyls = [c for c in np.flatnonzero(symbols == "C") if neighbors(c, "O")]
    # C(=O)-N-CA-C(=O)-N: CA is the carbon between an N and a carbonyl carbon.
    for first in carbonyls:
        for n in neighbors(first, "N"):
            for ca in neighbors(n, "C"):
                for last in neighbors(ca, "C"):
                    if ca != first and last in carbonyls:
                        end = neighbors(last, "N")[0]
                        phi = frame.get_dihedral(first, n, ca, last)
                        psi = frame.get_dihedral(n, ca, last, end)
                        return [(angle + 180) % 360 - 180 for angle in (phi, psi)]
    raise SystemExit("no backbone found")


angles = np.array([ramachandran(frame) for frame in frames[::10]])
for phi, psi in angles:
    print(f"  phi {phi:7.1f}°   psi {psi:7.1f}°")
