"""Any ASE calculator can be a teacher, and be judged: here a class of one's own.

Run: python examples/10_own_teacher.py
"""

from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from mlff_md import StudentForceFieldCalculator, read_structure, teacher, validate_nve


class Springs(Calculator):
    """Harmonic springs between all atoms that were bonded at the start."""

    implemented_properties = ("energy", "forces")

    def __init__(self, reference, stiffness_eV_per_A2=30.0):
        super().__init__()
        distances = reference.get_all_distances()
        self.pairs = np.argwhere(np.triu((distances > 0) & (distances < 2.7)))
        self.lengths = distances[tuple(self.pairs.T)]
        self.stiffness = stiffness_eV_per_A2

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        i, j = self.pairs.T
        vectors = self.atoms.positions[j] - self.atoms.positions[i]
        lengths = np.linalg.norm(vectors, axis=1)
        stretch = lengths - self.lengths
        pulls = (self.stiffness * stretch / lengths)[:, None] * vectors
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, pulls)
        np.add.at(forces, j, -pulls)
        self.results = {"energy": 0.5 * self.stiffness * (stretch**2).sum(), "forces": forces}


ethanol = read_structure(Path(__file__).parent.parent / "inputs" / "structures" / "ethanol.xyz")

for calculator in (Springs(ethanol), StudentForceFieldCalculator("tiny")):
    report = validate_nve(ethanol, calculator, mode="quick")
    print(f"{report.title}: {report.verdict}")
    for check in report.checks:
        if check.id == "drift" or check.verdict == "fail":
            print(f"  {check.verdict:<12} {check.title}: {check.summary}")

# The springs conserve energy, yet fail: they know atoms by their place in the list, and exchanging
# two atoms of an element changes their energy.

# The other commands take calculators by name, those of ASE and of any module: the teacher of
# `mlff-md label`, of `mlff-md compare` and the model of `mlff-md validate-nve`.
argon = read_structure(
    Path(__file__).parent.parent / "inputs" / "structures" / "argon-liquid-108.xyz"
)
argon.calc = teacher("ase.calculators.lj:LennardJones?sigma=3.4&epsilon=0.0103&rc=8.5&smooth=True")
print(f"Lennard-Jones argon, {len(argon)} atoms: {argon.get_potential_energy():.4f} eV")
