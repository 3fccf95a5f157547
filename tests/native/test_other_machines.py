"""The kernel on machines that are not here: compiled for them, run under QEMU where that can be.

Debian: ``apt install g++-aarch64-linux-gnu qemu-user``. No emulator knows AVX-512, but the compiler
can make its long vectors of short ones: all but the instructions themselves is then tried.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
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
CROSS, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-pthread")

pytestmark = pytest.mark.slow


def described(atoms: Atoms) -> str:
    """Return a structure as ``evaluate_packed`` reads it."""
    numbers = (repr(float(x)) for x in atoms.cell.array.ravel())
    lines = [str(len(atoms)), " ".join(numbers), " ".join(str(int(p)) for p in atoms.pbc)]
    for atom in atoms:
        lines.append(" ".join([atom.symbol, *(repr(float(x)) for x in atom.position)]))
    return "\n".join(lines)


def built(folder: Path, compiler: str, kernel: Sequence[Path], *flags: str) -> Path:
    """Compile ``evaluate_packed`` with the kernel's sources."""
    plugin, program = sources(), folder / "evaluate_packed"
    files = [Path(__file__).with_name("evaluate_packed.cpp"), plugin / "packed_student.cpp"]
    command = [compiler, *FLAGS, *flags, f"-I{NATIVE}", f"-I{plugin}", *map(str, files)]
    subprocess.run([*command, *map(str, kernel), "-o", str(program)], check=True)
    return program


def check_forces(command: Sequence[str], folder: Path) -> None:
    """Hold the program's energies and forces to those of the kernel of this machine."""
    structures = [read_structure(STRUCTURES / name) for name in ("aspirin.xyz", "water-box-64.xyz")]
    student, packed = load_student("tiny"), folder / "tiny.packed"
    packed.write_bytes(pack(student))
    done = subprocess.run(
        [*command, str(packed)],
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


@pytest.mark.skipif(
    shutil.which(CROSS) is None or shutil.which(EMULATOR) is None,
    reason=f"needs {CROSS} and {EMULATOR}",
)
def test_same_forces_on_aarch64(tmp_path: Path) -> None:
    strict = ("-Wall", "-Wextra", "-Werror", "-static")
    program = built(tmp_path, CROSS, sorted(NATIVE.glob("*.cpp")), *strict)
    check_forces([EMULATOR, str(program)], tmp_path)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_same_forces_with_vectors_as_long_as_those_of_avx512(tmp_path: Path) -> None:
    text = (NATIVE / "avx512.cpp").read_text(encoding="utf-8")
    sizes = re.search(r"return (single \? kernel<float, 16,.*>\(\);)", text)
    assert sizes
    wide = tmp_path / "plain.cpp"
    none = "Kernel {}_kernel(bool) {{ return {{nullptr, nullptr}}; }}\n"
    wide.write_text(
        '#include "kernel.h"\nnamespace mlff {\n'
        f"Kernel plain_kernel(bool single) {{ return {sizes[1]} }}\n"
        f"{none.format('avx2')}{none.format('avx512')}}}\n"
    )
    others = [path for path in NATIVE.glob("*.cpp") if path.stem not in ("avx512", "avx2", "plain")]
    check_forces([str(built(tmp_path, "g++", [wide, *sorted(others)]))], tmp_path)
