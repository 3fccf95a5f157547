"""Rank conformers: relax many structures of one molecule, keep those that differ.

Run: python examples/05_batch_screening.py
"""

from pathlib import Path

import numpy as np

from mlff_md import StudentForceFieldCalculator, read_structure, relax, run_nvt

structures = Path(__file__).parent.parent / "inputs" / "structures"

molecule = read_structure(structures / "ibuprofen.xyz")
calculator = StudentForceFieldCalculator("tiny")

# Hot dynamics crosses the torsions; each run ends in a basin of its own.
starts = [
    run_nvt(molecule, calculator, steps=1500, temperature_K=800, seed=seed).atoms
    for seed in range(24)
]

# One call for all of them: small structures are cheaper in batches with the torch engines, and
# equally cheap with the native one.
before = np.array([result.energy for result in calculator.evaluate(starts)])

relaxed = [relax(start, calculator, fmax_eV_per_A=0.01) for start in starts]
after = np.array([result.energy for result in calculator.evaluate(relaxed)])


def shape(atoms):
    """Return the sorted distances of the heavy atoms, Å: the same for the same conformer."""
    heavy = atoms[atoms.numbers > 1]
    return np.sort(heavy.get_all_distances()[np.triu_indices(len(heavy), 1)])


kept = []
for index in np.argsort(after):
    if all(np.abs(shape(relaxed[index]) - shape(relaxed[other])).max() > 0.2 for other in kept):
        kept.append(index)

print(f"{len(starts)} starts, {len(kept)} conformers")
print("  start   before relaxing   energy above the best, eV")
for index in kept:
    print(f"  {index:5d}   {before[index] - after.min():15.3f}   {after[index] - after.min():8.3f}")
