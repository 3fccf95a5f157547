"""Restarting MD: whatever cuts a run off, it goes on to the same result, to the last bit."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read

from mlff_md import StudentForceFieldCalculator
from mlff_md.cli import main
from mlff_md.errors import ConfigError, DataError, StructureError
from mlff_md.files import previous
from mlff_md.folder_lock import sole_use
from mlff_md.md import MdRun, run_nve, run_nvt
from mlff_md.restart_state import State

STRUCTURE = Path(__file__).parents[1] / "inputs" / "structures" / "ethanol.xyz"
SERIES = (
    "time_fs",
    "potential_energy_eV",
    "kinetic_energy_eV",
    "momentum_u_A_per_fs",
    "angular_momentum_u_A2_per_fs",
    "force_power_eV_per_fs2",
)
Runner = Callable[..., MdRun]


class CutOff(BaseException):
    """What ends a run in these tests, as SIGTERM and Ctrl-C do."""


class StopAt:
    """A progress that ends the run after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def begin(self, label: str, total: int, timestep_fs: float | None = None) -> None: ...

    def skip(self, done: int) -> None: ...

    def update(self, done: int) -> None:
        if done == self.step:
            raise CutOff

    def end(self) -> None: ...


def assert_same(one: MdRun, other: MdRun) -> None:
    for name in SERIES:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.array_equal(one.atoms.positions, other.atoms.positions)
    assert np.array_equal(one.atoms.get_momenta(), other.atoms.get_momenta())


def cut_at(runner: Runner, step: int, *arguments: Any, **options: Any) -> None:
    with pytest.raises(CutOff):
        runner(*arguments, progress=StopAt(step), **options)


@pytest.mark.parametrize("runner", [run_nve, run_nvt])
@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
def test_cut_off_anywhere_it_ends_the_same(runner: Runner, suffix: str, tmp_path: Path) -> None:
    atoms = molecule("CH3CH2OH")
    options = {"steps": 130, "sample_every": 3, "trajectory_every": 7, "checkpoint_every": 20}
    whole_file, file = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"

    def calculator() -> StudentForceFieldCalculator:
        return StudentForceFieldCalculator("ultra-tiny")

    whole = runner(
        atoms, calculator(), trajectory=whole_file, restart=tmp_path / "whole", **options
    )
    options |= {"trajectory": file, "restart": tmp_path / "cut", "resume": True}
    for step, interval_s in ((0, 0.0), (13, 0.0), (20, 9e9), (69, 0.0), (70, 0.0), (129, 9e9)):
        cut_at(runner, step, atoms, calculator(), checkpoint_s=interval_s, **options)
    assert_same(runner(atoms, calculator(), **options), whole)
    assert file.read_bytes() == whole_file.read_bytes()
    assert [frame.info["step"] for frame in read(file, ":")] == list(range(0, 131, 7))
    # Finished: asked again, it makes no step and gives the same.
    evaluated = calculator()
    assert_same(runner(atoms, evaluated, **options), whole)
    assert evaluated.n_evaluations == 0


def test_a_finished_run_can_be_made_longer(tmp_path: Path) -> None:
    atoms, folder = molecule("H2O"), tmp_path / "restart"
    whole = run_nvt(atoms, StudentForceFieldCalculator("ultra-tiny"), steps=60)
    run_nvt(atoms, StudentForceFieldCalculator("ultra-tiny"), steps=25, restart=folder)
    longer = run_nvt(
        atoms, StudentForceFieldCalculator("ultra-tiny"), steps=60, restart=folder, resume=True
    )
    assert_same(longer, whole)
    with pytest.raises(ConfigError, match="is at step 60 already, beyond steps=30"):
        run_nvt(
            atoms, StudentForceFieldCalculator("ultra-tiny"), steps=30, restart=folder, resume=True
        )


def test_a_neighbor_list_that_orders_sums_is_no_memory(tmp_path: Path) -> None:
    """From 2048 atoms on the native list is sorted in space: the last digits depend on when."""
    atoms = molecule("CH4", vacuum=1.6) * (8, 8, 7)
    atoms.pbc = True
    assert len(atoms) >= 2048
    # Hot, so that the list is built again and again.
    options = {"steps": 20, "temperature_K": 900.0, "checkpoint_every": 6, "timestep_fs": 1.0}
    whole = run_nve(
        atoms, StudentForceFieldCalculator("ultra-tiny"), restart=tmp_path / "a", **options
    )
    options |= {"restart": tmp_path / "b", "resume": True, "checkpoint_s": 0.0}
    for step in (8, 15):
        cut_at(run_nve, step, atoms, StudentForceFieldCalculator("ultra-tiny"), **options)
    assert_same(run_nve(atoms, StudentForceFieldCalculator("ultra-tiny"), **options), whole)


