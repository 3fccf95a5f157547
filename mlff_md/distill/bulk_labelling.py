"""Labelling periodic structures: what ``mlff-md label --structure`` does."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_md.distill.bulk import BulkSettings, bulk_items
from mlff_md.distill.dataset import Dataset
from mlff_md.distill.executors import check_executor
from mlff_md.distill.label_folder import failures
from mlff_md.distill.labelling import LabelProgress, run_items, spelled
from mlff_md.distill.shards import Job, Teacher, label_chunk, make_teacher
from mlff_md.errors import ConfigError, DataError
from mlff_md.structures import read_structure
from mlff_md.teachers import DEFAULT_TEACHER

if TYPE_CHECKING:
    from ase import Atoms

FORCE_CAP_EV_A = 60.0
"""Frames with a larger force component are dropped, eV/Å."""

HELD_OUT = ("val", "test")

_CHUNK_ITEMS = 12
"""Trajectories in one shard."""


def label_structures(
    structures: Sequence[str | Path],
    out: str | Path,
    *,
    teacher: Teacher = DEFAULT_TEACHER,
    seed: int = 0,
    temperatures_K: tuple[float, ...] = BulkSettings.temperatures_K,
    melt_temperatures_K: tuple[float, ...] = (),
    melting_K: float = BulkSettings.melting_K,
    trajectories: int = BulkSettings.trajectories,
    frames: int = BulkSettings.frames,
    rattles: int = BulkSettings.rattles,
    supercell_atoms: int = BulkSettings.atoms,
    strain: float = BulkSettings.strain,
    vacancies: float = BulkSettings.vacancy_fraction,
    split: str = "train",
    workers: int = 1,
    executor: Executor | str | None = None,
    progress: Callable[[LabelProgress], None] | None = None,
) -> Path:
    """Sample periodic structures by teacher MD and distortions; continue an interrupted job.

    Parameters
    ----------
    structures
        Files with a cell.
    out
        Folder of the shards, or file of a held-out set; read it with :meth:`Dataset.load`.
    teacher
        Name of a teacher; from Python also a picklable function without arguments that returns
        an ASE calculator.
    seed
        Seed of everything random.
    temperatures_K
        Temperatures of the solid, K, separated by commas.
    melt_temperatures_K
        Temperatures of the melt, K, separated by commas; none, no melt.
    melting_K
        Temperature at which melts are made.
    trajectories
        Trajectories at each temperature, each with its own strain.
    frames
        Frames of each trajectory, 40 fs apart.
    rattles
        Frames of noise and short contacts, without MD, for each structure.
    supercell_atoms
        Structures are repeated until they have as many atoms.
    strain
        Largest relative change of the supercell's lengths.
    vacancies
        Fraction of the solid's trajectories that lack an atom.
    split
        ``train``, or ``val`` and ``test`` for held-out sets: other trajectories, MD alone, in one
        ``.npz`` file instead of a folder, made by one process.
    workers
        Processes; each uses one thread if OMP_NUM_THREADS=1 is set.
    executor
        Where the work runs: as in :func:`mlff_md.distill.labelling.label`.
    progress
        Called after every chunk.

    Raises
    ------
    ConfigError
        If the settings are unusable, a structure has no cell, or ``out`` holds something else.
    DataError
        If nothing can be labelled, or not all of a held-out set.
    MissingDependencyError
        If the teacher or what the executor needs is not installed.
    StructureError
        If a file cannot be read.
    """
    if isinstance(executor, str):
        check_executor(executor)
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    settings = BulkSettings(
        temperatures_K=tuple(temperatures_K),
        melt_temperatures_K=tuple(melt_temperatures_K),
        melting_K=melting_K,
        trajectories=trajectories,
        frames=frames,
        rattles=rattles,
        atoms=supercell_atoms,
        strain=strain,
        vacancy_fraction=vacancies,
    )
    named = _read(structures)
    make_teacher(teacher)  # an unknown or missing teacher must fail here, not in each worker
    out = Path(out)
    if split != "train":
        return _held_out(named, out, settings, teacher, seed, split)
    items = bulk_items(named, settings)
    order = np.random.default_rng(seed).permutation(len(items))
    record = {
        "seed": seed,
        "teacher": spelled(teacher),
        "structures_sha256": _digest(named),
        "sampling": dataclasses.asdict(settings),
        "force_cap_eV_A": FORCE_CAP_EV_A,
        "chunk_items": _CHUNK_ITEMS,
    }
    run_items(
        [items[index] for index in order],
        out,
        record,
        settings,
        teacher=teacher,
        workers=workers,
        executor=executor,
        progress=progress,
    )
    if len(Dataset.load(out)) == 0:
        raise DataError(f"nothing could be labelled: {failures(out)[0].reason}")
    return out


def _held_out(
    named: Sequence[tuple[str, Atoms]],
    out: Path,
    settings: BulkSettings,
    teacher: Teacher,
    seed: int,
    split: str,
) -> Path:
    """Label a held-out set into one file, from random streams that training does not touch."""
    if split not in HELD_OUT:
        raise ConfigError(f"split must be train, {' or '.join(HELD_OUT)}, got {split!r}")
    if out.suffix != ".npz":
        raise ConfigError(f"a held-out set is written as .npz, not {out.name!r}")
    if out.exists():
        raise ConfigError(f"{out} exists; choose another file")
    stream = np.random.SeedSequence([seed, 1 + HELD_OUT.index(split)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard-00000.npz"
        items = tuple(bulk_items(named, settings, md_only=True))
        own_seed = int(stream.generate_state(1)[0])
        label_chunk(Job(str(path), 0, items, teacher, own_seed, settings, np.inf))
        failed = failures(folder)
        if failed:
            raise DataError(f"{failed[0].name}: the teacher failed: {failed[0].reason}")
        Dataset.load(path).save(out)
    return out


def _read(paths: Sequence[str | Path]) -> list[tuple[str, Atoms]]:
    if not paths:
        raise ConfigError("nothing to label: no structure was given")
    return [(Path(path).stem, read_structure(path)) for path in paths]


def _digest(named: Sequence[tuple[str, Atoms]]) -> str:
    """Return the hash of names and structures."""
    digest = hashlib.sha256()
    for name, atoms in named:
        digest.update(name.encode() + b"\0")
        for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
            digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()
