"""One benchmark: students x engines x sizes, interleaved, as ratios."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from mlff_md.bench.flops import native_flops, peak_gflops
from mlff_md.bench.peers import Maker, choose, peer_calls
from mlff_md.bench.structures import structure_of
from mlff_md.bench.timing import Timing, interleaved, tune_allocator
from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.engines import ENGINES, make_engine
from mlff_md.engines.native_engine import NativeEngine
from mlff_md.student import Student, load_student
from mlff_md.velocities import thermalize

ASE_STEP = "ase-step"
"""Pseudo-engine: a whole step of ASE's VelocityVerlet with the fastest engine."""


@dataclass(frozen=True)
class BenchResult:
    """Measured times.

    Attributes
    ----------
    rows
        One for each student, size and engine: ``student, atoms, pairs, engine, threads``,
        ``median_ms, p95_ms, best_ms, samples``, ``max_force_error_eV_per_A`` against float64,
        ``ns_per_day`` at 0.5 fs, and for the native engine ``gflops`` (best) and
        ``fraction_of_peak``. Peers stand under ``engine`` too, with ``num_parameters``.
    machine
        Processor, allocator, Python; ``left_out``, a line for each peer that did not run.
    """

    rows: list[dict[str, Any]]
    machine: dict[str, Any]

    def markdown(self) -> str:
        """Return the rows as a table; ``ratio`` is the time over that of the first engine."""
        lines = [
            "| student | atoms | engine | ms (median) | p95 | us/atom | ratio | ns/day | "
            "max dF, eV/Å | GFLOP/s | of peak |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        first: dict[tuple[str, int], float] = {}
        for row in self.rows:
            base = first.setdefault((row["student"], row["atoms"]), row["median_ms"])
            error, gflops = row["max_force_error_eV_per_A"], row.get("gflops")
            lines.append(
                f"| {row['student']} | {row['atoms']} | {row['engine']} | {row['median_ms']:.3f} | "
                f"{row['p95_ms']:.3f} | {1e3 * row['median_ms'] / row['atoms']:.1f} | "
                f"{row['median_ms'] / base:.1f} | {row['ns_per_day']:.3g} | "
                f"{'' if error is None else f'{error:.1e}'} | "
                + ("| |" if gflops is None else f"{gflops:.0f} | {row['fraction_of_peak']:.2f} |")
            )
        return "\n".join(lines)


def bench(
    students: Sequence[str] = ("tiny",),
    *,
    engines: Sequence[str] = ENGINES,
    peers: Sequence[str] = (),
    atoms: Sequence[int] = (9, 21, 100, 500),
    threads: int = 1,
    seconds: float = 3.0,
    timestep_fs: float = 0.5,
    tuned_allocator: bool = True,
    progress: Callable[[str], None] | None = None,
) -> BenchResult:
    """Time engines on structures of several sizes, interleaved.

    Parameters
    ----------
    students
        Names or files of students.
    engines
        Engines to compare; ``ase-step`` is a step of ASE's VelocityVerlet with engine ``auto``.
    peers
        Other force fields, with random weights, to time beside the engines: ``all`` that are
        installed, or beginnings of their names, see :mod:`mlff_md.bench.peers`.
    atoms
        Numbers of atoms, see :func:`mlff_md.bench.structures.structure_of`.
    threads
        Threads of every engine.
    seconds
        Time for each student and size; slow engines get five samples even if it takes longer.
    timestep_fs
        Time step that ns/day refers to, fs.
    tuned_allocator
        Whether to keep glibc from returning memory, which makes torch up to three times as fast.
    progress
        Called with a line about each student and size that is done, and each peer left out.

    Raises
    ------
    ConfigError, StudentFileError
        If an engine, peer, student or size cannot be had.
    """
    allocator = tune_allocator() if tuned_allocator else "as the system has it"
    rows: list[dict[str, Any]] = []
    makers = choose(peers)
    left_out: list[str] = []
    tell = progress or (lambda line: None)
    for name in students:
        student = load_student(name)
        for count in atoms:
            structure = structure_of(count)
            missing: list[str] = []
            rows += _compare(
                *(student, name, structure, engines, makers, threads, seconds, timestep_fs),
                missing.append,
            )
            for line in missing:
                left_out.append(f"{len(structure)} atoms: {line}")
                tell(left_out[-1])
            tell(f"{name}: {len(structure)} atoms done")
    machine = {
        "processor": _processor(),
        "allocator": allocator,
        "python": platform.python_version(),
        "left_out": left_out,
    }
    return BenchResult(rows, machine)


def _compare(
    student: Student,
    name: str,
    structure: Atoms,
    engines: Sequence[str],
    peers: Mapping[str, Maker],
    threads: int,
    seconds: float,
    timestep_fs: float,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    contenders = {}
    errors: dict[str, float | None] = {}
    native: NativeEngine | None = None
    # Beyond that size torch would take tens of GB; the tests hold the two to 1e-10.
    exact = "torch" if len(structure) <= 3000 else "native"
    reference = make_engine(student, exact, dtype="float64").compute(structure).forces
    for kind in engines:
        if kind == ASE_STEP:
            contenders[kind], errors[kind] = _ase_step(student, structure, threads), None
            continue
        engine = make_engine(student, kind, threads=threads)
        if isinstance(engine, NativeEngine):
            native = engine
        errors[kind] = float(np.abs(engine.compute(structure).forces - reference).max())
        contenders[kind] = _evaluation(engine.compute, structure)
    parameters: dict[str, int] = {}
    for kind, compute, parameters[kind] in peer_calls(peers, structure, threads, tell):
        contenders[kind], errors[kind] = _evaluation(compute, structure), None
    peak = peak_gflops(native.kernel) if native else 0.0
    timings = interleaved(contenders, seconds)
    if native:
        peak = max(peak, peak_gflops(native.kernel))
    rows = []
    for kind, timing in timings.items():
        row = {"student": name, "atoms": len(structure), "engine": kind, "threads": threads}
        row |= asdict(timing)
        row["max_force_error_eV_per_A"] = errors[kind]
        row["ns_per_day"] = timestep_fs * 86.4 / timing.median_ms
        if kind in parameters:
            row["num_parameters"] = parameters[kind]
        if native and kind == "native":
            row |= _efficiency(student, native, len(structure), timing, peak * threads)
        rows.append(row)
    return rows


def _efficiency(
    student: Student, native: NativeEngine, num_atoms: int, timing: Timing, peak: float
) -> dict[str, Any]:
    pairs = native.kernel.num_pairs
    operations = native_flops(student.manifest.architecture, num_atoms, pairs)
    gflops = operations / timing.median_ms / 1e6
    return {
        "pairs": pairs,
        "gflops": gflops,
        "fraction_of_peak": gflops / peak,
        "peak_gflops": peak,
        "instruction_set": native.kernel.instruction_set,
    }


def _evaluation(compute: Callable[[Atoms], object], structure: Atoms) -> Callable[[], object]:
    """Return a call that evaluates the structure after moving every atom a little, as MD does."""
    rng = np.random.default_rng(0)
    frames = [structure.copy() for _ in range(4)]
    for frame in frames:
        frame.positions += rng.normal(scale=0.01, size=frame.positions.shape)
    number = 0

    def call() -> object:
        nonlocal number
        number += 1
        return compute(frames[number % len(frames)])

    return call


def _ase_step(student: Student, structure: Atoms, threads: int) -> Callable[[], object]:
    atoms = structure.copy()
    atoms.calc = StudentForceFieldCalculator(student, threads=threads)
    thermalize(atoms, 50.0, np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, timestep=0.1 * units.fs)
    dynamics.run(1)
    iterator = dynamics.irun(10**9)
    next(iterator)
    return lambda: next(iterator)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