def test_other_calculators_are_reset(tmp_path: Path) -> None:
    """EMT keeps a neighbor list whose order shows in the last digits."""
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    options: dict[str, Any] = {"steps": 60, "temperature_K": 900.0, "checkpoint_every": 10}
    whole = run_nve(atoms, EMT(), restart=tmp_path / "a", **options)
    options |= {"restart": tmp_path / "b", "resume": True, "checkpoint_s": 0.0}
    cut_at(run_nve, 37, atoms, EMT(), **options)
    assert_same(run_nve(atoms, EMT(), **options), whole)


def cut_run(tmp_path: Path, **more: Any) -> tuple[Atoms, dict[str, Any]]:
    """A run cut off at step 45 with checkpoints at 40 and 30."""
    atoms = molecule("H2O")
    options = {
        "steps": 60,
        "restart": tmp_path / "restart",
        "trajectory": tmp_path / "run.extxyz",
        "trajectory_every": 5,
        "checkpoint_every": 10,
        "checkpoint_s": 0.0,
        "resume": True,
        **more,
    }
    cut_at(run_nvt, 45, atoms, StudentForceFieldCalculator("ultra-tiny"), **options)
    return atoms, options


def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    atoms, options = cut_run(tmp_path)
    newest = tmp_path / "restart" / "checkpoint.npz"
    assert State.from_file(newest).step == 40
    assert State.from_file(previous(newest)).step == 30
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    for damage in (bytes(content), content[:100], b""):
        newest.write_bytes(damage)
        with pytest.warns(UserWarning, match="going on from the one before, at step 30"):
            cut_at(run_nvt, 45, atoms, StudentForceFieldCalculator("ultra-tiny"), **options)
        assert State.from_file(newest).step == 40
    newest.write_bytes(b"")
    previous(newest).write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"no checkpoint .* can be used .*; begin anew"):
        run_nvt(atoms, StudentForceFieldCalculator("ultra-tiny"), **options)
    assert (tmp_path / "run.extxyz").exists()


def test_lost_frames_fall_back_too(tmp_path: Path) -> None:
    atoms, options = cut_run(tmp_path)
    whole = run_nvt(
        atoms,
        StudentForceFieldCalculator("ultra-tiny"),
        **{**options, "restart": tmp_path / "w", "trajectory": tmp_path / "w.extxyz"},
    )
    file = options["trajectory"]
    frames = file.read_text().splitlines(keepends=True)
    file.write_text("".join(frames[: 8 * 5]))  # 8 of 10 frames: those up to step 35
    with pytest.warns(UserWarning, match="has lost frames"):
        run = run_nvt(atoms, StudentForceFieldCalculator("ultra-tiny"), **options)
    assert_same(run, whole)
    assert file.read_bytes() == (tmp_path / "w.extxyz").read_bytes()


def test_lost_samples_are_refused(tmp_path: Path) -> None:
    atoms, options = cut_run(tmp_path)
    os.truncate(tmp_path / "restart" / "samples.f64", 100)
    with pytest.raises(DataError, match="lost samples"):
        run_nvt(atoms, StudentForceFieldCalculator("ultra-tiny"), **options)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    atoms, options = cut_run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    moved = atoms.copy()
    moved.positions += 1e-9
    students = {name: StudentForceFieldCalculator(name) for name in ("tiny", "ultra-tiny")}
    for what, structure, student, other in (
        ("seed", atoms, "ultra-tiny", {"seed": 1}),
        ("friction_per_ps, timestep_fs", atoms, "ultra-tiny",
         {"timestep_fs": 0.4, "friction_per_ps": 1.0}),
        ("structure", moved, "ultra-tiny", {}),
        ("student, student_sha256", atoms, "tiny", {}),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"holds a run with another {what}: go on with what"):
            run_nvt(structure, students[student], **{**options, **other})
    with pytest.raises(ConfigError, match="another ensemble, friction_per_ps"):
        run_nve(atoms, students["ultra-tiny"], **options)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises(ConfigError, match="needs the restart folder"):
        run_nve(atoms, students["ultra-tiny"], resume=True)


