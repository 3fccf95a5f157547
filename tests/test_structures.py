"""Reading structures: everything ASE knows, nothing that could run code, no traceback."""

from __future__ import annotations

import gzip
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from mlff_md.errors import StructureError
from mlff_md.structures import check_structure, read_structure

STRUCTURES = Path(__file__).parents[1] / "inputs" / "structures"


@pytest.mark.parametrize("path", sorted(STRUCTURES.glob("*.xyz")), ids=lambda path: path.stem)
def test_shipped_structures(path):
    atoms = read_structure(path)
    assert len(atoms) >= 3
    distances = atoms.get_all_distances(mic=True) + 9.0 * np.eye(len(atoms))
    assert 0.9 < distances.min() < 3.7


def test_there_are_shipped_structures():
    names = {path.stem for path in STRUCTURES.glob("*.xyz")}
    assert {"aspirin", "ethanol", "water-box-64", "argon-liquid-108"} <= names


@pytest.mark.parametrize(
    "name",
    ["a.xyz", "a.extxyz", "a.cif", "POSCAR", "a.traj", "a.json", "a.pdb", "a.xyz.gz", "b@0.xyz"],
)
def test_formats(tmp_path, name):
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    write(tmp_path / ("plain.xyz" if "@" in name else name), atoms)
    if "@" in name:
        (tmp_path / "plain.xyz").rename(tmp_path / name)
    read = read_structure(tmp_path / name)
    assert sorted(read.symbols) == sorted(atoms.symbols)
    np.testing.assert_allclose(read.cell.volume, atoms.cell.volume, rtol=1e-3)


def test_frames(tmp_path):
    path = tmp_path / "many.xyz"
    write(path, [molecule("H2O"), molecule("CH4"), molecule("NH3")])
    assert str(read_structure(path).symbols) == "NH3"
    assert str(read_structure(str(path), index=0).symbols) == "OH2"
    with pytest.raises(StructureError, match="no frame 7"):
        read_structure(path, index=7)


def test_missing_files_name_the_nearest(tmp_path):
    (tmp_path / "aspirin.xyz").write_text("")
    with pytest.raises(StructureError, match=r"did you mean aspirin.xyz\?"):
        read_structure(tmp_path / "asprin.xyz")
    with pytest.raises(StructureError, match="did you mean aspirin"):
        read_structure(tmp_path / "aspirin.pdb")
    with pytest.raises(StructureError, match="no structure file") as caught:
        read_structure(tmp_path / "quite-different")
    assert "did you mean" not in str(caught.value)
    with pytest.raises(StructureError, match=r"folder .* cannot be read"):
        read_structure(tmp_path / "no-folder" / "aspirin.xyz")
    with pytest.raises(StructureError, match="not a file"):
        read_structure(tmp_path)
    for name in ("a\0b.xyz", "x" * 5000, "postgresql://localhost/db", "-"):
        with pytest.raises(StructureError, match=r"no structure file|cannot be read"):
            read_structure(name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xyz", b"3\nwater\nO 0 0 0\nH 0 0 1\n"),
        ("a.xyz", b"2\n\nO 0 0 zero\nH 0 0 1\n"),
        ("a.xyz", b"\xff\xfe\x00\x01" * 100),
        ("a.cif", b"data_x\nloop_\n_atom_site_label\n"),
        ("a.traj", b"- of Ulm\x00\x00\x00\x00"),
        ("a.json", b"{"),
        ("POSCAR", b"hello\nworld\n"),
        ("a.xyz.gz", b"not gzip at all"),
        ("a.xyz", b""),
        ("a.unknown", b"hello world"),
        ("a.xyz", b"\x80"),
        ("a.xyz", b"2\n\nO 0 0 nan\nH 0 0 1\n"),
        ("a.xyz", b"2\n\nO 0 0 0\nH 0 0 0\n"),
        ("a.xyz", b'1\npbc="T T T" Lattice="1 0 0 0 1 0 0 0 0"\nO 0 0 0\n'),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_get_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(StructureError) as caught:
        read_structure(path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", ["a.pckl", "a.pkl.gz", "a.traj", "a.xyz", "a.npy", "POSCAR", "a"])
def test_pickles_are_refused(tmp_path, name):
    content = pickle.dumps(Bomb(tmp_path / "exploded"))
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(StructureError, match="could run code"):
        read_structure(path)
    assert not (tmp_path / "exploded").exists()


def test_old_trajectories_python_and_bundles_are_refused(tmp_path):
    (tmp_path / "old.traj").write_bytes(b"PickleTrajectory" + pickle.dumps({}))
    (tmp_path / "a.py").write_text("raise SystemExit")
    for name in ("old.traj", "a.py"):
        with pytest.raises(StructureError, match="could run code"):
            read_structure(tmp_path / name)
    write(tmp_path / "a.bundle", molecule("H2O"), format="bundletrajectory")
    with pytest.raises(StructureError, match="not a file"):
        read_structure(tmp_path / "a.bundle")
    shutil.rmtree(tmp_path / "a.bundle")


def test_check_structure():
    check_structure(molecule("H2"))
    check_structure(bulk("Si"))
    twins = Atoms("CHH", [[0, 0, 0], [1, 0, 0], [1, 0, 1e-3]])
    with pytest.raises(StructureError, match=r"atoms 1 \(H\) and 2 \(H\) are 0.001 Å apart"):
        check_structure(twins)
    across = Atoms("CH", [[0, 0, 0], [0, 0, 9.99]], cell=[10, 10, 10], pbc=True)
    with pytest.raises(StructureError, match=r"0.010 Å apart"):
        check_structure(across)
    across.pbc = False
    check_structure(across)


@pytest.mark.parametrize("axis", range(3))
def test_a_cell_in_another_unit(axis: int) -> None:
    """Of such a box the search grid would take all memory; a damaged file had one."""
    atoms = Atoms("H3", [[0, 0, 0], [0, 0, 1], [0, 0, 2]], pbc=True)
    lengths = np.full(3, 5.0)
    lengths[axis] = -2147483649.0
    atoms.cell = np.diag(lengths)
    with pytest.raises(StructureError, match=r"is 2.15e\+09 Å long; is its unit another one?"):
        check_structure(atoms)
    lengths[axis] = 9e4
    atoms.cell = np.diag(lengths)
    check_structure(atoms)


@pytest.mark.parametrize(
    ("name", "told"), [("si.lammps-data", "8 atoms"), ("POSCAR", "8\n"), ("si.xyz", "8\n")]
)
def test_a_number_of_atoms_that_a_file_cannot_hold(name: str, told: str, tmp_path: Path) -> None:
    """ASE would ask for gigabytes before it looks for the atoms (found by fuzzing)."""
    path = tmp_path / name
    formats = {".lammps-data": "lammps-data", ".xyz": "xyz", "": "vasp"}
    bulk("Si", cubic=True).write(path, format=formats[path.suffix])
    assert len(read_structure(path)) == 8
    text = path.read_text()
    assert told in text
    for count in ("2147483648", "9" * 40):
        path.write_text(text.replace(told, told.replace("8", count), 1))
        with pytest.raises(StructureError, match=f"says that it holds {count[:20]} atoms"):
            read_structure(path)
