"""One benchmark: students x engines x sizes, interleaved, as ratios."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms, units

from mlff_md.bench.flops import native_flops, peak_gflops
from mlff_md.bench.peers import Maker, choose, peer_calls
from mlff_md.bench.structures import structure_of
from mlff_md.bench.timing import Timing, interleaved, tune_allocator
from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.engines import Engine, evaluate_structures, make_engine
from mlff_md.engines.native_engine import NativeEngine
from mlff_md.errors import ConfigError
from mlff_md.memory import resident_MB
from mlff_md.student import Student, load_student
from mlff_md.velocities import thermalize

ASE_STEP = "ase-step"
"""Pseudo-engine: a whole step of ASE's VelocityVerlet with the fastest engine."""

DEFAULT_ENGINES = ("native", "onnx", "torchscript", "torch", ASE_STEP)
"""Those that need no minutes of compiling, and have the student's own weights."""


@dataclass(frozen=True)
class BenchResult:
    """Measured times.

    Attributes
    ----------
    rows
        One for each student, size, batch and engine: ``student, atoms, batch, engine, threads,
        device``, ``median_ms, p95_ms, best_ms, samples``, ``max_force_error_eV_per_A`` against
        float64,
        ``ns_per_day`` at 0.5 fs (of each structure of a batch), ``structures_per_s``,
        ``resident_MB`` of the process afterwards, and for the native engine ``gflops`` (best) and
        ``fraction_of_peak``. Peers stand under ``engine`` too, with ``num_parameters``.
    machine
        Processor, allocator, Python; ``left_out``, a line for each peer that did not run.
    """

    rows: list[dict[str, Any]]
    machine: dict[str, Any]

    def markdown(self) -> str:
        """Return the rows as a table; ``ratio`` is the time over that of the first engine."""
        lines = [
            "| student | atoms | batch | engine | ms (median) | p95 | us/atom | ratio | ns/day | "
            "structures/s | max dF, eV/Å | GFLOP/s | of peak |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        first: dict[tuple[str, int, int], float] = {}
        for row in self.rows:
            case = (row["student"], row["atoms"], row["batch"])
            base, total = first.setdefault(case, row["median_ms"]), row["atoms"] * row["batch"]
            error, gflops = row["max_force_error_eV_per_A"], row.get("gflops")
            lines.append(
                f"| {row['student']} | {row['atoms']} | {row['batch']} | {row['engine']} | "
                f"{row['median_ms']:.3f} | {row['p95_ms']:.3f} | "
                f"{1e3 * row['median_ms'] / total:.1f} | {row['median_ms'] / base:.1f} | "
                f"{row['ns_per_day']:.3g} | {row['structures_per_s']:.4g} | "
                f"{'' if error is None else f'{error:.1e}'} | "
                + ("| |" if gflops is None else f"{gflops:.0f} | {row['fraction_of_peak']:.2f} |")
            )
        return "\n".join(lines)


def bench(
    students: Sequence[str] = ("tiny",),
    *,
    engines: Sequence[str] = DEFAULT_ENGINES,
    peers: Sequence[str] = (),
    atoms: Sequence[int] = (9, 21, 100, 500),
    batches: Sequence[int] = (1,),
    device: str = "cpu",
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
    batches
        How many structures are evaluated at once; peers and ``ase-step`` take one.
    device
        Device of the torch engines: cpu, cuda or cuda:N.
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
    if any(not 1 <= batch <= 10_000 for batch in batches):
        raise ConfigError(f"batches must be from 1 to 10000, got {list(batches)}")
    for name in students:
        student = load_student(name)
        for count in atoms:
            structure = structure_of(count)
            for batch in batches:
                missing: list[str] = []
                case = Case(student, name, structure, batch, device, threads)
                beside = makers if batch == 1 else {}
                rows += _compare(case, engines, beside, seconds, timestep_fs, missing.append)
                for line in missing:
                    left_out.append(f"{len(structure)} atoms: {line}")
                    tell(left_out[-1])
                tell(f"{name}: {batch} x {len(structure)} atoms done")
    machine = {
        "processor": _processor(),
        "allocator": allocator,
        "python": platform.python_version(),
        "left_out": left_out,
    }
    return BenchResult(rows, machine)


@dataclass(frozen=True)
class Case:
    """What all contenders of a comparison evaluate, and on what."""

    student: Student
    name: str
    structure: Atoms
    batch: int
    device: str
    threads: int


def _compare(
    case: Case,
    engines: Sequence[str],
    peers: Mapping[str, Maker],
    seconds: float,
    timestep_fs: float,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    student, structure, threads = case.student, case.structure, case.threads
    contenders = {}
    errors: dict[str, float | None] = {}
    native: NativeEngine | None = None
    # Beyond that size torch would take tens of GB; the tests hold the two to 1e-10.
    exact = "torch" if len(structure) <= 3000 else "native"
    reference = make_engine(student, exact, dtype="float64").compute(structure).forces
    for kind in engines:
        if kind == ASE_STEP:
            if case.batch == 1:
                contenders[kind], errors[kind] = _ase_step(student, structure, threads), None
            continue
        # The others have no other device.
        device = case.device if kind in ("torch", "torchscript") else "cpu"
        engine = make_engine(student, kind, threads=threads, device=device)
        if isinstance(engine, NativeEngine):
            native = engine
        errors[kind] = float(np.abs(engine.compute(structure).forces - reference).max())
        contenders[kind] = _evaluation(_compute(engine, case.batch), structure)
    parameters: dict[str, int] = {}
    for kind, compute, parameters[kind] in peer_calls(peers, structure, threads, tell):
        contenders[kind], errors[kind] = _evaluation(compute, structure), None
    peak = peak_gflops(native.kernel) if native else 0.0
    timings = interleaved(contenders, seconds)
    if native:
        peak = max(peak, peak_gflops(native.kernel))
    rows = []
    for kind, timing in timings.items():
        row = {"student": case.name, "atoms": len(structure), "batch": case.batch, "engine": kind}
        on_gpu = kind in ("torch", "torchscript")
        row |= {"threads": threads, "device": case.device if on_gpu else "cpu"}
        row |= asdict(timing)
        row["structures_per_s"] = 1e3 * case.batch / timing.median_ms
        row["resident_MB"] = resident_MB()
        row["max_force_error_eV_per_A"] = errors[kind]
        row["ns_per_day"] = timestep_fs * 86.4 / timing.median_ms
        if kind in parameters:
            row["num_parameters"] = parameters[kind]
        if native and kind == "native" and case.batch == 1:
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


def _compute(engine: Engine, batch: int) -> Callable[[Atoms], object]:
    if batch == 1:
        return engine.compute
    return lambda atoms: evaluate_structures(engine, [atoms] * batch)


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
    # Imports a third of a second of SciPy, which the options of the command do not need.
    from ase.md.verlet import VelocityVerlet

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