def test_another_machine_is_told(tmp_path: Path) -> None:
    atoms, options = cut_run(tmp_path)
    with pytest.warns(UserWarning, match="goes on with another threads than it had"):
        run_nvt(atoms, StudentForceFieldCalculator("ultra-tiny", threads=2), **options)


def test_a_new_run_replaces_the_old_only_once_it_can_start(tmp_path: Path) -> None:
    atoms, options = cut_run(tmp_path)
    options["resume"] = False
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused = pytest.raises(ConfigError, match="in use by another process")
    with sole_use(tmp_path / "restart"), refused:
        run_nvt(atoms, StudentForceFieldCalculator("ultra-tiny"), **options)
    overlapping = atoms.copy()
    overlapping.positions[:] = 0.0
    with pytest.raises(StructureError):
        run_nvt(overlapping, StudentForceFieldCalculator("ultra-tiny"), **options)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    run_nvt(atoms, StudentForceFieldCalculator("ultra-tiny"), **options)
    steps = [frame.info["step"] for frame in read(options["trajectory"], ":")]
    assert steps == list(range(0, 61, 5))


# From here on the command line, in a process of its own where that is to end.


def command(tmp_path: Path, name: str, steps: int, *more: str) -> list[str]:
    return [
        *("md", str(STRUCTURE), "--model", "ultra-tiny"),
        *("--ensemble", "nvt", "--steps", str(steps), "--out", str(tmp_path / name)),
        *("--checkpoint-s", "0", *more),
    ]


PYTHON = (sys.executable, "-m", "mlff_md")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60.0
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.005)


def checkpoint_of(tmp_path: Path, name: str) -> Path:
    return tmp_path / f"{name}.restart" / "checkpoint.npz"


def test_terminated_it_goes_on_and_two_at_once_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen(
        [*PYTHON, *command(tmp_path, "a.traj", 10**6)], stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(checkpoint_of(tmp_path, "a.traj"))
        assert main(command(tmp_path, "a.traj", 10**6, "--resume")) == 3
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[1]
    assert process.returncode == 143
    assert said.splitlines()[-1] == "mlff-md md: terminated"
    assert f"is in use by another process (process {process.pid})" in capsys.readouterr().err
    state = State.from_file(checkpoint_of(tmp_path, "a.traj"))
    # The last state on the grid, at most 100 steps before the end.
    assert state.step % 100 == 0
    assert state.step + 100 > 20 * (len(read(tmp_path / "a.traj", ":")) - 1)
    steps = state.step + 150
    for name in ("a.traj", "b.traj"):
        assert main(command(tmp_path, name, steps, "--resume")) == 0
    assert (tmp_path / "a.traj").read_bytes() == (tmp_path / "b.traj").read_bytes()


@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
def test_full_disk_loses_nothing(suffix: str, tmp_path: Path) -> None:
    """The limit of a file's size stands for a full disk: both refuse in the middle of a write."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    name, more = f"a{suffix}", ("--sample-every", "10", "--trajectory-every", "10")
    stopped = subprocess.run(
        [*PYTHON, *command(tmp_path, name, 1000, *more)],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        check=False,
    )
    assert stopped.returncode == 3
    (line,) = [line for line in stopped.stderr.splitlines() if "error" in line]
    assert "cannot write" in line
    kept = [frame.info["step"] for frame in read(tmp_path / name, ":")]
    assert kept == list(range(0, 10 * len(kept), 10))
    assert len(kept) > 10
    assert State.from_file(checkpoint_of(tmp_path, name)).step >= kept[-1] - 110
    for file, extra in ((name, ("--resume",)), (f"b{suffix}", ())):
        assert main(command(tmp_path, file, 1000, *more, *extra)) == 0
    assert (tmp_path / name).read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_command_line_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*more: str) -> tuple[int, str]:
        code = main(command(tmp_path, "a.traj", 30, *more))
        return code, capsys.readouterr().err

    assert said()[0] == 0
    code, text = said()
    assert code == 3
    assert "pass --force to replace it, or --resume to go on with it" in text
    assert "leave one out" in said("--resume", "--force")[1]
    code, text = said("--resume", "--seed", "3")
    assert code == 3
    assert "holds a run with another seed" in text
    record = tmp_path / "a.traj.restart" / "run.json"
    assert json.loads(record.read_text())["settings"]["seed"] == 0
    assert said("--resume")[0] == 0
    record.unlink()
    assert "has no checkpoints" in said("--resume")[1]
