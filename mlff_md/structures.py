"""Structures: reading them from files, and the checks they pass before anything is computed.

A file from a stranger is only data here: formats whose reader can run code (pickles, Python
and the like) are refused before ASE sees them.
"""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import StructureError
from mlff_md.hints import did_you_mean, near_names

if TYPE_CHECKING:
    from ase import Atoms

MIN_DISTANCE_A = 0.05
"""Atoms closer than this, Å, are an error in the input, whatever the chemistry.

The shortest bond of all, H2, is 0.74 Å, and no trajectory comes near a tenth of it: at 0.05 Å
the bare Coulomb repulsion of two protons is already 290 eV.
"""

_REFUSED_SUFFIXES = frozenset(
    {".pckl", ".pckle", ".pickle", ".pkl", ".py", ".pyc", ".npy", ".npz", ".pt", ".pth", ".joblib"}
)
_REFUSED_FORMATS = frozenset({"bundletrajectory", "gpw", "mysql", "postgresql", "py"})
_OLD_TRAJECTORY = b"PickleTrajectory"
_PICKLE_PROTOCOLS = range(2, 6)

_NO_BOND_A = 0.3
"""No structure of three atoms or more has each of them this close to another."""

_SEARCH_A = 2.0
"""How far :func:`check_structure` looks; vesin is slow for radii far below a bond length."""

_LONGEST_A = 1e6
"""Of a periodic cell: a tenth of a millimeter. Search grids of a longer one take all memory."""


def read_structure(path: str | Path, index: int = -1) -> Atoms:
    """Read one structure from any file that ASE can read, and check it.

    Parameters
    ----------
    path
        A structure or trajectory file; compressed ones (.gz, .bz2, .xz) too.
    index
        Which frame of a trajectory; the last one unless told otherwise.

    Raises
    ------
    StructureError
        One line, if there is no such file (with the nearest names in its folder) or frame, if
        the file is damaged, of an unknown format or of one whose reader could run code, or if
        the structure fails :func:`check_structure`.
    """
    path = Path(path)
    atoms = _read(path, index)
    try:
        _check_scale(len(atoms), *_checked_pairs(atoms))
    except StructureError as error:
        raise StructureError(f"{path}: {error}") from error
    return atoms


def read_structures(path: str | Path) -> list[Atoms]:
    """Read all frames of a file, with the energies and forces that it holds, and check each.

    Parameters
    ----------
    path
        As for :func:`read_structure`.

    Raises
    ------
    StructureError
        As :func:`read_structure`, naming the first frame that fails the checks.
    """
    path = Path(path)
    frames = _read(path, slice(None))
    if not frames:
        raise StructureError(f"{path} holds no structures")
    for number, atoms in enumerate(frames):
        try:
            check_structure(atoms)
        except StructureError as error:
            raise StructureError(f"{path}, frame {number}: {error}") from error
    return frames


@overload
def _read(path: Path, index: int) -> Atoms: ...


@overload
def _read(path: Path, index: slice) -> list[Atoms]: ...


def _read(path: Path, index: int | slice) -> Atoms | list[Atoms]:
    """Read one frame or several, unchecked."""
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise StructureError(f"{path} cannot be read: {error}") from error
    if not exists:
        if re.match("(https?|ftp):/", str(path)):
            raise StructureError(f"{path} is an address; download it, and give the file")
        raise StructureError(f"there is no structure file {path}{_near_names(path)}")
    if not path.is_file():
        raise StructureError(f"{path} is not a file; give the path of a structure file")
    file_format = _safe_format(path)
    if file_format in ("lammps-data", "vasp", "xyz", "extxyz"):
        _check_count(path, file_format)

    from ase import Atoms
    from ase.io import read

    try:
        # Path as it is: "@" in a name is not an index, and nothing is expanded.
        found = read(path.resolve(), index=index, format=file_format, do_not_split_by_at_sign=True)
    except (IndexError, StopIteration) as error:
        what = f"no frame {index}" if isinstance(index, int) else "no frames"
        raise StructureError(f"{path} has {what}, or is cut short") from error
    except Exception as error:
        # The readers of ASE's eighty formats raise whatever their parsing runs into.
        raise StructureError(
            f"{path} is damaged or no readable {file_format} file ({_first_line(error)})"
        ) from error
    if not all(
        isinstance(atoms, Atoms) for atoms in (found if isinstance(found, list) else [found])
    ):
        raise StructureError(f"{path} holds no structure ({file_format} format)")
    return found


