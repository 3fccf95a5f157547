"""What a guard knows of one structure: features, distances, electrons, lost atoms, energies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from mlff_md import StudentForceFieldCalculator, load_student
from mlff_md.distill.dataset import Dataset
from mlff_md.errors import StudentFileError
from mlff_md.guard import Inspector
from mlff_md.guard.features import _network_features, kernel_features, make_features
from mlff_md.native import available
from mlff_md.student.domain import Domain
from mlff_md.student.environments import Environments

TEST_SET = Path(__file__).parents[1] / "data" / "gfn2-test.npz"


def sf6() -> Atoms:
    arms = 1.58 * np.vstack([np.eye(3), -np.eye(3)])
    return Atoms("SF6", np.vstack([np.zeros(3), arms]))


def kinds(atoms: Atoms, name: str = "ultra-tiny") -> set[str]:
    calculator = StudentForceFieldCalculator(name)
    calculator.get_forces(atoms)
    return {found.kind for found in Inspector(calculator).inspect(atoms, current=True)}


@pytest.mark.skipif(not available(), reason="the native engine was not built")
@pytest.mark.parametrize("name", ["ultra-tiny", "tiny", "original"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_of_the_engine_are_those_of_the_network(name: str, dtype: str) -> None:
    atoms = molecule("CH3CONH2")
    calculator = StudentForceFieldCalculator(name, dtype=dtype)
    calculator.get_forces(atoms)
    student = calculator.student
    expected = _network_features(student)(atoms)
    scale = np.abs(expected).max()
    at_hand = kernel_features(calculator.engine.kernel, student)
    np.testing.assert_allclose(at_hand, expected, atol=2e-5 * scale)
    np.testing.assert_allclose(make_features(student)(atoms), expected, atol=2e-5 * scale)


@pytest.mark.parametrize("name", ["ultra-tiny", "tiny", "original"])
def test_held_out_molecules_are_known(name: str) -> None:
    """Fewer than one false alarm in a hundred frames of teacher MD up to 1000 K."""
    frames = Dataset.load(TEST_SET)
    calculator = StudentForceFieldCalculator(name)
    inspector = Inspector(calculator)
    assert set(inspector.covers) >= {"distance", "electrons", "energy", "environment"}
    alarms = 0
    for atoms in frames:
        calculator.get_forces(atoms)
        alarms += bool(inspector.inspect(atoms, current=True))
    assert alarms < 0.01 * len(frames)


def test_what_was_not_in_training() -> None:
    ethanol = molecule("CH3CH2OH")
    assert kinds(ethanol) == set()
    radical = ethanol[:-1]
    assert "electrons" in kinds(radical)
    ammonium = molecule("NH3") + Atoms("H", [[0.0, 0.0, 1.15]])
    assert "electrons" in kinds(ammonium)
    assert "environment" in kinds(sf6())
    squeezed = ethanol.copy()
    squeezed.positions *= 0.7
    assert {"distance", "environment"} & kinds(squeezed)
    carbene = Atoms("CH2", molecule("CH2_s1A1d").positions)
    assert kinds(carbene)


def test_a_broken_bond_leaves_two_radicals() -> None:
    ethane = molecule("C2H6")
    apart = [i for i in range(8) if ethane.positions[i, 2] > 0]
    ethane.positions[apart] += [0.0, 0.0, 1.2]
    found = kinds(ethane)
    assert "electrons" in found


def test_an_atom_that_left() -> None:
    water = molecule("H2O")
    calculator = StudentForceFieldCalculator("tiny")
    inspector = Inspector(calculator)
    assert inspector.inspect(water) == []
    water.positions[2] += 9.0
    texts = [found.text for found in inspector.inspect(water) if found.kind == "lost"]
    assert texts == ["atom 2 (H) left: no atom within 2.5 Å"]


def test_texts_name_the_atoms() -> None:
    atoms = molecule("CH3CH2OH")
    atoms.positions[8] = atoms.positions[2] + [0.45, 0.0, 0.0]
    calculator = StudentForceFieldCalculator("tiny")
    found = {f.kind: f.text for f in Inspector(calculator).inspect(atoms)}
    assert found["distance"].startswith("atoms 2 (O) and 8 (H) are 0.450 Å apart, closer than")


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_any_engine(engine: str) -> None:
    if engine == "onnx":
        pytest.importorskip("onnxruntime")
    calculator = StudentForceFieldCalculator("ultra-tiny", engine=engine)
    for atoms, expected in ((molecule("CH3OH"), False), (sf6(), True)):
        calculator.get_forces(atoms)
        found = {f.kind for f in Inspector(calculator).inspect(atoms, current=True)}
        assert ("environment" in found) == expected


def test_other_calculators_have_lost_atoms_alone() -> None:
    from ase.calculators.emt import EMT

    assert Inspector(EMT()).covers == ("lost",)


def test_many_atoms_are_judged_by_the_right_features() -> None:
    """From 2048 atoms on the engine sorts atoms: its features are not taken as they stand."""
    one = molecule("CH3OH")
    cell = 7.0
    places = np.stack(np.meshgrid(*[np.arange(7)] * 3), -1).reshape(-1, 3) * cell
    many = Atoms(
        np.tile(one.numbers, len(places)),
        (one.positions[None] + places[:, None]).reshape(-1, 3),
        cell=[7 * cell] * 3,
        pbc=True,
    )
    assert len(many) >= 2048
    calculator = StudentForceFieldCalculator("ultra-tiny")
    calculator.get_forces(many)
    inspector = Inspector(calculator)
    assert inspector.inspect(many, current=True) == []
    assert inspector.interval_factor == 10


def test_environments_survive_the_manifest() -> None:
    student = load_student("tiny")
    domain = Domain.from_manifest(student.manifest.domain, student.elements)
    known = domain.environments
    assert known is not None
    assert domain.even_electrons
    again = Environments.from_manifest(known.to_manifest(student.elements), student.elements)
    np.testing.assert_array_equal(again.mean, known.mean)
    np.testing.assert_array_equal(again.whitener, known.whitener)
    assert again.limit == known.limit
    raw = known.to_manifest(student.elements)
    raw["elements"]["C"]["mean"] = raw["elements"]["C"]["mean"][:-8]
    with pytest.raises(StudentFileError, match="environments are damaged"):
        Environments.from_manifest(raw, student.elements)


def test_fit_is_a_mahalanobis_distance() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(5, 5))
    features = rng.normal(size=(20_000, 5)) @ mixing
    species = np.zeros(len(features), int)
    energies = rng.normal(size=len(features))
    frame = np.arange(len(features)) // 10
    known = Environments.fit(species, features, energies, frame, num_species=2, quantile=0.9)
    covariance = np.cov(features.T)
    off = features - features.mean(axis=0)
    exact = np.sqrt(np.einsum("ij,jk,ik->i", off, np.linalg.inv(covariance), off) / 5)
    np.testing.assert_allclose(known.unusual(species, features), exact, rtol=2e-3)
    most = exact.reshape(-1, 10).max(axis=1)
    assert np.mean(most > known.limit) == pytest.approx(0.1, abs=0.005)
    # An element that was not there is unlike any.
    assert np.isinf(known.unusual(species[:3] + 1, features[:3])).all()
