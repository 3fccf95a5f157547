"""Kill -9 at random moments, over all commands that go on afterwards: nothing lost, same results.

Run alone, it takes the number of kills and prints the table:
``python tests/physical/test_kill.py 200``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT

ETHANOL = Path(__file__).parents[2] / "inputs" / "structures" / "ethanol.xyz"

# Its children are forks of a process that has imported all: the kills hit work, not imports.
FORKS = multiprocessing.get_context("forkserver")
PRELOADED = (
    "torch",
    "scipy.stats",
    "matplotlib.pyplot",
    "mlff_md.cli.md",
    "mlff_md.cli.validate_nve",
    "mlff_md.cli.compare",
    "mlff_md.distill.labelling",
    "mlff_md.distill.train",
    "mlff_md.protocols.nve",
    "mlff_md.protocols.compare",
    "mlff_md.report",
)

CONFIG = """
[student]
name = "s"
hidden_dim = 8
num_interactions = 2
num_rbf = 4
elements = ["H", "C", "N", "O"]

[data]
train = ["train.npz"]
validation = ["train.npz"]
teacher = "emt"

[training]
steps = 60
learning_rate = 1e-2
warmup_steps = 5
atoms_per_batch = 60
buckets = [6, 10]
compile = false
checkpoint_every = 4
validate_every = 20
ema_decay = 0.9
"""


@dataclass(frozen=True)
class Job:
    """A command that goes on, and what it must leave.

    Attributes
    ----------
    words
        Its command line; ``OUT`` stands for the folder.
    share
        Of the kills.
    result
        What must be equal to that of the run that was never killed.
    progress
        Number that must never fall: what is safe on disk.
    """

    words: tuple[str, ...]
    share: float
    result: Callable[[Path], Mapping[str, Any]]
    progress: Callable[[Path], int]


@dataclass
class Count:
    """What became of the kills of one job."""

    kills: int = 0
    runs: int = 0
    lost: int = 0
    different: int = 0
    names: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    seconds: float = 0.0


def command_line(words: tuple[str, ...], said: str) -> None:
    """Run the command line in a child whose output goes to a file."""
    from mlff_md.cli import main

    with (
        open(said, "a", encoding="utf-8") as stream,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
    ):
        code = main(words)
    os._exit(code)


def start(words: tuple[str, ...], out: Path) -> Any:
    words = tuple(word.replace("OUT", str(out)) for word in words)
    process = FORKS.Process(target=command_line, args=(words, str(out) + ".said"))
    process.start()
    return process


def files(out: Path, *patterns: str) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for pattern in patterns for path in sorted(out.glob(pattern))
    }


def judged(out: Path) -> dict[str, Any]:
    """Raw data, but for what a command's own time is in, and the checks of the report."""
    report = json.loads((out / "report.json").read_text())
    return {**files(out / "raw", "*.npz", "run.json"), "checks": report["checks"]}


def trained(out: Path) -> dict[str, Any]:
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    told = [{k: v for k, v in record.items() if k != "seconds"} for record in log]
    return {**files(out, "*.safetensors"), "log": told}


def md_step(out: Path) -> int:
    """Step of the last checkpoint of an MD run."""
    from mlff_md.files import previous
    from mlff_md.restart_state import State

    newest = next(iter(out.glob("*.restart")), out) / "checkpoint.npz"
    steps = [State.from_file(path).step for path in (newest, previous(newest)) if path.exists()]
    return max(steps, default=-1)


def parts(*patterns: str) -> Callable[[Path], int]:
    return lambda out: sum(len(list(out.glob(pattern))) for pattern in patterns)


def training_step(out: Path) -> int:
    import torch

    path = out / "checkpoint.pt"
    path = path if path.exists() else out / "checkpoint-previous.pt"
    return int(torch.load(path, weights_only=True)["step"]) if path.exists() else -1


def jobs(inputs: Path) -> dict[str, Job]:
    """Return the jobs; each takes a second or two."""
    (inputs / "molecules.txt").write_text("CO methanol\nCC ethane\nC=O formaldehyde\nN ammonia\n")
    (inputs / "config.toml").write_text(CONFIG)
    _training_set(inputs / "train.npz")
    md = (
        *("md", str(ETHANOL), "--model", "ultra-tiny", "--steps", "3000", "--resume"),
        *("--trajectory-every", "10", "--checkpoint-every", "50", "--checkpoint-s", "0"),
    )
    student = ("--model", "ultra-tiny", "--out", "OUT")
    return {
        "md nve": Job(
            (*md, "--ensemble", "nve", "--out", "OUT/x.traj"),
            0.35,
            lambda out: files(out, "x.traj", "x.traj.restart/samples.f64"),
            md_step,
        ),
        "md nvt": Job(
            (*md, "--ensemble", "nvt", "--out", "OUT/x.extxyz"),
            0.35,
            lambda out: files(out, "x.extxyz", "x.extxyz.restart/samples.f64"),
            md_step,
        ),
        "validate-nve --quick": Job(
            (
                *("validate-nve", str(ETHANOL), *student, "--resume", "--quick", "--steps", "300"),
                *("--equilibration-fs", "50", "--order-steps", "60", "--reversal-steps", "50"),
            ),
            0.08,
            judged,
            parts("raw/replica-*.npz"),
        ),
        "compare": Job(
            (
                *("compare", str(ETHANOL), *student, "--teacher", "emt", "--replicas", "2"),
                *("--floor-replicas", "2", "--kicked-replicas", "1", "--steps", "80"),
                *("--equilibration-fs", "20", "--labels", "5", "--timestep-fs", "0.5"),
            ),
            0.05,
            judged,
            parts("raw/*-[0-9].npz"),
        ),
        "label": Job(
            (
                *("label", "--molecules", str(inputs / "molecules.txt"), "--teacher", "emt"),
                *("--out", "OUT", "--frames-per-molecule", "8", "--chunk-items", "1"),
                *("--no-scans", "--dimer-fraction", "1.0"),
            ),
            0.1,
            lambda out: files(out, "*"),
            parts("shard-*.npz"),
        ),
        "distill": Job(
            ("distill", str(inputs / "config.toml"), "--out", "OUT"), 0.07, trained, training_step
        ),
    }


