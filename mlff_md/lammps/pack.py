"""A student as one flat file for C++: what ``mlff_student`` holds, and a checksum.

The LAMMPS plugin runs ``python -m mlff_md.lammps.pack STUDENT`` on one rank and reads two lines:
the packed file, in the cache, and the native library. The layout, in this machine's byte order:

====================  ==========================================================================
``char[8]``           ``MLFFPACK``
``int32[2]``          :data:`FORMAT`, :data:`mlff_md.native.library.ABI`
``int32[9]``          the sizes of ``mlff_student``, ``hidden`` to ``species``
``int32``             0
``double[7]``         its numbers, ``cutoff_A`` to ``floor_width``
``double``            two atoms closer than this, Å, are an error
``int64[4]``          lengths of the four arrays below
``char[64]`` twice    sha256 of the student file; name of the student
per species           symbol, ``char[8]``
``int64``             number of chemical elements in the table that follows
per element           symbol, ``char[8]``; mass, ``double``, u
arrays                ``double`` atomic energies, prior and splines; ``float`` weights, padded to
                      8 bytes with zeros
``int64[2]``          whether the training domain follows; width of its features, 0 for none
domain                ``double`` shortest distances, 0 for none; with features also ``double``
                      lowest and highest energies and the limit, ``float`` means and whiteners,
                      padded; see :mod:`mlff_md.student.environments`
``uint64``            FNV-1a hash of all words of 8 bytes before
====================  ==========================================================================
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlff_md._version import __version__
from mlff_md.engines.exported import is_exported, load_exported
from mlff_md.errors import MlffError, StudentFileError
from mlff_md.files import cache_folder, write_atomically
from mlff_md.guard.inspector import widened
from mlff_md.native.kernel import student_arrays
from mlff_md.native.library import ABI, library_path
from mlff_md.structures import MIN_DISTANCE_A
from mlff_md.student import Student, load_student
from mlff_md.student.domain import Domain
from mlff_md.student.zoo import find

MAGIC = b"MLFFPACK"
FORMAT = 2
SUFFIX = ".mlff"


def pack(student: Student) -> bytes:
    """Return a student in the layout that ``lammps_plugin/packed_student.cpp`` reads."""
    from ase.data import atomic_masses, chemical_symbols

    integers, numbers, arrays = student_arrays(student)
    parts = [
        struct.pack("=8s2i", MAGIC, FORMAT, ABI),
        struct.pack("=9ii", *integers.values(), 0),
        struct.pack("=7dd", *numbers.values(), MIN_DISTANCE_A),
        struct.pack("=4q", *(array.size for array in arrays.values())),
        struct.pack("=64s64s", student.sha256.encode(), student.name.encode()[:63]),
    ]
    parts.extend(struct.pack("=8s", symbol.encode()) for symbol in student.elements)
    table = list(zip(chemical_symbols, atomic_masses.tolist(), strict=True))[1:]
    parts.append(struct.pack("=q", len(table)))
    parts.extend(struct.pack("=8sd", symbol.encode(), mass) for symbol, mass in table)
    parts.extend(array.tobytes() for array in arrays.values())
    content = _padded(b"".join(parts))
    content = _padded(content + _domain(student))
    return content + struct.pack("=Q", _hash(content))


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 8)


def _domain(student: Student) -> bytes:
    """Return what the guard of a run needs; two zeros if the student does not say."""
    if not student.manifest.domain:
        return struct.pack("=2q", 0, 0)
    domain = Domain.from_manifest(student.manifest.domain, student.elements)
    shortest = np.where(np.isfinite(domain.shortest_A), domain.shortest_A, 0.0)
    known = domain.environments
    if known is None or known.mean.shape[1] != student.manifest.architecture.hidden_dim:
        return struct.pack("=2q", 1, 0) + shortest.tobytes()
    low, high = widened(known.energy_low_eV, known.energy_high_eV)
    numbers = (shortest, low, high, np.array([known.limit]))
    return (
        struct.pack("=2q", 1, known.mean.shape[1])
        + b"".join(array.astype(np.float64).tobytes() for array in numbers)
        + known.mean.tobytes()
        + known.whitener.tobytes()
    )


def _hash(content: bytes) -> int:
    """FNV-1a over words of 8 bytes: finds damage, and is no defence against forgery."""
    value = 0xCBF29CE484222325
    for word in np.frombuffer(content, dtype=np.uint64).tolist():
        value = ((value ^ word) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def load(name_or_path: str | os.PathLike[str]) -> Student:
    """Load what is to be packed; of an exported file there are no weights, and Python runs it.

    Raises
    ------
    StudentFileError
        If there is no such student, its file is damaged, or it is a program that could do anything.
    """
    if not is_exported(name_or_path):
        return load_student(name_or_path)
    exported = load_exported(name_or_path)
    none = {
        name: np.empty(0, np.float32) for name in exported.manifest.architecture.weight_shapes()
    }
    return Student(exported.manifest, none, exported.sha256)


def packed_file(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the packed file of a student, from the cache if it is there.

    Parameters
    ----------
    name_or_path
        As for :func:`mlff_md.load_student`, or an ``.onnx`` file.

    Raises
    ------
    StudentFileError
        If there is no such student, or its file is damaged.
    ConfigError
        If the cache cannot be written.
    """
    import hashlib

    source = Path(name_or_path) if is_exported(name_or_path) else find(name_or_path)
    try:
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    except OSError as error:
        raise StudentFileError(f"cannot read {source}: {error.strerror}") from error
    key = f"{sha256[:32]}-{FORMAT}.{ABI}-{__version__}"
    target = cache_folder() / "students" / f"{key}{SUFFIX}"
    if not target.is_file():
        write_atomically(target, pack(load(source)))
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the packed file of a student and the native library, each on a line of its own."""
    parser = argparse.ArgumentParser(prog="python -m mlff_md.lammps.pack", description=__doc__)
    parser.add_argument("student", help="name, .safetensors or .onnx file")
    parser.add_argument("--out", type=Path, help="write the packed file here, not into the cache")
    options = parser.parse_args(arguments)
    try:
        if options.out:
            write_atomically(options.out, pack(load(options.student)))
        path = options.out or packed_file(options.student)
    except MlffError as error:
        # On stdout: the plugin reads it there and makes it LAMMPS' own error.
        print(f"error: {' '.join(str(error).split())}")
        return 3
    print(path.absolute())
    print(library_path() or "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
