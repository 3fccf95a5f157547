"""The kernel on machines that are not here: compiled for them, run under QEMU.

Debian: ``apt install g++-aarch64-linux-gnu qemu-user``.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

import mlff_md
from mlff_md import StudentForceFieldCalculator, load_student, read_structure
from mlff_md.lammps.pack import pack
from mlff_md.lammps.plugin import sources

NATIVE = Path(mlff_md.__file__).parent / "native" / "src"
STRUCTURES = Path(__file__).parents[2] / "inputs" / "structures"
MACHINE = "aarch64"
COMPILER, EMULATOR = f"{MACHINE}-linux-gnu-g++", f"qemu-{MACHINE}"


def described(atoms: Atoms) -> str:
    """Return a structure as ``evaluate_packed`` reads it."""
    numbers = (repr(float(x)) for x in atoms.cell.array.ravel())
    lines = [str(len(atoms)), " ".join(numbers), " ".join(str(int(p)) for p in atoms.pbc)]
    for atom in atoms:
        lines.append(" ".join([atom.symbol, *(repr(float(x)) for x in atom.position)]))
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which(COMPILER) is None or shutil.which(EMULATOR) is None,
    reason=f"needs {COMPILER} and {EMULATOR}",
)
def test_same_forces_on_aarch64(tmp_path: Path) -> None:
    plugin = sources()
    files = [Path(__file__).with_name("evaluate_packed.cpp"), plugin / "packed_student.cpp"]
    files += sorted(NATIVE.glob("*.cpp"))
    program = tmp_path / "evaluate_packed"
    flags = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra"]
    flags += ["-Werror", "-static", "-pthread", f"-I{NATIVE}", f"-I{plugin}"]
    subprocess.run([COMPILER, *flags, *map(str, files), "-o", str(program)], check=True)
    structures = [read_structure(STRUCTURES / "aspirin.xyz")]
    structures.append(read_structure(STRUCTURES / "water-box-64.xyz"))
    student = load_student("tiny")
    packed = tmp_path / "tiny.packed"
    packed.write_bytes(pack(student))
    done = subprocess.run(
        [EMULATOR, str(program), str(packed)],
        input="\n".join(map(described, structures)),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    instructions, *lines = done.stdout.splitlines()
    assert instructions.split() == ["plain"]
    results = iter([np.array(line.split(), dtype=float) for line in lines])
    for atoms in structures:
        atoms.calc = StudentForceFieldCalculator(student, engine="native", dtype="float64")
        energy, forces = atoms.get_potential_energy(), atoms.get_forces().ravel()
        # In float64 nothing but the order of sums differs; float32 has the limit of all engines.
        for energy_limit, force_limit in ((1e-9, 1e-12), (1e-6 * len(atoms), 5e-6)):
            found = next(results)
            assert found[0] == pytest.approx(energy, abs=energy_limit)
            np.testing.assert_allclose(found[10:], forces, rtol=0.0, atol=force_limit)
    assert next(results, None) is None
