"""Peers beside the engines: stand-ins for packages that need not be installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.lj import LennardJones

from mlff_md.bench import bench, peers
from mlff_md.cli import main
from mlff_md.errors import ConfigError
from mlff_md.student import Student, save_student


class StandIn(LennardJones):
    """A peer that notes how it was asked."""

    num_parameters = 42

    def __init__(self) -> None:
        super().__init__(sigma=0.8, epsilon=0.01, rc=5.0)
        self.asked: list[tuple[list[str], list[str]]] = []
        self.threads: set[int] = set()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        self.asked.append((sorted(properties), sorted(system_changes)))
        self.threads.add(torch.get_num_threads())
        super().calculate(atoms, properties, system_changes)


class NotFinite(StandIn):
    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        self.results["forces"] = np.full_like(self.results["forces"], np.nan)


class FailsOnSecond(StandIn):
    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        if len(self.asked) == 2:
            raise RuntimeError("only once")


def broken() -> StandIn:
    raise RuntimeError("first line\nsecond line")


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two installed peers, one that breaks, one whose package is missing."""
    table: dict[str, tuple[str, Callable[[], Any]]] = {
        "lj good": ("ase", StandIn),
        "lj broken": ("ase", broken),
        "other": ("numpy", StandIn),
        "absent big": ("no_such_package_here", StandIn),
    }
    monkeypatch.setattr(peers, "_PEERS", table)


def fusion_strategy(new: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Set it, and return what it was; torch announces the end of TorchScript each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.set_fusion_strategy(new)


def tried(maker: Callable[[], Any], atoms: Atoms, threads: int = 1) -> tuple[list[Any], list[str]]:
    lines: list[str] = []
    return list(peers.peer_calls({"peer": maker}, atoms, threads, lines.append)), lines


@pytest.mark.usefixtures("stand_ins")
def test_only_what_is_installed_takes_part() -> None:
    assert list(peers.available()) == ["lj good", "lj broken", "other"]
    assert list(peers.choose(["all"])) == ["lj good", "lj broken", "other"]
    assert list(peers.choose(["other", "lj"])) == ["lj good", "lj broken", "other"]
    assert list(peers.choose([" lj g"])) == ["lj good"]
    assert not peers.choose([])


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("absent", "'absent big' needs the package no_such_package_here: not installed"),
        ("good", "no peer 'good'; there are: lj good, lj broken, other"),
        ("", "no peer ''; there are"),
    ],
)
def test_a_peer_that_is_not_there_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        peers.choose([word])


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not peers.available()
    with pytest.raises(ConfigError, match="no peer 'all'; there are: none is installed"):
        peers.choose(["all"])


def test_packages_are_imported_by_makers_only() -> None:
    code = (
        "import sys; from mlff_md.bench import peers; peers.available();"
        "print({'mace', 'nequip', 'schnetpack', 'torchmdnet', 'e3nn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_asked_as_in_md(ethanol: Atoms) -> None:
    calculator = StandIn()
    [(name, compute, parameters)], lines = tried(lambda: calculator, ethanol, threads=2)
    assert (name, parameters, lines) == ("peer", 42, [])
    compute(ethanol)
    # Everything is new at first; then only positions move, as in MD.
    both = ["energy", "forces"]
    changes = [changes for asked, changes in calculator.asked if asked == both]
    assert changes == [sorted(all_changes), ["positions"], ["positions"]]
    assert calculator.threads == {2}
    assert torch.get_num_threads() != 2


@pytest.mark.parametrize(
    ("maker", "line"),
    [
        (broken, "peer left out: RuntimeError: first line"),
        (NotFinite, "peer left out: ValueError: its forces are not finite"),
        (FailsOnSecond, "peer left out: RuntimeError: only once"),
    ],
)
def test_a_failing_peer_is_one_line(maker: Callable[[], Any], line: str, ethanol: Atoms) -> None:
    assert tried(maker, ethanol) == ([], [line])


def test_settings_of_the_process_survive(
    ethanol: Atoms, capsys: pytest.CaptureFixture[str]
) -> None:
    def rude() -> StandIn:
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(5)
        torch.jit.set_fusion_strategy([("DYNAMIC", 1)])
        warnings.warn("noise", UserWarning, stacklevel=1)
        print("compiling...")
        return StandIn()

    before = torch.random.get_rng_state()
    original = fusion_strategy([("STATIC", 3)])
    try:
        made, lines = tried(rude, ethanol)
        assert len(made) == 1, lines
        assert torch.get_default_dtype() == torch.float32
        assert torch.equal(torch.random.get_rng_state(), before)
        assert fusion_strategy(original) == [("STATIC", 3)]
    finally:
        torch.set_default_dtype(torch.float32)
        fusion_strategy(original)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "compiling..." in captured.err


@pytest.fixture
def student_file(random_student: Student, tmp_path: Path) -> str:
    path = tmp_path / "untrained.safetensors"
    save_student(path, random_student.manifest, random_student.weights)
    return str(path)


@pytest.mark.usefixtures("stand_ins")
def test_peers_stand_beside_engines(student_file: str) -> None:
    told: list[str] = []
    result = bench(
        [student_file],
        engines=["torch"],
        peers=["lj"],
        atoms=[9],
        seconds=0.05,
        tuned_allocator=False,
        progress=told.append,
    )
    assert [row["engine"] for row in result.rows] == ["torch", "lj good"]
    engine, peer = result.rows
    assert peer["num_parameters"] == 42
    assert "num_parameters" not in engine
    assert peer["max_force_error_eV_per_A"] is None
    assert peer["samples"] >= 5
    assert f"| {peer['median_ms'] / engine['median_ms']:.1f} |" in result.markdown()
    line = "9 atoms: lj broken left out: RuntimeError: first line"
    assert result.machine["left_out"] == [line]
    assert line in told


@pytest.mark.usefixtures("stand_ins")
def test_command_line(student_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--engines", "torch", "--atoms", "9", "--seconds", "0.05", "--no-tuned-allocator"]
    assert main(["bench", student_file, "--peers", "other,lj g", *options]) == 0
    table = capsys.readouterr().out
    assert "| other |" in table
    assert "| lj good |" in table
    assert main(["bench", student_file, "--peers", "absent", *options]) == 3
    assert "not installed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", list(peers._PEERS))
def test_installed_peers_are_force_fields(name: str, ethanol: Atoms) -> None:
    """Forces are the negative gradient of the energy."""
    if name not in peers.available():
        pytest.skip("not installed")
    made: list[Any] = []

    def maker() -> Any:
        made.append(peers.available()[name]())
        return made[0]

    [(_, compute, parameters)], lines = tried(maker, ethanol)
    assert lines == []
    assert parameters > 10_000
    compute(ethanol)
    forces = made[0].results["forces"].copy()
    size = np.linalg.norm(forces)
    assert size > 1e-3
    energies = []
    for steps in (-2, -1, 1, 2):
        moved = ethanol.copy()
        moved.positions += steps * 0.02 * forces / size
        compute(moved)
        energies.append(float(made[0].results["energy"]))
    weights = np.array([1, -8, 8, -1]) / (12 * 0.02)
    assert -weights @ energies == pytest.approx(size, rel=2e-3)
