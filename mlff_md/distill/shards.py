"""One shard: the samples of a chunk of items, labelled by the teacher and written at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.distill.bulk import BulkItem, BulkSettings, sample_bulk
from mlff_md.distill.dataset import Dataset
from mlff_md.distill.npz import write_npz
from mlff_md.distill.sampling import Item, Sample, SamplingSettings, sample
from mlff_md.errors import DataError, MlffError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

Teacher = str | Callable[[], Any]
"""Name for :func:`mlff_md.teachers.teacher`, or picklable function that returns a calculator."""


@dataclass(frozen=True)
class Failure:
    """A frame or a whole item that could not be labelled.

    Attributes
    ----------
    item
        Number of the item in the job's order.
    name, kind
        Molecule and kind of frame (empty where the whole item failed).
    reason
        One line.
    """

    item: int
    name: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Job:
    """One chunk, as it travels to a worker.

    Attributes
    ----------
    path
        Shard to write.
    first_item
        Number of the first item in the whole job; an item's number seeds its random generator.
    items
        What to sample.
    teacher, seed, sampling, force_cap_eV_A
        As for :func:`mlff_md.distill.labelling.label`.
    """

    path: str
    first_item: int
    items: tuple[Item | BulkItem, ...]
    teacher: Teacher
    seed: int
    sampling: SamplingSettings | BulkSettings
    force_cap_eV_A: float


@dataclass
class _Frames:
    """Labelled frames as they come; cells and stresses of molecules are ``None``."""

    numbers: list[NDArray[np.uint8]] = field(default_factory=list)
    positions: list[NDArray[np.float32]] = field(default_factory=list)
    forces: list[NDArray[np.float32]] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    temperature_K: list[float] = field(default_factory=list)
    cells: list[NDArray[np.float64] | None] = field(default_factory=list)
    pbc: list[NDArray[np.bool_] | None] = field(default_factory=list)
    stress: list[NDArray[np.float64] | None] = field(default_factory=list)

    def dataset(self) -> Dataset:
        def joined(parts: Sequence[NDArray[Any]], shape: tuple[int, ...], kind: Any) -> Any:
            return np.concatenate([np.empty(shape, kind), *parts])

        def filled(parts: Sequence[Any], empty: NDArray[Any]) -> NDArray[Any] | None:
            if all(part is None for part in parts):
                return None
            return np.array([empty if part is None else part for part in parts])

        return Dataset(
            numbers=joined(self.numbers, (0,), np.uint8),
            positions=joined(self.positions, (0, 3), np.float32),
            forces=joined(self.forces, (0, 3), np.float32),
            energies=np.array(self.energies, dtype=np.float64),
            counts=np.array([len(z) for z in self.numbers], dtype=np.int32),
            molecules=np.array(self.names, dtype=np.str_),
            kinds=np.array(self.kinds, dtype=np.str_),
            temperature_K=np.array(self.temperature_K, dtype=np.float32),
            cell=filled(self.cells, np.zeros((3, 3))),
            pbc=filled(self.pbc, np.zeros(3, dtype=np.bool_)),
            stress=filled(self.stress, np.full(6, np.nan)),
        )


def make_teacher(spec: Teacher) -> Calculator:
    """Return a new calculator for a teacher's name or factory."""
    if not isinstance(spec, str):
        return spec()
    from mlff_md.teachers import teacher

    return teacher(spec)


def label_chunk(job: Job) -> tuple[int, int]:
    """Label one chunk, write its shard and return the numbers of frames and failures."""
    frames, failed = _Frames(), list[Failure]()
    for number, item in enumerate(job.items, start=job.first_item):
        # A generator of its own makes an item independent of all others.
        rng = np.random.default_rng([job.seed, number])
        labeller = _Labeller(job, number, item.name, frames, failed, rng)
        try:
            for drawn in _samples(item, job.sampling, rng):
                labeller.add(drawn)
        except MlffError as error:
            failed.append(Failure(number, item.name, "", str(error)))
    arrays = frames.dataset().arrays()
    arrays["failures"] = np.array(json.dumps([dataclasses.asdict(f) for f in failed]))
    write_npz(Path(job.path), arrays)
    return len(frames.energies), len(failed)


def _samples(
    item: Item | BulkItem, settings: SamplingSettings | BulkSettings, rng: np.random.Generator
) -> Iterator[Sample]:
    if isinstance(item, BulkItem):
        assert isinstance(settings, BulkSettings)
        return sample_bulk(item, settings, rng)
    assert isinstance(settings, SamplingSettings)
    return sample(item, settings, rng)


