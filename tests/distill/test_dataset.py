import numpy as np
import pytest
from ase import Atoms
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from hypothesis import given
from hypothesis import strategies as st

from mlff_md.distill.dataset import Dataset
from mlff_md.errors import DataError


def made(counts=(3, 1, 2), periodic=False, seed=0):
    rng = np.random.default_rng(seed)
    atoms, frames = sum(counts), len(counts)
    extra = {}
    if periodic:
        extra = {"cell": rng.normal(size=(frames, 3, 3)), "pbc": np.ones((frames, 3), bool)}
    return Dataset(
        numbers=rng.integers(1, 18, atoms),
        positions=rng.normal(size=(atoms, 3)),
        forces=rng.normal(size=(atoms, 3)),
        energies=rng.normal(size=frames) * 1e3,
        counts=np.array(counts),
        molecules=np.array([f"molecule-{i}" for i in range(frames)]),
        kinds=np.array(["md"] * frames),
        temperature_K=np.full(frames, 300.0),
        **extra,
    )


def same(a, b):
    left, right = a.arrays(), b.arrays()
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key])


@pytest.mark.parametrize("periodic", [False, True])
def test_save_and_load_lose_nothing(tmp_path, periodic):
    dataset = made(periodic=periodic)
    path = dataset.save(tmp_path / "frames.npz")
    loaded = Dataset.load(path)
    same(loaded, dataset)
    assert loaded.sha256 == dataset.sha256
    assert [p.name for p in tmp_path.iterdir()] == ["frames.npz"]


def test_bytes_depend_on_content_alone(tmp_path):
    a = made().save(tmp_path / "a.npz").read_bytes()
    b = made().save(tmp_path / "b.npz").read_bytes()
    assert a == b


def test_hash_sees_every_array():
    dataset = made(periodic=True)
    seen = {dataset.sha256}
    for key, array in dataset.arrays().items():
        if key == "counts":
            continue
        changed = array.copy()
        changed[-1] = "other" if array.dtype.kind == "U" else changed[-1] + 1
        if key == "pbc":
            changed[-1] = False
        seen.add(Dataset(**{**dataset.arrays(), key: changed}).sha256)
    assert len(seen) == len(dataset.arrays())
    wider = {**dataset.arrays(), "molecules": dataset.molecules.astype("U99")}
    assert Dataset(**wider).sha256 == dataset.sha256


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_select_agrees_with_frames(indices):
    dataset = made((3, 1, 2, 4, 1, 2), periodic=True)
    chosen = dataset.select(indices)
    assert len(chosen) == len(indices)
    for k, index in enumerate(indices):
        a, b = chosen.frame(k), dataset.frame(index)
        np.testing.assert_array_equal(a.positions, b.positions)
        np.testing.assert_array_equal(a.get_forces(), b.get_forces())
        assert a.info == b.info
        assert a.get_potential_energy() == b.get_potential_energy()
        np.testing.assert_array_equal(a.cell.array, b.cell.array)


def test_select_by_mask():
    dataset = made()
    same(dataset.select(np.array([True, False, True])), dataset.select([0, 2]))
    assert len(dataset.select(np.zeros(3, bool))) == 0
    with pytest.raises(DataError, match="mask has shape"):
        dataset.select(np.array([True]))


def test_concatenate_mixes_molecules_and_crystals():
    joined = Dataset.concatenate([made(), made((2,), periodic=True)])
    assert len(joined) == 4
    assert joined.pbc.any(axis=1).tolist() == [False, False, False, True]
    same(joined.select([0, 1, 2]), Dataset.concatenate([made()])._with_cell())
    with pytest.raises(DataError, match="no data sets"):
        Dataset.concatenate([])


def test_negative_and_bad_index():
    dataset = made()
    assert dataset.frame(-1).info["name"] == "molecule-2"
    assert len(list(dataset)) == 3
    with pytest.raises(IndexError):
        dataset.frame(3)


def test_folder_and_several_files(tmp_path):
    made(seed=1).save(tmp_path / "shard-00001.npz")
    made(seed=0).save(tmp_path / "shard-00000.npz")
    (tmp_path / ".shard-00002.npz.123.tmp").write_bytes(b"half")
    whole = Dataset.load(tmp_path)
    same(whole, Dataset.concatenate([made(seed=0), made(seed=1)]))
    files = [tmp_path / "shard-00000.npz", str(tmp_path / "shard-00001.npz")]
    same(Dataset.load(files), whole)


def test_extxyz(tmp_path):
    frames = []
    for symbols in ("H2", "CO"):
        atoms = Atoms(symbols, positions=[[0, 0, 0], [0, 0, 1.1]])
        atoms.calc = MorsePotential()
        kept = SinglePointCalculator(
            atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces()
        )
        atoms.calc = kept
        atoms.info["name"] = symbols
        frames.append(atoms)
    path = tmp_path / "frames.extxyz"
    write(path, frames)
    dataset = Dataset.load(path)
    assert dataset.molecules.tolist() == ["H2", "CO"]
    assert dataset.cell is None
    np.testing.assert_allclose(dataset.frame(1).get_forces(), frames[1].get_forces(), atol=1e-6)


def test_unusable_files_give_one_line(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        Dataset.load(tmp_path / "absent.npz")
    with pytest.raises(DataError, match=r"holds no shard-\*\.npz"):
        Dataset.load(tmp_path)
    good = made().save(tmp_path / "good.npz").read_bytes()
    for name, content in (("text", b"not a zip"), ("cut", good[:-40]), ("empty", b"")):
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"{name}.npz is damaged") as caught:
            Dataset.load(path)
        assert "\n" not in str(caught.value)
    flipped = bytearray(good)
    flipped[good.index(b"positions.npy") + 150] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(flipped)
    with pytest.raises(DataError, match=r"flipped\.npz is damaged"):
        Dataset.load(tmp_path / "flipped.npz")
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="not a data set of this package"):
        Dataset.load(tmp_path / "foreign.npz")
    (tmp_path / "bad.extxyz").write_text("two\nlines\n")
    with pytest.raises(DataError, match="not a readable extended XYZ"):
        Dataset.load(tmp_path / "bad.extxyz")
    write(tmp_path / "bare.extxyz", Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]]))
    with pytest.raises(DataError, match="frame 0 has no energy and forces"):
        Dataset.load(tmp_path / "bare.extxyz")


def test_saving_needs_npz(tmp_path):
    with pytest.raises(DataError, match=r"saved as \.npz"):
        made().save(tmp_path / "frames.json")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("forces", np.zeros((2, 3)), "forces has shape"),
        ("energies", np.zeros(2), "energies has shape"),
        ("counts", np.array([6, 0, 0]), "a frame has no atoms"),
        ("cell", np.zeros((3, 3, 3)), "both cell and pbc"),
    ],
)
def test_inconsistent_arrays_are_refused(key, value, reason):
    with pytest.raises(DataError, match=reason):
        Dataset(**{**made().arrays(), key: value})
