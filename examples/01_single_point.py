"""Energy, forces and atomic energies of a molecule, and many molecules at once.

Run: python examples/01_single_point.py
"""

from pathlib import Path

import numpy as np

from mlff_md import StudentForceFieldCalculator, read_structure

structures = Path(__file__).parent.parent / "inputs" / "structures"

caffeine = read_structure(structures / "caffeine.xyz")
caffeine.calc = StudentForceFieldCalculator("tiny")
print(f"caffeine, {len(caffeine)} atoms")
print(f"  energy         {caffeine.get_potential_energy():.6f} eV")
print(f"  largest force  {np.abs(caffeine.get_forces()).max():.4f} eV/Å")
print(f"  sum of forces  {np.abs(caffeine.get_forces().sum(axis=0)).max():.1e} eV/Å")

# Small structures are several times cheaper in batches with the torch engines, and no dearer with
# the native one.
names = ("water", "ethanol", "benzene", "paracetamol", "aspirin", "ibuprofen", "lidocaine")
molecules = [read_structure(structures / f"{name}.xyz") for name in names]
for molecule, result in zip(molecules, caffeine.calc.evaluate(molecules), strict=True):
    print(f"  {molecule.get_chemical_formula():<14} {result.energy:16.6f} eV")