class _Labeller:
    """Labels the samples of one item, with one calculator as long as its atoms stay the same."""

    def __init__(
        self,
        job: Job,
        number: int,
        name: str,
        frames: _Frames,
        failed: list[Failure],
        rng: np.random.Generator,
    ) -> None:
        self.job, self.number, self.name = job, number, name
        self.frames, self.failed, self.rng = frames, failed, rng
        self._calculator: Any = None
        self._numbers: NDArray[np.uint8] | None = None
        self._md_positions: NDArray[np.float64] | None = None

    def add(self, drawn: Sample) -> None:
        """Label a sample and keep it, or record why not."""
        from ase import Atoms

        if not np.isfinite(drawn.positions).all():
            return self._fail(drawn.kind, "the geometry is not finite")
        positions: NDArray[np.float64] = drawn.positions
        try:
            if drawn.md_steps:
                positions = self._teacher_md(drawn)
            if not drawn.keep:
                return None
            atoms = Atoms(drawn.numbers, positions, cell=drawn.cell, pbc=drawn.pbc)
            if drawn.pbc is not None:  # a melt diffuses out of its cell
                atoms.wrap()
            # Labels belong to the stored geometry, so it is rounded before it is labelled.
            stored = atoms.positions.astype(np.float32)
            atoms.positions = stored.astype(np.float64)
            atoms.calc = self._get_calculator(drawn.numbers)
            energy, forces = float(atoms.get_potential_energy()), atoms.get_forces()
            stress = self._stress(atoms)
        except Exception as error:  # teachers are foreign code: whatever they raise is a failure
            self._calculator = None  # its state after a failure is not to be trusted
            reason = " ".join(str(error).split())[:120]
            if not drawn.keep:  # what would follow needs it
                raise DataError(reason) from error
            return self._fail(drawn.kind, reason)
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            self._calculator = None
            return self._fail(drawn.kind, "the teacher's answer is not finite")
        largest = float(np.abs(forces).max())
        if largest > self.job.force_cap_eV_A:
            return self._fail(drawn.kind, f"force {largest:.0f} eV/A is above the cap")
        self.frames.numbers.append(drawn.numbers)
        self.frames.positions.append(stored)
        self.frames.forces.append(forces.astype(np.float32))
        self.frames.energies.append(energy)
        self.frames.names.append(self.name)
        self.frames.kinds.append(drawn.kind)
        self.frames.temperature_K.append(drawn.temperature_K)
        self.frames.cells.append(drawn.cell)
        self.frames.pbc.append(drawn.pbc)
        self.frames.stress.append(stress)
        return None

    def _stress(self, atoms: Atoms) -> NDArray[np.float64] | None:
        """Return the stress, eV/Å^3, of a frame that has one and whose teacher gives one."""
        if not atoms.pbc.all() or "stress" not in atoms.calc.implemented_properties:
            return None
        return np.asarray(atoms.get_stress(), dtype=np.float64)

    def _fail(self, kind: str, reason: str) -> None:
        self.failed.append(Failure(self.number, self.name, kind, reason))

    def _get_calculator(self, numbers: NDArray[np.uint8]) -> Any:
        same = self._numbers is not None and np.array_equal(self._numbers, numbers)
        if self._calculator is None or not same:
            self._calculator, self._numbers = make_teacher(self.job.teacher), numbers
        return self._calculator

    def _teacher_md(self, drawn: Sample) -> NDArray[np.float64]:
        from ase import Atoms

        start = drawn.positions if self._md_positions is None else self._md_positions
        atoms = Atoms(drawn.numbers, start, cell=drawn.cell, pbc=drawn.pbc)
        atoms.calc = self._get_calculator(drawn.numbers)
        dynamics = teacher_md(atoms, drawn.temperature_K, self.rng)
        dynamics.run(drawn.md_steps)
        self._md_positions = atoms.get_positions()
        return self._md_positions


def teacher_md(atoms: Any, temperature_K: float, rng: np.random.Generator) -> Any:
    """Return Langevin dynamics (1 fs, friction 0.02/fs) with fresh Maxwell-Boltzmann velocities."""
    from ase import units
    from ase.md.langevin import Langevin
    from ase.parallel import DummyMPI

    masses = atoms.get_masses()
    thermal = np.sqrt(masses * (units.kB * temperature_K))
    atoms.set_momenta(rng.standard_normal((len(masses), 3)) * thermal[:, None])
    return Langevin(
        atoms,
        units.fs,
        temperature_K=temperature_K,
        friction=0.02 / units.fs,
        fixcm=False,
        rng=rng,
        # A worker that is an MPI rank runs its own MD: ASE would wait for all other ranks.
        comm=DummyMPI(),
    )
