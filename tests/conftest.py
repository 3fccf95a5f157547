"""Fixtures: an untrained student with reproducible weights, and structures."""

from __future__ import annotations

import os

# Before anything imports torch or tblite: small systems are slower on several threads, and far
# slower where the cores are shared. Child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from mlff_md.student import Manifest, Student, save_student


@pytest.fixture(scope="session")
def random_student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    """A small untrained student: forces as large as a real one's, nothing to download."""
    import torch

    from mlff_md.student.network import StudentForceField

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = StudentForceField(24, 3, 8, mlp_dim=20, energy_scale_eV=1.3)
    manifest = Manifest(
        name="untrained",
        architecture=network.architecture,
        energy_scale_eV=network.energy_scale_eV,
        atomic_energies_eV=tuple(-10.0 * k for k in range(8)),
        prior_radii_A=network.prior_radii_A,
        teacher={"name": "none"},
    )
    path = tmp_path_factory.mktemp("student") / "untrained.safetensors"
    weights = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    return save_student(path, manifest, weights)


@pytest.fixture
def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture
def crystal() -> Atoms:
    """A triclinic cell smaller than twice the cutoff, with three elements."""
    atoms = bulk("C", "diamond", a=4.0) * (2, 2, 1)
    atoms.numbers[::3] = 8
    atoms.numbers[1::4] = 7
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.1, 0], [0, 1, 0.05], [0.02, 0, 1]]), True)
    atoms.rattle(0.1, seed=2)
    return atoms


@pytest.fixture
def copper() -> Atoms:
    return bulk("Cu", cubic=True)
