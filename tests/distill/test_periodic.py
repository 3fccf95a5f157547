"""Training on periodic frames: the engines' energies and stress, learning, resuming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write

from mlff_md import StudentForceFieldCalculator
from mlff_md.distill.batches import make_buckets
from mlff_md.distill.dataset import Dataset
from mlff_md.distill.dense import DenseMolecules
from mlff_md.distill.periodic import PeriodicFrames
from mlff_md.distill.step import CompiledSteps, eager_step
from mlff_md.distill.train import distill
from mlff_md.errors import DataError
from mlff_md.student import Architecture, Manifest, Student
from mlff_md.student.network import StudentForceField

SHAPE = Architecture(12, 2, 6, cutoff_A=4.0, elements=("Al", "Cu"))
CONFIG = """
[student]
name = "alloy"
hidden_dim = 12
num_interactions = 2
num_rbf = 6
cutoff_A = 4.0
elements = ["Al", "Cu"]

[data]
train = ["train.extxyz"]
validation = ["validation.npz"]
teacher = "emt"

[training]
steps = {steps}
learning_rate = 1e-2
warmup_steps = 5
atoms_per_batch = 24
buckets = [4, 8]
compile = false
checkpoint_every = 10
validate_every = 20
ema_decay = 0.9
"""


def alloys(count: int, seed: int) -> list[Atoms]:
    """Strained and rattled cells, smaller than twice the cutoff; every third is one of 4 atoms."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        atoms = bulk("Cu", cubic=True)
        if number % 3:
            atoms = atoms.repeat((2, 1, 1))
        atoms.numbers[rng.random(len(atoms)) < 0.5] = 13
        atoms.set_cell(
            atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True
        )
        atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)
        atoms.positions = atoms.positions.astype(np.float32).astype(float)
        atoms.info["name"] = f"alloy of {len(atoms)}"
        atoms.calc = EMT()
        atoms.get_forces()
        atoms.get_stress()
        found.append(atoms)
    return found


def network(seed: int = 0) -> StudentForceField:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StudentForceField.from_architecture(SHAPE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("periodic")
    frames = alloys(60, 0)
    for atoms in frames:  # ASE's writer takes what the calculator has
        atoms.info.pop("stress", None)
    write(path / "train.extxyz", frames, format="extxyz")
    Dataset.from_atoms(alloys(12, 1)).save(path / "validation.npz")
    (path / "config.toml").write_text(CONFIG.format(steps=100))
    return path


def test_training_sees_what_the_engines_see() -> None:
    """Energies, forces and stress of a batch are those of the calculator, padding and all."""
    dataset = Dataset.from_atoms(alloys(6, 2))
    net = network()
    model = PeriodicFrames(net.double())
    (buckets, _) = make_buckets(dataset, model, (4, 12))
    weights = {name: value.numpy() for name, value in net.float().state_dict().items()}
    manifest = Manifest("alloy", SHAPE, 1.0, (0.0, 0.0), net.prior_radii_A)
    calculator = StudentForceFieldCalculator(
        Student(manifest, weights, sha256=""), engine="torch", dtype="float64"
    )
    net.double()
    assert [bucket.padded_atoms for bucket in buckets] == [4, 12]
    for bucket in buckets:
        species, positions, mask, edges, shifts = bucket.inputs
        positions = positions.double().requires_grad_(True)
        strain = torch.zeros(len(species), 3, 3, dtype=torch.float64, requires_grad=True)
        energies = model(species, positions, mask.double(), edges, shifts.double(), strain=strain)
        slope, virial = torch.autograd.grad(energies.sum(), [positions, strain])
        prior = model.prior(*bucket.inputs)
        for row, index in enumerate(bucket.frames):
            atoms = dataset.frame(int(index))
            atoms.calc = calculator
            count = len(atoms)
            energy = float(energies[row].detach()) + prior.energies[row]
            assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-5)
            forces = prior.forces[row] - slope[row].numpy()
            np.testing.assert_allclose(forces[:count], atoms.get_forces(), atol=2e-5)
            assert not forces[count:].any()
            stress = (virial[row].numpy() + prior.virials[row]) / atoms.get_volume()
            np.testing.assert_allclose(stress, atoms.get_stress(voigt=False), atol=1e-5)


