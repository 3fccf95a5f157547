"""Executors by name: processes of this machine, an existing dask cluster, or MPI ranks."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from mlff_md.errors import ConfigError, MissingDependencyError
from mlff_md.hints import hint

EXECUTORS = {
    "processes": "processes",
    "dask": "dask:tcp://HOST:PORT, or dask:FILE.json of a scheduler",
    "mpi": "mpi, under 'mpirun -n N python -m mpi4py.futures -m mlff_md label ...'",
}
"""Kind -> how it is written."""

_CONNECT_S = 20


def check_executor(spec: str) -> None:
    """Refuse a name that is no executor, before any work is done for it.

    Raises
    ------
    ConfigError
        With the nearest name.
    """
    kind, _, address = spec.partition(":")
    if kind not in EXECUTORS:
        raise ConfigError(f"no executor is called {spec!r}; {hint(kind, EXECUTORS)}")
    if (kind == "dask") != bool(address):
        raise ConfigError(f"cannot read the executor {spec!r}; write it as {EXECUTORS[kind]}")


@contextmanager
def open_executor(spec: str, workers: int = 1) -> Iterator[Executor]:
    """Open an executor by name and close it at the end; a cluster itself goes on.

    Parameters
    ----------
    spec
        One of :data:`EXECUTORS`.
    workers
        Processes for ``processes``; a cluster and MPI have as many as they have.

    Raises
    ------
    ConfigError
        If the name is unknown, the cluster cannot be reached, or there are no MPI workers.
    MissingDependencyError
        If the package that it needs is not installed.
    """
    check_executor(spec)
    kind, _, address = spec.partition(":")
    if kind == "dask":
        with _dask_client(address) as client:
            yield client.get_executor()
        return
    with _mpi_pool() if kind == "mpi" else _processes(workers) as executor:
        yield executor


def worker_lost(error: BaseException) -> bool:
    """Return whether an error means that a worker or the cluster went away, not that work failed.

    dask has classes of its own for that, outside the hierarchy of ``concurrent.futures``.
    """
    return isinstance(error, BrokenExecutor) or type(error).__name__ in {
        "KilledWorker",
        "CommClosedError",
        "FutureCancelledError",
    }


def _processes(workers: int) -> Executor:
    # Spawned, not forked: a fork of a process with BLAS or torch threads may hang.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _dask_client(address: str) -> Any:
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise MissingDependencyError(
            "the executor dask needs dask.distributed: pip install 'mlff-md[distributed]'"
        ) from error
    try:
        if address.endswith(".json"):
            return Client(scheduler_file=address, timeout=_CONNECT_S, set_as_default=False)
        return Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no dask scheduler answers at {address}; start one (dask scheduler, dask worker) or "
            "mend the address"
        ) from error


def _mpi_pool() -> Executor:
    try:
        from mpi4py import MPI
        from mpi4py.futures import MPIPoolExecutor
    except (ImportError, RuntimeError) as error:  # the latter: installed, but no MPI library
        raise MissingDependencyError(
            "the executor mpi needs mpi4py and an MPI: pip install 'mlff-md[distributed]'"
        ) from error
    if MPI.COMM_WORLD.Get_size() < 2:
        raise ConfigError(
            "there are no MPI workers; start it as 'mpirun -n 3 python -m mpi4py.futures -m "
            "mlff_md label ... --executor mpi' (one rank more than workers)"
        )
    pool: Executor = MPIPoolExecutor()
    return pool