def check_structure(atoms: Atoms) -> None:
    """Check that a structure can be evaluated by anything: a student or a teacher.

    Raises
    ------
    StructureError
        One line, for an empty structure, positions or a cell that are not finite, a periodic
        cell without volume, and atoms that lie on top of each other.
    """
    _checked_pairs(atoms)


def _checked_pairs(atoms: Atoms) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Check a structure, and return its edges and their vectors up to the length of a bond."""
    from mlff_md.neighbors import NeighborList

    check_geometry(atoms.positions, atoms.cell.array, atoms.pbc)
    edges, vectors = NeighborList(_SEARCH_A, skin_A=0.0).update(
        atoms.positions, atoms.cell.array, atoms.pbc
    )
    check_distances(atoms.numbers, edges, vectors)
    return edges, vectors


def _check_scale(count: int, edges: NDArray[np.int32], vectors: NDArray[np.float64]) -> None:
    """Refuse a structure in which each atom is closer to another than any bond is long."""
    close = np.einsum("ij,ij->i", vectors, vectors) < _NO_BOND_A**2
    if count > 2 and len(np.unique(edges[0, close])) == count:
        raise StructureError(
            f"every atom is within {_NO_BOND_A} Å of another, closer than any bond; positions are "
            "read as Å: is the file in nanometres?"
        )


def check_geometry(
    positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]
) -> None:
    """Check positions and cell alone: microseconds, so that every MD step can afford it.

    Parameters
    ----------
    positions
        ``[N, 3]``, Å.
    cell
        ``[3, 3]``, rows are the cell vectors, Å.
    pbc
        ``[3]``, which directions are periodic.

    Raises
    ------
    StructureError
        If there are no atoms, a number is not finite, or a periodic cell is flat.
    """
    if len(positions) == 0:
        raise StructureError("the structure has no atoms")
    # A sum is not finite if one term is not: an order of magnitude cheaper than isfinite().all().
    if not np.isfinite(positions.sum()) and not np.isfinite(positions).all():
        atom = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
        raise StructureError(
            f"the position of atom {atom} is not finite ({positions[atom].tolist()}); "
            "the structure is damaged or the simulation has blown up"
        )
    if not np.isfinite(cell).all():
        raise StructureError(f"the cell is not finite ({cell.tolist()})")
    if any(pbc):
        _check_cell(cell, pbc)


def check_distances(
    numbers: NDArray[np.integer], edges: NDArray[np.int32], vectors: NDArray[np.float64]
) -> None:
    """Check that no edge is shorter than :data:`MIN_DISTANCE_A`.

    Raises
    ------
    StructureError
        Naming the two atoms and their distance.
    """
    if len(vectors) == 0:
        return
    squared = np.einsum("ij,ij->i", vectors, vectors)
    shortest = int(squared.argmin())
    distance = float(squared[shortest]) ** 0.5
    if distance >= MIN_DISTANCE_A:
        return
    i, j = (int(index) for index in edges[:, shortest])
    raise StructureError(
        f"atoms {i} ({chemical_symbol(int(numbers[i]))}) and {j} "
        f"({chemical_symbol(int(numbers[j]))}) are {distance:.3f} Å apart; "
        "remove the duplicate or mend the structure"
    )


_MOST_MISSING = 1_000_000
"""Atoms that a frame may lack for ASE to find out: it counts to all of them."""


def _check_count(path: Path, file_format: str) -> None:
    """Refuse a file that says it holds more atoms than there is room for.

    ASE's readers ask for memory for as many, or count to as many, before they look for them.
    """
    from ase.io.formats import open_with_compression

    try:
        with open_with_compression(str(path), "rb") as file:
            if file_format in ("xyz", "extxyz"):
                check_frames(path, file)
                return
            content = file.read()
    except StructureError:
        raise
    except Exception as error:  # each compression has errors of its own
        raise StructureError(f"{path} cannot be read ({_first_line(error)})") from error
    if file_format == "vasp":  # a line for all kinds, after title, scale, cell and perhaps symbols
        lines = content.splitlines()[5:7]
        counts = [word for line in lines for word in re.findall(rb"(?<!\S)\+?(\d[\d_]*)", line)]
    else:
        counts = re.findall(rb"^[ \t]*\+?(\d[\d_]*)[ \t]+atoms\b", content, re.M)
    if any(len(count) > 12 or int(count.replace(b"_", b"")) > len(content) for count in counts):
        raise StructureError(
            f"{path} is damaged: it says that it holds {max(counts, key=len)[:20].decode()} atoms, "
            f"in {len(content)} bytes"
        )


def check_frames(path: Path, lines: Iterable[bytes]) -> None:
    """Refuse an XYZ file one of whose frames tells of far more atoms than lines follow.

    Raises
    ------
    StructureError
        If one does.
    """
    lines = iter(lines)
    for line in lines:
        if line.startswith(b"VEC"):  # cell vectors behind the atoms
            continue
        try:
            count = int(line)
        except ValueError:
            return  # for ASE to say what is wrong
        if count < 0:
            return
        there = sum(1 for _ in itertools.islice(lines, min(count + 1, sys.maxsize)))
        if count > there + _MOST_MISSING:
            raise StructureError(
                f"{path} is damaged: it says that it holds {str(count)[:20]} atoms, in {there} "
                "lines"
            )


def _safe_format(path: Path) -> str:
    """Return ASE's name of the file's format, refusing what could run code on reading."""
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats, open_with_compression

    refusal = (
        f"{path} is not opened: reading a file of this kind could run code from it; "
        "convert it to .extxyz where it comes from"
    )
    if any(suffix.lower() in _REFUSED_SUFFIXES for suffix in path.suffixes):
        raise StructureError(refusal)
    try:
        with open_with_compression(str(path), "rb") as file:
            head = file.read(64)
        if not head:
            raise StructureError(f"{path} is empty")
        if head.startswith(_OLD_TRAJECTORY) or (head[0] == 0x80 and head[1] in _PICKLE_PROTOCOLS):
            raise StructureError(refusal)
        name = str(filetype(str(path.resolve())))
    except UnknownFileTypeError as error:
        raise StructureError(f"{path} is in no format that ASE knows") from error
    except StructureError:
        raise
    except Exception as error:
        raise StructureError(f"{path} cannot be read ({_first_line(error)})") from error
    known = ioformats.get(name)
    if known is None or not known.can_read:
        raise StructureError(f"{path} is in no format that ASE can read ({name})")
    # Formats of other packages are not ASE's: nobody has looked at what their readers do.
    if name in _REFUSED_FORMATS or not known.module_name.startswith("ase.io."):
        raise StructureError(refusal)
    return name


def _near_names(path: Path) -> str:
    try:
        names = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())
    except OSError:
        return f"; the folder {path.parent} cannot be read either"
    near = near_names(path.name, names)
    if not near:
        stems = near_names(path.stem, (Path(name).stem for name in names), cutoff=0.75)
        near = [name for name in names if Path(name).stem in stems][:3]
    if near:
        return f"; {did_you_mean(near)}"
    return "" if path.suffix else "; give a file, such as .xyz, .cif or .pdb"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _check_cell(cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> None:
    """Check that the periodic cell is nowhere thinner than two atoms may be apart.

    No lattice vector is shorter than the least height of the cell, so this covers atoms that lie
    on their own images, and bounds the number of images that any cutoff reaches.
    """
    periodic = [row for row, wraps in zip(cell.tolist(), pbc, strict=True) if wraps]
    if len(periodic) == 1:
        height = _length(periodic[0])
    elif len(periodic) == 2:
        side = max(_length(row) for row in periodic)
        height = _length(cross(*periodic)) / side if side else 0.0
    else:
        a, b, c = periodic
        faces = [cross(b, c), cross(c, a), cross(a, b)]
        volume = abs(sum(x * y for x, y in zip(a, faces[0], strict=True)))
        largest = max(_length(face) for face in faces)
        height = volume / largest if largest else 0.0
    longest = max(_length(row) for row in periodic)
    if longest > _LONGEST_A:
        raise StructureError(
            f"the cell {cell.tolist()} is {longest:.3g} Å long; is its unit another one?"
        )
    if height >= MIN_DISTANCE_A:
        return
    axes = "".join(axis for axis, wraps in zip("abc", pbc, strict=True) if wraps)
    raise StructureError(
        f"the structure is periodic along {axes} but its cell {cell.tolist()} has no volume there; "
        "set a cell, or pbc=False for a molecule"
    )


def _length(vector: list[float]) -> float:
    return math.hypot(*vector)


def cross(a: list[float], b: list[float]) -> list[float]:
    """Return the vector product of two vectors, as plain floats."""
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def chemical_symbol(number: int) -> str:
    """Return the symbol of an atomic number, or ``element N`` where there is none."""
    from ase.data import chemical_symbols

    if 0 <= number < len(chemical_symbols):
        return str(chemical_symbols[number])
    return f"element {number}"
