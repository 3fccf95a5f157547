"""Training: it learns, it resumes to the bit, and it refuses what it cannot use."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT

from mlff_md.distill.accuracy import measure
from mlff_md.distill.checkpoint import NEWEST
from mlff_md.distill.config import DistillConfig
from mlff_md.distill.dataset import Dataset
from mlff_md.distill.dense import DenseMolecules
from mlff_md.distill.step import Batch, CompiledSteps
from mlff_md.distill.train import distill
from mlff_md.engines import make_engine
from mlff_md.errors import ConfigError, DataError
from mlff_md.student import SIZES, load_student
from mlff_md.student.network import StudentForceField
from mlff_md.student.zoo import ALIASES

CONFIG = """
[student]
name = "test-student"
hidden_dim = 12
num_interactions = 2
num_rbf = 6
elements = ["H", "C", "N", "O"]

[data]
train = ["train.npz"]
validation = ["validation.npz"]
test = ["validation.npz"]
teacher = "emt"

[training]
steps = {steps}
learning_rate = 1e-2
warmup_steps = 5
atoms_per_batch = 60
buckets = [6, 10]
compile = false
checkpoint_every = 10
validate_every = 20
ema_decay = 0.9
"""


def frames(count: int, seed: int) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    result = []
    for k in range(count):
        atoms = molecule(("CH3CH2OH", "CH4", "NH3", "H2CO")[k % 4])
        atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
        atoms.positions = atoms.positions.astype(np.float32).astype(float)
        atoms.calc = EMT()
        atoms.info.update(name=atoms.get_chemical_formula(), kind="rattle", temperature_K=0.0)
        atoms.get_forces()
        result.append(atoms)
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("distill")
    Dataset.from_atoms(frames(120, 0)).save(path / "train.npz")
    Dataset.from_atoms(frames(16, 1)).save(path / "validation.npz")
    (path / "config.toml").write_text(CONFIG.format(steps=120))
    return path


def test_it_learns_and_the_file_is_what_was_measured(folder: Path, tmp_path: Path) -> None:
    records = []
    student = distill(folder / "config.toml", tmp_path, log=records.append)
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged == records
    validation = [r["validation"]["rmse_eV_per_A"] for r in records if "validation" in r]
    assert validation[-1] < 0.5 * validation[0]

    loaded = load_student(tmp_path / "test-student.safetensors")
    assert loaded.sha256 == student.sha256
    assert loaded.manifest.teacher["name"] == "emt"
    assert loaded.manifest.teacher["package"] == "ase"
    assert loaded.manifest.training["num_frames"] == 120
    errors = measure(make_engine(loaded), Dataset.load(folder / "validation.npz"))
    claimed = loaded.manifest.accuracy["validation"]["all"]
    assert errors.rmse_eV_per_A == pytest.approx(claimed["rmse_eV_per_A"], rel=1e-5)
    assert errors.num_frames == claimed["num_frames"] == 16
    parts = {"all", "0 K", "H", "C", "N", "O"}
    assert set(loaded.manifest.accuracy["test"]) == {*parts, "num_molecules", "frames_sha256"}
    assert loaded.manifest.domain["num_frames"] == 120
    assert loaded.manifest.domain["dataset_sha256"] == loaded.manifest.training["dataset_sha256"]


class InterruptedRunError(Exception):
    pass


def test_resumes_to_the_bit(folder: Path, tmp_path: Path) -> None:
    whole = distill(folder / "config.toml", tmp_path / "whole")

    def stop(record: dict) -> None:
        if record["step"] >= 60:
            raise InterruptedRunError

    broken = tmp_path / "broken"
    with pytest.raises(InterruptedRunError):
        distill(folder / "config.toml", broken, log=stop)
    # The newest checkpoint is damaged as well: the one before must do.
    (broken / NEWEST).write_bytes(b"cut off")
    with pytest.warns(UserWarning, match="is damaged; going on from the checkpoint before it"):
        resumed = distill(folder / "config.toml", broken)
    for name, array in whole.weights.items():
        assert np.array_equal(array, resumed.weights[name]), name


def test_refuses_another_configuration_and_damaged_checkpoints(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    distill(folder / "config.toml", out)
    other = tmp_path / "other.toml"
    for name in ("train.npz", "validation.npz"):
        shutil.copy(folder / name, tmp_path / name)
    other.write_text(CONFIG.format(steps=130))
    with pytest.raises(ConfigError, match="another configuration"):
        distill(other, out)
    for path in out.glob("checkpoint*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no checkpoint"):
        distill(folder / "config.toml", out)


@pytest.mark.slow
def test_survives_kill_9(folder: Path, tmp_path: Path) -> None:
    whole = distill(folder / "config.toml", tmp_path / "whole")
    command = [sys.executable, "-m", "mlff_md", "distill", str(folder / "config.toml"), "--out"]
    out = tmp_path / "killed"
    for _ in range(3):
        process = subprocess.Popen([*command, str(out)], stderr=subprocess.PIPE, text=True)
        before = (out / NEWEST).stat().st_mtime_ns if (out / NEWEST).exists() else 0
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            path = out / NEWEST
            if path.exists() and path.stat().st_mtime_ns > before:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    resumed = distill(folder / "config.toml", out)
    for name, array in whole.weights.items():
        assert np.array_equal(array, resumed.weights[name]), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from within torch's compiler
def test_compiled_step_equals_eager() -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DenseMolecules(StudentForceField(8, 2, 4))
        mask = torch.tensor([[1.0] * 5, [1.0] * 4 + [0.0], [1.0] * 3 + [0.0] * 2])
        batch = Batch(
            (torch.randint(0, 8, (3, 5)), 2.5 * torch.rand(3, 5, 3), mask),
            (torch.randn(3, 5, 3), torch.randn(3)),
        )
    weights = torch.tensor([0.1, 0.0])
    parameters = [p.detach().clone() for p in model.parameters()]
    eager = CompiledSteps(model, compiled=False)(parameters, batch, weights)
    compiled = CompiledSteps(model)(parameters, batch, weights)
    for one, two in zip(eager, compiled, strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-6)


def test_padding_changes_nothing() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DenseMolecules(StudentForceField(8, 2, 4).double())
        species = torch.randint(0, 8, (1, 4))
        positions = 2.5 * torch.rand(1, 4, 3, dtype=torch.float64)
    mask = torch.ones(1, 4, dtype=torch.float64)
    alone = model(species, positions, mask)
    padded = model(
        torch.cat([species, torch.zeros(1, 3, dtype=torch.long)], 1),
        torch.cat([positions, torch.zeros(1, 3, 3, dtype=torch.float64)], 1),
        torch.cat([mask, torch.zeros(1, 3, dtype=torch.float64)], 1),
    )
    assert torch.allclose(alone, padded, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[student", "not valid TOML"),
        ("[student]\nname = 'x'", r"lacks the table \[data\]"),
        ("[student]\n[data]\ntrain = ['a']\nvalidation = ['b']", "lacks name"),
        (CONFIG.format(steps=1).replace("hidden_dim", "hiden_dim"), "did you mean hidden_dim"),
        (CONFIG.format(steps='"many"'), "should be of type int"),
        (CONFIG.format(steps=1) + "\n[extra]\n", "unknown key 'extra'"),
        (CONFIG.format(steps=1).replace('["train.npz"]', '"train.npz"'), "should be of type tuple"),
    ],
)
def test_bad_configurations(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        DistillConfig.load(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="cannot read"):
        DistillConfig.load(tmp_path / "missing.toml")


def test_shipped_configurations_are_valid() -> None:
    folder = Path(__file__).parents[2] / "inputs" / "training"
    paths = sorted(folder.glob("*.toml"))
    assert paths
    for path in paths:
        config = DistillConfig.load(path)
        assert config.training.steps > 1000
        size = path.stem
        assert config.student.name == ALIASES[size]
        if size in SIZES:
            assert config.student.architecture == SIZES[size]


def test_another_prior_is_another_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distill(folder / "config.toml", tmp_path)
    monkeypatch.setattr("mlff_md.student.prior.RADIUS_FACTOR", 0.6)
    with pytest.raises(ConfigError, match="another configuration"):
        distill(folder / "config.toml", tmp_path)


def test_the_callers_random_state_is_left_alone(folder: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    distill(folder / "config.toml", tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
