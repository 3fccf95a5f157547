"""Labelled frames as flat arrays: what training reads and labelling writes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.distill.npz import FORMAT, read_npz, write_npz
from mlff_md.errors import DataError
from mlff_md.structures import check_frames

if TYPE_CHECKING:
    from ase import Atoms

_PER_ATOM = {"numbers": np.uint8, "positions": np.float32, "forces": np.float32}
_PER_FRAME = {
    "energies": np.float64,
    "counts": np.int32,
    "molecules": np.str_,
    "kinds": np.str_,
    "temperature_K": np.float32,
}
_OPTIONAL = {"cell": np.float64, "pbc": np.bool_, "stress": np.float32}


@dataclass(frozen=True)
class Dataset:
    """Frames of any sizes, concatenated.

    Attributes
    ----------
    numbers
        (A,) uint8, atomic numbers of all frames one after another.
    positions, forces
        (A, 3) float32, Å and eV/Å.
    energies
        (F,) float64, total teacher energies, eV.
    counts
        (F,) int32, atoms of each frame; they sum to A.
    molecules
        (F,) str, molecule of each frame.
    kinds
        (F,) str, how the frame was made, see :mod:`mlff_md.distill.sampling`.
    temperature_K
        (F,) float32, bath temperature, 0 where none applies.
    cell, pbc
        (F, 3, 3) float64 in Å and (F, 3) bool, or both ``None`` for molecules.
    stress
        (F, 6) float32, eV/Å^3, in ASE's order and sign, ``nan`` for frames without one; ``None``
        where no frame has one.
    """

    numbers: NDArray[np.uint8]
    positions: NDArray[np.float32]
    forces: NDArray[np.float32]
    energies: NDArray[np.float64]
    counts: NDArray[np.int32]
    molecules: NDArray[np.str_]
    kinds: NDArray[np.str_]
    temperature_K: NDArray[np.float32]
    cell: NDArray[np.float64] | None = None
    pbc: NDArray[np.bool_] | None = None
    stress: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        frames, atoms = len(self.counts), int(np.sum(self.counts, dtype=np.int64))
        shapes = {
            "numbers": (atoms,),
            "positions": (atoms, 3),
            "forces": (atoms, 3),
            **dict.fromkeys(_PER_FRAME, (frames,)),
            "cell": (frames, 3, 3),
            "pbc": (frames, 3),
            "stress": (frames, 6),
        }
        if (self.cell is None) != (self.pbc is None):
            raise DataError("a data set needs both cell and pbc, or neither")
        if self.stress is not None and self.cell is None:
            raise DataError("a data set with stresses needs cells")
        dtypes: dict[str, Any] = {**_PER_ATOM, **_PER_FRAME, **_OPTIONAL}
        for key, dtype in dtypes.items():
            value = getattr(self, key)
            if value is None:
                continue
            array: NDArray[Any] = np.asarray(value, dtype=dtype)
            if array.shape != shapes[key]:
                raise DataError(
                    f"data set is inconsistent: {key} has shape {array.shape}, expected "
                    f"{shapes[key]}"
                )
            object.__setattr__(self, key, array)
        if frames and int(self.counts.min()) < 1:
            raise DataError("data set is inconsistent: a frame has no atoms")

    @property
    def periodic(self) -> bool:
        """Whether any frame is periodic in any direction."""
        return self.pbc is not None and bool(self.pbc.any())

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(F + 1,) index of the first atom of each frame, and of the end."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])

    @property
    def sha256(self) -> str:
        """Hash of the content: the same frames in the same order give the same hash."""
        digest = hashlib.sha256(FORMAT.encode())
        for key, array in self.arrays().items():
            digest.update(key.encode())
            if array.dtype.kind == "U":  # by value: an array's width depends on its longest string
                digest.update("\0".join(array.tolist()).encode())
            else:
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, without those that are ``None``."""
        keys = (*_PER_ATOM, *_PER_FRAME, *_OPTIONAL)
        return {key: value for key in keys if (value := getattr(self, key)) is not None}

    def frame(self, index: int) -> Atoms:
        """Return a frame as ASE atoms with its energy and forces attached."""
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator

        index = range(len(self))[index]
        span = slice(self.offsets[index], self.offsets[index + 1])
        atoms = Atoms(numbers=self.numbers[span], positions=self.positions[span])
        if self.cell is not None and self.pbc is not None:
            atoms.set_cell(self.cell[index])
            atoms.set_pbc(self.pbc[index])
        atoms.info.update(
            name=str(self.molecules[index]),
            kind=str(self.kinds[index]),
            temperature_K=float(self.temperature_K[index]),
        )
        results = {"energy": float(self.energies[index]), "forces": self.forces[span].astype(float)}
        if self.stress is not None and np.isfinite(self.stress[index]).all():
            results["stress"] = self.stress[index].astype(float)
        atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms

    def __iter__(self) -> Iterator[Atoms]:
        return (self.frame(index) for index in range(len(self)))

    def select(self, which: NDArray[Any] | Sequence[int]) -> Dataset:
        """Return the frames of a boolean mask (F,) or of an index array, in its order."""
        chosen = np.asarray(which)
        if chosen.dtype == np.bool_:
            if chosen.shape != (len(self),):
                raise DataError(f"mask has shape {chosen.shape}, expected ({len(self)},)")
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64)
        counts = self.counts[chosen].astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
        atoms = np.repeat(self.offsets[chosen] - starts, counts) + np.arange(counts.sum())
        arrays = self.arrays()
        return Dataset(**{k: v[atoms] if k in _PER_ATOM else v[chosen] for k, v in arrays.items()})

    @classmethod
    def concatenate(cls, parts: Sequence[Dataset]) -> Dataset:
        """Join data sets; if any is periodic the others get a zero cell, and likewise no stress.

        Raises
        ------
        DataError
            If there are none.
        """
        if not parts:
            raise DataError("no data sets to concatenate")
        if any(part.cell is not None for part in parts):
            parts = [part._with_cell() for part in parts]
        if any(part.stress is not None for part in parts):
            parts = [part._with_stress() for part in parts]
        arrays = [part.arrays() for part in parts]
        return cls(**{key: np.concatenate([a[key] for a in arrays]) for key in arrays[0]})

    def _with_cell(self) -> Dataset:
        if self.cell is not None:
            return self
        frames = len(self)
        return dataclasses.replace(
            self, cell=np.zeros((frames, 3, 3)), pbc=np.zeros((frames, 3), dtype=np.bool_)
        )

    def _with_stress(self) -> Dataset:
        if self.stress is not None:
            return self
        return dataclasses.replace(self, stress=np.full((len(self), 6), np.nan, np.float32))

    @classmethod
    def from_atoms(cls, frames: Sequence[Atoms]) -> Dataset:
        """Build a data set from ASE atoms with energy and forces, and stress if there is one.

        ``atoms.info`` may hold ``name``, ``kind`` and ``temperature_K``.

        Raises
        ------
        DataError
            If there are no frames or one lacks energy or forces.
        """
        if not frames:
            raise DataError("no frames")
        energies, forces = [], []
        for index, atoms in enumerate(frames):
            try:
                energies.append(float(atoms.get_potential_energy()))
                forces.append(atoms.get_forces(apply_constraint=False))
            except Exception as error:  # any calculator may raise anything; one line is enough
                raise DataError(f"frame {index} has no energy and forces: {error}") from error
        periodic = any(atoms.pbc.any() for atoms in frames)
        stress = np.array([_stress(atoms) for atoms in frames], dtype=np.float32)
        return cls(
            numbers=np.concatenate([a.numbers for a in frames]).astype(np.uint8),
            positions=np.concatenate([a.positions for a in frames]).astype(np.float32),
            forces=np.concatenate(forces).astype(np.float32),
            energies=np.array(energies),
            counts=np.array([len(a) for a in frames], dtype=np.int32),
            molecules=np.array([str(a.info.get("name", a.get_chemical_formula())) for a in frames]),
            kinds=np.array([str(a.info.get("kind", "")) for a in frames]),
            temperature_K=np.array([a.info.get("temperature_K", 0.0) for a in frames], np.float32),
            cell=np.array([a.cell.array for a in frames]) if periodic else None,
            pbc=np.array([a.pbc for a in frames]) if periodic else None,
            stress=stress if np.isfinite(stress).any() else None,
        )

    def save(self, path: str | Path) -> Path:
        """Write a ``.npz`` atomically; its bytes depend on the content alone."""
        path = Path(path)
        if path.suffix != ".npz":
            raise DataError(f"data sets are saved as .npz, not {path.name!r}")
        write_npz(path, self.arrays())
        return path

    @classmethod
    def load(cls, source: str | Path | Sequence[str | Path]) -> Dataset:
        """Read a folder of shards, a file or several files (``.npz`` or ``.extxyz``).

        Parameters
        ----------
        source
            What to read; a folder in the order of its shards' names.

        Raises
        ------
        DataError
            If nothing is found or a file is damaged, foreign or inconsistent.
        """
        if isinstance(source, (str, Path)):
            path = Path(source)
            paths = sorted(path.glob("shard-*.npz")) if path.is_dir() else [path]
            if not paths:
                raise DataError(f"{path} holds no shard-*.npz; is the labelling running?")
        else:
            paths = [Path(item) for item in source]
        return cls.concatenate([cls._load_file(path) for path in paths])

    @classmethod
    def _load_file(cls, path: Path) -> Dataset:
        if not path.is_file():
            raise DataError(f"{path} does not exist")
        if path.suffix in (".extxyz", ".xyz"):
            return cls._load_extxyz(path)
        arrays = read_npz(path)
        missing = [key for key in (*_PER_ATOM, *_PER_FRAME) if key not in arrays]
        if missing:
            raise DataError(f"{path} is damaged: it lacks {', '.join(missing)}")
        keys = (*_PER_ATOM, *_PER_FRAME, *_OPTIONAL)
        try:
            return cls(**{key: arrays[key] for key in keys if key in arrays})
        except (DataError, ValueError, TypeError) as error:
            raise DataError(f"{path} is damaged: {error}") from error

    @classmethod
    def _load_extxyz(cls, path: Path) -> Dataset:
        from ase.io import read

        try:
            with path.open("rb") as lines:
                check_frames(path, lines)
            frames = read(path, index=":", format="extxyz")
        except Exception as error:  # ase.io raises whatever its parser hits
            raise DataError(f"{path} is not a readable extended XYZ file: {error}") from error
        try:
            return cls.from_atoms(frames)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _stress(atoms: Atoms) -> NDArray[np.float64]:
    """Return the stress that was computed with the forces, in Voigt order, else ``nan``."""
    found = getattr(atoms.calc, "results", {}).get("stress")
    if found is None or not atoms.pbc.all():
        return np.full(6, np.nan)
    stress = np.asarray(found, dtype=np.float64)
    return stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] if stress.shape == (3, 3) else stress
