"""The extrapolation domain: measured by the network's own features, stored, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_md.distill.dataset import Dataset
from mlff_md.distill.domain import even_electrons, measure_domain, with_domain
from mlff_md.engines import make_engine
from mlff_md.errors import DataError, StructureError, StudentFileError
from mlff_md.student import Student, load_student, save_student
from mlff_md.student.domain import Domain

TEST_SET = Path(__file__).parents[1] / "data" / "gfn2-test.npz"


def labelled(atoms: Atoms) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
    return atoms


@pytest.fixture(scope="module")
def few() -> Dataset:
    return Dataset.load(TEST_SET).select(np.arange(0, 984, 60))


def test_distances_neighbors_and_counts(random_student: Student, few: Dataset) -> None:
    domain = measure_domain(random_student, few)
    assert domain.num_frames == len(few)
    assert domain.dataset_sha256 == few.sha256
    elements = random_student.elements
    expected = np.full((len(elements), len(elements)), np.inf)
    neighbors = np.zeros(len(elements), int)
    for atoms in few:
        distances = atoms.get_all_distances()
        np.fill_diagonal(distances, np.inf)
        for i, first in enumerate(atoms.symbols):
            a = elements.index(first)
            neighbors[a] = max(neighbors[a], (distances[i] < random_student.cutoff_A).sum())
            for j, second in enumerate(atoms.symbols):
                b = elements.index(second)
                if distances[i, j] < random_student.cutoff_A:
                    expected[a, b] = min(expected[a, b], distances[i, j])
    np.testing.assert_allclose(domain.shortest_A, expected, atol=1e-9)
    np.testing.assert_array_equal(domain.most_neighbors, neighbors)
    assert domain.num_atoms.sum() == len(few.numbers)


def test_features_are_those_before_the_readout(random_student: Student, few: Dataset) -> None:
    """The readout of the extreme features of a single frame gives its energies again."""
    import torch

    # Of an element's only atom the lowest and the highest features are the same.
    one = next(
        few.select([index]) for index, atoms in enumerate(few) if 1 in np.bincount(atoms.numbers)
    )
    domain = measure_domain(random_student, one)
    network = random_student.network()
    lone = np.flatnonzero(domain.num_atoms == 1)
    assert len(lone)
    atoms = one.frame(0)
    energies = make_engine(random_student, "torch").compute(atoms).energies
    for k in lone:
        np.testing.assert_array_equal(domain.feature_min[k], domain.feature_max[k])
        scalars = torch.from_numpy(domain.feature_min[k].astype(np.float32))
        hidden = torch.nn.functional.silu(network.readout_in(scalars))
        energy = float(network.readout_out(hidden)) * network.energy_scale_eV
        energy += network.atomic_energies_eV[k]
        index = atoms.get_chemical_symbols().index(random_student.elements[k])
        assert energy == pytest.approx(energies[index], abs=1e-4)


def test_every_training_atom_is_inside_what_is_stored(
    random_student: Student, few: Dataset
) -> None:
    whole = measure_domain(random_student, few)
    stored = Domain.from_manifest(
        whole.to_manifest(random_student.elements), random_student.elements
    )
    assert (stored.shortest_A <= whole.shortest_A).all()
    assert (stored.feature_min <= whole.feature_min).all()
    assert (stored.feature_max >= whole.feature_max).all()
    np.testing.assert_allclose(stored.feature_max, whole.feature_max, atol=2e-4)
    np.testing.assert_array_equal(stored.most_neighbors, whole.most_neighbors)
    part = measure_domain(random_student, few.select([3]))
    there = part.num_atoms > 0
    assert (part.feature_min[there] >= stored.feature_min[there]).all()
    assert (part.shortest_A >= stored.shortest_A).all()


def test_stored_in_the_file_without_touching_the_weights(
    random_student: Student, few: Dataset, tmp_path: Path
) -> None:
    new = with_domain(random_student, few)
    path = tmp_path / "new.safetensors"
    save_student(path, new.manifest, new.weights)
    loaded = load_student(path)
    assert loaded.sha256 != random_student.sha256
    for name, weight in random_student.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], weight)
    Domain.from_manifest(loaded.manifest.domain, loaded.elements)
    assert len(loaded.manifest.to_json()) < 40_000


def test_what_cannot_be_measured(random_student: Student, few: Dataset) -> None:
    with pytest.raises(DataError, match="empty"):
        measure_domain(random_student, few.select([]))
    iron = Dataset.from_atoms([labelled(Atoms("Fe2", [[0, 0, 0], [0, 0, 2]]))])
    with pytest.raises(StructureError, match="does not know Fe"):
        measure_domain(random_student, iron)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"elements": {}},
        {"elements": {"Xx": {}}, "shortest_A": {}},
        {"elements": {"H": {"feature_min": [0.0], "feature_max": "?"}}, "shortest_A": {}},
        {"elements": 3, "shortest_A": 4},
    ],
)
def test_damaged_domains_are_refused(raw: dict) -> None:
    with pytest.raises(StudentFileError):
        Domain.from_manifest(raw, ("H", "C"))


def test_periodic_images_count() -> None:
    student = load_student("ultra-tiny")
    atoms = labelled(Atoms("CO", [[0, 0, 0], [0, 0, 1.2]], cell=[3.0, 6.0, 6.0], pbc=True))
    domain = measure_domain(student, Dataset.from_atoms([atoms]))
    carbon = student.elements.index("C")
    assert domain.shortest_A[carbon, carbon] == pytest.approx(3.0)
    assert domain.most_neighbors[carbon] > 2


def test_one_radical_among_the_frames_and_electrons_need_not_be_paired() -> None:
    paired = [labelled(molecule(name)) for name in ("CH4", "H2O")]
    assert even_electrons(Dataset.from_atoms(paired))
    assert not even_electrons(Dataset.from_atoms([*paired, labelled(molecule("CH3"))]))
