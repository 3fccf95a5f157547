"""NVE molecular dynamics in a plain ASE script: does the total energy stay where it is?

Run: python examples/02_velocity_verlet.py
"""

from pathlib import Path

import numpy as np
from ase import units
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet

from mlff_md import StudentForceFieldCalculator, read_structure

structures = Path(__file__).parent.parent / "inputs" / "structures"

atoms = read_structure(structures / "aspirin.xyz")
atoms.calc = StudentForceFieldCalculator("tiny")

thermalize_momenta(atoms, temperature_K=600, rng=np.random.default_rng(1))
Stationary(atoms)

dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
energies = []
dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
print("   time/fs   potential/eV     kinetic/eV       total/eV")
for _ in range(10):
    dynamics.run(200)
    print(
        f"{dynamics.get_time() / units.fs:10.1f} {atoms.get_potential_energy():14.6f} "
        f"{atoms.get_kinetic_energy():14.6f} {atoms.get_total_energy():14.6f}"
    )

spread = 1000 * np.std(energies) / len(atoms)
print(f"the total energy fluctuates by {spread:.4f} meV/atom (rms)")
print(f"{atoms.calc.n_evaluations} model evaluations for {len(energies) - 1} steps")