def _training_set(path: Path) -> None:
    from mlff_md.distill.dataset import Dataset

    rng = np.random.default_rng(5)
    frames = []
    for k in range(16):
        atoms = molecule(("CH3CH2OH", "CH4", "NH3", "H2CO")[k % 4])
        atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
        atoms.positions = atoms.positions.astype(np.float32).astype(float)
        atoms.calc = EMT()
        atoms.info.update(name=atoms.get_chemical_formula(), kind="rattle", temperature_K=0.0)
        atoms.get_forces()
        frames.append(atoms)
    Dataset.from_atoms(frames).save(path)


def kill_at_random(job: Job, folder: Path, kills: int, seed: int) -> Count:
    """Run a job, kill it at random moments, start it again, until that was done often enough."""
    rng, count, began = np.random.default_rng(seed), Count(), time.monotonic()
    whole = folder / "whole"
    whole.mkdir()
    process = start(job.words, whole)
    process.join()
    assert process.exitcode in (0, 1, 2), (folder / "whole.said").read_text()
    lasts_s = time.monotonic() - began
    expected = job.result(whole)
    while count.kills < kills:
        out = folder / f"cut-{count.runs}"
        out.mkdir()
        count.runs += 1
        safe = -1
        while True:
            process = start(job.words, out)
            last = count.kills >= kills
            process.join(None if last else rng.uniform(0.0, lasts_s))
            if process.exitcode is not None:
                lasts_s *= 0.8  # a machine that has become faster
                break
            process.kill()
            process.join()
            lasts_s *= 1.02
            if process.exitcode >= 0:  # it was quicker
                break
            count.kills += 1
            now = job.progress(out)
            count.lost += now < safe
            safe = now
        if process.exitcode not in (0, 1, 2):
            count.refused.append((folder / f"{out.name}.said").read_text().splitlines()[-1])
        else:
            found = job.result(out)
            different = {k for k in {*found, *expected} if found.get(k) != expected.get(k)}
            count.different += bool(different)
            count.names |= different
    count.seconds = time.monotonic() - began
    return count


def kill_all(kills: int, seed: int, only: str = "") -> dict[str, Count]:
    FORKS.set_forkserver_preload(list(PRELOADED))
    first = FORKS.Process(target=os.getpid)  # returns when all is imported
    first.start()
    first.join()
    counts = {}
    with tempfile.TemporaryDirectory(prefix="mlff-md-kill-") as scratch:
        inputs = Path(scratch) / "inputs"
        inputs.mkdir()
        for number, (name, job) in enumerate(jobs(inputs).items()):
            if only in name:
                folder = Path(scratch) / f"job-{number}"
                folder.mkdir()
                share = 1.0 if only else job.share
                counts[name] = kill_at_random(job, folder, round(share * kills), seed + number)
                print(table({name: counts[name]}).splitlines()[0], flush=True)
    return counts


def table(counts: Mapping[str, Count]) -> str:
    text = io.StringIO()
    for name, count in counts.items():
        told = dataclasses.asdict(count)
        refused, names = told.pop("refused"), sorted(told.pop("names"))
        told["seconds"] = round(count.seconds, 1)
        words = "  ".join(f"{key} {value}" for key, value in told.items())
        why = "; ".join([*names, *refused[:1]])
        print(f"{name:<22} {words}  refused {len(refused)}  {why}", file=text)
    print(f"{sum(count.kills for count in counts.values())} kills", file=text)
    return text.getvalue()


def assert_nothing_lost(counts: Mapping[str, Count]) -> None:
    told = table(counts)
    for count in counts.values():
        assert count.lost == 0, told
        assert count.different == 0, told
        assert not count.refused, told


@pytest.mark.parametrize("ensemble", ["nve", pytest.param("nvt", marks=pytest.mark.slow)])
def test_three_kills(ensemble: str) -> None:
    assert_nothing_lost(kill_all(3, seed=11, only=f"md {ensemble}"))


@pytest.mark.slow
def test_every_command_goes_on() -> None:
    """A part of ``python tests/physical/test_kill.py 200``; see docs/running-long.md."""
    counts = kill_all(60, seed=2)
    assert sum(count.kills for count in counts.values()) == 60
    assert_nothing_lost(counts)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(table(kill_all(int(sys.argv[1]), seed=2, only=" ".join(sys.argv[2:]))).splitlines()[-1])
