"""Labelling through processes, dask and MPI: the same data set to the bit."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlff_md.cli import main
from mlff_md.distill.executors import check_executor, open_executor, worker_lost
from mlff_md.errors import ConfigError

WORKERS = 2
START_S = 120


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("shard-*.npz"))}


def words(out: Path, molecules: Path) -> list[str]:
    return [
        "label",
        "--out",
        str(out),
        "--molecules",
        str(molecules),
        "--frames-per-molecule",
        "3",
        "--no-scans",
        "--chunk-items",
        "1",
    ]


@pytest.fixture(scope="module")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    path = tmp_path_factory.mktemp("molecules") / "few.smi"
    path.write_text("O water\nCN methylamine\nCO methanol\nN ammonia\n")
    return path


@pytest.fixture(scope="module")
def serial(molecules: Path) -> dict[str, bytes]:
    """What one process makes of them, with the command line's own defaults."""
    out = molecules.parent / "serial"
    assert main(words(out, molecules)) == 0
    made = content(out)
    assert len(made) == 4
    return made


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dusk:tcp://127.0.0.1:1", "did you mean dask"),
        ("slurm", "there are processes, dask, mpi"),
        ("dask", "write it as dask:tcp://HOST:PORT"),
        ("mpi:3", "write it as mpi, under 'mpirun"),
    ],
)
def test_unknown_executors_are_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_executor(spec)


def test_refusal_comes_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rdkit")
    molecules = tmp_path / "few.smi"
    molecules.write_text("O water\n")
    code = main([*words(tmp_path / "out", molecules), "--executor", "dusk"])
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (3, 1)
    assert not (tmp_path / "out").exists()


def test_own_list_options_are_refused_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "--out", "nowhere", "--frames-per-molecule", "3"]) == 3
    assert "--frames-per-molecule does nothing without --molecules" in capsys.readouterr().err
    assert main(["label", "--out", "n.npz", "--split", "test", "--executor", "mpi"]) == 3
    assert "--executor does nothing for held-out splits" in capsys.readouterr().err
    assert not Path("nowhere").exists()


def test_processes_by_name() -> None:
    with open_executor("processes", 1) as executor:
        assert executor.submit(pow, 2, 5).result() == 32


def test_a_lost_worker_is_told_from_failed_work() -> None:
    from concurrent.futures.process import BrokenProcessPool

    assert worker_lost(BrokenProcessPool("gone"))
    assert not worker_lost(ValueError("work failed"))
    comm = pytest.importorskip("distributed.comm")
    assert worker_lost(comm.CommClosedError("gone"))


def test_no_mpi_workers() -> None:
    pytest.importorskip("mpi4py")
    code = "from mlff_md.distill.executors import open_executor\nwith open_executor('mpi'): pass"
    # In a process of its own: importing mpi4py starts MPI.
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if "needs mpi4py and an MPI" in ended.stderr:
        pytest.skip("there is no MPI library")
    assert "there are no MPI workers; start it as 'mpirun -n 3" in ended.stderr


@pytest.mark.slow
def test_two_processes(serial: dict[str, bytes], molecules: Path, tmp_path: Path) -> None:
    command = [*words(tmp_path / "out", molecules), "--executor", "processes", "--workers", "2"]
    subprocess.run([sys.executable, "-m", "mlff_md", *command], check=True, capture_output=True)
    assert content(tmp_path / "out") == serial


@pytest.mark.slow
def test_two_mpi_workers(serial: dict[str, bytes], molecules: Path, tmp_path: Path) -> None:
    launcher = mpi_launcher()
    command = [*words(tmp_path / "out", molecules), "--executor", "mpi"]
    ended = subprocess.run(
        [*launcher, "-n", "3", sys.executable, "-m", "mpi4py.futures", "-m", "mlff_md", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=START_S,
    )
    assert ended.returncode == 0, ended.stderr
    assert content(tmp_path / "out") == serial


def mpi_launcher() -> list[str]:
    """The launcher of the MPI that mpi4py loads: another one starts lone processes."""
    pytest.importorskip("mpi4py")
    code = "from mpi4py import MPI; print(MPI.COMM_WORLD.Get_size())"
    beside = Path(sys.executable).parent
    for name in ("mpiexec", "mpirun"):
        for path in (str(beside / name), shutil.which(name)):
            if path is None or not os.path.exists(path):
                continue
            tried = subprocess.run(
                [path, "-n", "2", sys.executable, "-c", code],
                capture_output=True,
                text=True,
                check=False,
                timeout=START_S,
            )
            if tried.stdout.split() == ["2", "2"]:
                return [path]
    pytest.skip("no launcher of the MPI that mpi4py uses")


@pytest.fixture
def cluster() -> Iterator[str]:
    """A dask scheduler with two workers, each a process of its own, as on a real cluster."""
    pytest.importorskip("distributed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker"]
    started = [
        subprocess.Popen(
            [*scheduler, "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], **quiet
        )
    ]
    wait_for(port)
    for _ in range(WORKERS):
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard"]
        started.append(subprocess.Popen([*worker, address, *options], **quiet))
    try:
        yield address
    finally:
        for process in reversed(started):
            # A worker that cannot say goodbye waits for long; nothing of it is needed any more.
            process.kill()
            process.wait()


def wait_for(port: int) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError("the dask scheduler did not start")


@pytest.mark.slow
def test_two_dask_workers(
    cluster: str, serial: dict[str, bytes], molecules: Path, tmp_path: Path
) -> None:
    command = [*words(tmp_path / "out", molecules), "--executor", f"dask:{cluster}"]
    ended = subprocess.run(
        [sys.executable, "-m", "mlff_md", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=START_S,
    )
    assert ended.returncode == 0, ended.stderr
    assert content(tmp_path / "out") == serial


@pytest.mark.slow
def test_a_dask_scheduler_that_is_not_there(molecules: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    command = [*words(tmp_path / "out", molecules), "--executor", "dask:tcp://127.0.0.1:9"]
    ended = subprocess.run(
        [sys.executable, "-m", "mlff_md", *command], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 3
    assert "no dask scheduler answers at tcp://127.0.0.1:9" in ended.stderr.splitlines()[-1]