def test_a_perfect_student_has_no_loss(folder: Path) -> None:
    """The loss of frames that the network itself labelled is zero in all three terms."""
    net = network()
    model = PeriodicFrames(net)
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    manifest = Manifest("alloy", SHAPE, 1.0, (0.0, 0.0), net.prior_radii_A)
    teacher = StudentForceFieldCalculator(Student(manifest, weights, sha256=""), engine="torch")
    frames = alloys(4, 3)
    for atoms in frames:
        atoms.calc = teacher
        atoms.calc.calculate(atoms, ["energy", "forces", "stress"])
        atoms.calc = _frozen(atoms)
    buckets, targets = make_buckets(Dataset.from_atoms(frames), model, (8,))
    batch = buckets[0].batch(np.arange(4))
    step = eager_step(model)
    parameters = [p.detach().clone() for p in model.parameters()]
    # Undo the unit of the targets: the network's own output has none.
    scaled = batch._replace(
        targets=(
            *(t * targets.scale_eV for t in (batch.targets[0], *batch.targets[1:3])),
            batch.targets[3],
        )
    )
    force, _, virial, *_ = step(parameters, scaled.inputs, scaled.targets, torch.tensor([0.1, 0.1]))
    assert float(force) < 2e-4
    assert float(virial) < 2e-4


def _frozen(atoms: Atoms) -> object:
    from ase.calculators.singlepoint import SinglePointCalculator

    results = {key: atoms.calc.results[key] for key in ("energy", "forces", "stress")}
    return SinglePointCalculator(atoms, **results)


def test_molecules_are_the_same_either_way() -> None:
    """The list of pairs and the dense batch give the same loss and the same gradients."""
    frames = []
    rng = np.random.default_rng(0)
    for _ in range(3):
        atoms = molecule("CH3CH2OH")
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = EMT()
        frames.append(atoms)
    dataset = Dataset.from_atoms(frames)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = StudentForceField(8, 2, 4)
    parameters = [p.detach().clone() for p in net.parameters()]
    results = []
    for model in (DenseMolecules(net), PeriodicFrames(net)):
        buckets, _ = make_buckets(dataset, model, (12,))
        batch = buckets[0].batch(np.arange(3))
        results.append(
            eager_step(model)(parameters, batch.inputs, batch.targets, torch.tensor([0.1, 0.0]))
        )
    for dense, sparse in zip(*results, strict=True):
        torch.testing.assert_close(dense, sparse, rtol=2e-4, atol=2e-5)


class InterruptedRunError(Exception):
    pass


def test_it_learns_and_resumes_to_the_bit(folder: Path, tmp_path: Path) -> None:
    records: list[dict] = []
    whole = distill(folder / "config.toml", tmp_path / "whole", log=records.append)
    assert records[-1]["validation"]["r2"] > 0.98
    assert records[-1]["force_loss"] < 0.5 * records[0]["force_loss"]
    assert records[-1]["stress_loss"] < 0.5 * records[0]["stress_loss"]
    assert whole.manifest.training["settings"]["stress_weight"] == 0.1

    def stop(record: dict) -> None:
        if record["step"] >= 60:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        distill(folder / "config.toml", tmp_path / "broken", log=stop)
    resumed = distill(folder / "config.toml", tmp_path / "broken")
    for name, array in whole.weights.items():
        assert np.array_equal(array, resumed.weights[name]), name


def test_frames_without_stress_are_trained_on_as_well(folder: Path, tmp_path: Path) -> None:
    """Some frames of a set may lack a stress, and all may."""
    dataset = Dataset.from_atoms(alloys(12, 0))
    assert dataset.stress is not None
    dataset.stress[::2] = np.nan
    dataset.save(tmp_path / "train.npz")
    shutil.copy(folder / "validation.npz", tmp_path / "validation.npz")
    text = CONFIG.format(steps=8).replace("train.extxyz", "train.npz")
    (tmp_path / "config.toml").write_text(text)
    distill(tmp_path / "config.toml", tmp_path / "some")
    logged = json.loads((tmp_path / "some" / "log.jsonl").read_text().splitlines()[-1])
    assert np.isfinite(logged["stress_loss"])
    bare = dataset.arrays()
    del bare["stress"]
    Dataset(**bare).save(tmp_path / "train.npz")
    distill(tmp_path / "config.toml", tmp_path / "none")
    assert "stress_loss" not in (tmp_path / "none" / "log.jsonl").read_text()


def test_a_damaged_frame_gets_one_line(folder: Path, tmp_path: Path) -> None:
    frames = alloys(4, 0)
    frames[2].cell[2] = 0.0
    frames[2].calc = None
    frames[2].calc = EMT()
    dataset = Dataset.from_atoms(alloys(4, 0))
    assert dataset.cell is not None
    dataset.cell[2, 2] = 0.0
    with pytest.raises(DataError, match="training frame 2: ") as error:
        make_buckets(dataset, PeriodicFrames(network()), (8,))
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from within torch's compiler
def test_compiled_step_equals_eager() -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    model = PeriodicFrames(network())
    buckets, _ = make_buckets(Dataset.from_atoms(alloys(6, 0)), model, (8,))
    batch, weights = buckets[0].batch(np.arange(4)), torch.tensor([0.1, 0.1])
    parameters = [p.detach().clone() for p in model.parameters()]
    eager = CompiledSteps(model, compiled=False)(parameters, batch, weights)
    compiled = CompiledSteps(model)(parameters, batch, weights)
    for one, two in zip(eager, compiled, strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-5)
