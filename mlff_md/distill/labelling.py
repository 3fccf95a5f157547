"""Labelling: geometries in, teacher energies and forces out, in resumable shards.

The work is a list of items (:class:`mlff_md.distill.sampling.Item`) in random order, cut into
chunks. A chunk becomes one shard, ``shard-00017.npz``, written atomically, whose content depends
only on the settings and the chunk's number; so a killed job loses at most the chunks in flight,
a rerun continues where it stopped, any number of workers gives the same files, and any prefix of
the shards is a fair sample of the whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlff_md.distill.bulk import BulkItem, BulkSettings
from mlff_md.distill.executors import check_executor, open_executor, worker_lost
from mlff_md.distill.label_folder import claim_folder
from mlff_md.distill.molecules import Molecule
from mlff_md.distill.sampling import Item, SamplingSettings, dimer_items, scan_items
from mlff_md.distill.shards import Job, Teacher, label_chunk, make_teacher
from mlff_md.errors import ConfigError
from mlff_md.teachers import DEFAULT_TEACHER

_WORKER_LOST = (
    "a labelling worker died: out of memory, or a script that calls label(workers=2) without "
    '`if __name__ == "__main__":`; mend that and rerun to continue'
)


@dataclass(frozen=True)
class LabelProgress:
    """Where a labelling job stands, for progress callbacks.

    Attributes
    ----------
    chunks_done, chunks
        Finished (including those found on disk) and all chunks.
    frames, failures
        Frames and failures in the chunks of this run.
    frames_per_minute
        Rate of this run.
    minutes_left
        Expected time to the end at that rate.
    """

    chunks_done: int
    chunks: int
    frames: int
    failures: int
    frames_per_minute: float
    minutes_left: float


def label(
    molecules: Iterable[Molecule],
    out: str | Path,
    *,
    teacher: Teacher = DEFAULT_TEACHER,
    seed: int = 0,
    frames_per_molecule: int = 7,
    dimer_fraction: float = 0.05,
    scans: bool = True,
    sampling: SamplingSettings | None = None,
    force_cap_eV_A: float = 60.0,
    chunk_items: int = 300,
    workers: int = 1,
    executor: Executor | str | None = None,
    progress: Callable[[LabelProgress], None] | None = None,
) -> Path:
    """Label molecules with a teacher; continue a job that was interrupted.

    Parameters
    ----------
    molecules
        What to label. A molecule that is given twice is sampled twice, from other conformers.
    out
        Folder of the shards; read it with :meth:`Dataset.load`.
    teacher
        Name of a teacher; from Python also a picklable function without arguments that returns
        an ASE calculator.
    seed
        Seed of everything random.
    frames_per_molecule
        Frames drawn for each molecule; fewer are kept where the teacher fails.
    dimer_fraction
        Dimer items per molecule.
    scans
        Whether to add the short-range scans of all 36 element pairs.
    sampling
        How geometries are drawn.
    force_cap_eV_A
        Frames with a larger force component are dropped (and counted as failures).
    chunk_items
        Items per shard.
    workers
        Processes; each uses one thread if ``OMP_NUM_THREADS=1`` is set. They are spawned, so a
        script that asks for more than one needs ``if __name__ == "__main__":``.
    executor
        Where the work runs: ``processes`` of this machine (the default), ``dask:tcp://HOST:PORT``
        or ``mpi``; from Python also any ``concurrent.futures`` executor. Its workers must see the
        folder ``out``.
    progress
        Called after every chunk.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If the settings are unusable, ``out`` holds shards made with others, or a worker dies.
    MissingDependencyError
        If the teacher, RDKit or what the executor needs is not installed.
    """
    out = Path(out)
    if isinstance(executor, str):
        check_executor(executor)
    molecules = tuple(molecules)
    sampling = sampling or SamplingSettings()
    if not molecules:
        raise ConfigError("nothing to label: the list of molecules is empty")
    if frames_per_molecule < 1 or chunk_items < 1 or workers < 1 or force_cap_eV_A <= 0.0:
        raise ConfigError(
            "frames_per_molecule, chunk_items, workers and force_cap_eV_A must be positive"
        )
    make_teacher(teacher)  # an unknown or missing teacher must fail here, not in each worker
    settings = {
        "seed": seed,
        "teacher": spelled(teacher),
        "molecules": len(molecules),
        "molecules_sha256": _digest(molecules),
        "frames_per_molecule": frames_per_molecule,
        "dimer_fraction": dimer_fraction,
        "scans": scans,
        "sampling": dataclasses.asdict(sampling),
        "force_cap_eV_A": force_cap_eV_A,
        "chunk_items": chunk_items,
    }
    items = _items(molecules, seed, frames_per_molecule, dimer_fraction, scans, sampling)
    run_items(
        items,
        out,
        settings,
        sampling,
        teacher=teacher,
        workers=workers,
        executor=executor,
        progress=progress,
    )
    return out


def run_items(
    items: Sequence[Item | BulkItem],
    out: Path,
    settings: dict[str, Any],
    sampling: SamplingSettings | BulkSettings,
    *,
    teacher: Teacher,
    workers: int,
    executor: Executor | str | None,
    progress: Callable[[LabelProgress], None] | None,
) -> None:
    """Cut items into shards and label those that the folder does not have yet.

    Parameters
    ----------
    items
        In the order of the shards.
    out
        Folder of the shards.
    settings
        All that the shards depend on, for ``label.json``; ``seed``, ``force_cap_eV_A`` and
        ``chunk_items`` among them.
    sampling
        How geometries are drawn.
    teacher, workers, executor, progress
        As in :func:`label`.
    """
    claim_folder(out, settings)
    chunk_items = settings["chunk_items"]
    jobs = [
        Job(
            path=str(out / f"shard-{number:05d}.npz"),
            first_item=start,
            items=tuple(items[start : start + chunk_items]),
            teacher=teacher,
            seed=settings["seed"],
            sampling=sampling,
            force_cap_eV_A=settings["force_cap_eV_A"],
        )
        for number, start in enumerate(range(0, len(items), chunk_items))
    ]
    waiting = [job for job in jobs if not Path(job.path).exists()]
    _run(waiting, len(jobs), workers, executor, progress)


def _items(
    molecules: Sequence[Molecule],
    seed: int,
    frames_per_molecule: int,
    dimer_fraction: float,
    scans: bool,
    sampling: SamplingSettings,
) -> list[Item]:
    """Return all items in a random order, so that every prefix is a fair sample."""
    rng = np.random.default_rng(seed)
    items = [Item("molecule", m.name, (m,), frames_per_molecule) for m in molecules]
    dimers = round(dimer_fraction * len(molecules))
    items += dimer_items(molecules, dimers, frames_per_molecule, rng)
    if scans:
        items += scan_items(sampling)
    return [items[i] for i in rng.permutation(len(items))]


def _run(
    waiting: Sequence[Job],
    chunks: int,
    workers: int,
    executor: Executor | str | None,
    progress: Callable[[LabelProgress], None] | None,
) -> None:
    start = time.monotonic()
    done, frames, failed = chunks - len(waiting), 0, 0

    def report(result: tuple[int, int]) -> None:
        nonlocal done, frames, failed
        done, frames, failed = done + 1, frames + result[0], failed + result[1]
        minutes = max(time.monotonic() - start, 1e-9) / 60.0
        if progress is not None:
            left = (chunks - done) * minutes / (done - chunks + len(waiting))
            progress(LabelProgress(done, chunks, frames, failed, frames / minutes, left))

    if executor is None and workers == 1:
        for job in waiting:
            report(label_chunk(job))
        return
    if executor is None or isinstance(executor, str):
        pool: Any = open_executor(executor or "processes", workers)
    else:
        pool = nullcontext(executor)
    with pool as running:
        futures = [running.submit(label_chunk, job) for job in waiting]
        try:
            for future in as_completed(futures):
                report(future.result())
        except BaseException as error:
            for future in futures:
                future.cancel()
            if worker_lost(error):
                raise ConfigError(_WORKER_LOST) from error
            raise


def _digest(molecules: Sequence[Molecule]) -> str:
    text = "\n".join(f"{m.smiles} {m.name}" for m in molecules)
    return hashlib.sha256(text.encode()).hexdigest()


def spelled(teacher: Teacher) -> str:
    """Return a teacher's name, or where its factory is defined."""
    if isinstance(teacher, str):
        return teacher
    return f"{getattr(teacher, '__module__', '?')}.{getattr(teacher, '__qualname__', teacher)}"
