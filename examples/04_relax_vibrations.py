"""Relax a molecule and take its vibrations, beside the teacher's.

Run: python examples/04_relax_vibrations.py
"""

import tempfile
from pathlib import Path

import numpy as np
from ase.vibrations import Vibrations

from mlff_md import StudentForceFieldCalculator, read_structure, relax, teacher

ethanol = read_structure(Path(__file__).parent.parent / "inputs" / "structures" / "ethanol.xyz")


def vibrations(calculator):
    """Return the relaxed structure and its wavenumbers, 1/cm, without rigid motion."""
    relaxed = relax(ethanol, calculator, fmax_eV_per_A=0.001)
    relaxed.calc = calculator
    with tempfile.TemporaryDirectory() as folder:
        modes = Vibrations(relaxed, name=folder)
        modes.run()
        # An imaginary wavenumber, of a saddle point, would show as a negative one.
        wavenumbers = modes.get_frequencies()
    return relaxed, np.sort(wavenumbers.real - wavenumbers.imag)[6:]


# Finite differences of single-precision forces would carry their rounding: float64.
student, ours = vibrations(StudentForceFieldCalculator("original", dtype="float64"))
try:
    master, theirs = vibrations(teacher("gfn2-xtb"))
except ImportError as error:
    raise SystemExit(f"{error}; pip install 'mlff-md[teacher]'") from None

for name, atoms in (("student", student), ("teacher", master)):
    carbon, oxygen = (np.flatnonzero(atoms.symbols == element) for element in "CO")
    print(f"bond C-O, {name}: {atoms.get_distances(oxygen[0], carbon).min():.4f} Å")
print("vibrations, 1/cm: student, teacher, difference")
for a, b in zip(ours, theirs, strict=True):
    print(f"{a:8.0f} {b:8.0f} {a - b:6.0f}")
print(f"mean absolute difference {np.abs(ours - theirs).mean():.0f} 1/cm")
