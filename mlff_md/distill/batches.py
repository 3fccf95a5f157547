"""Padded batches of frames of similar size, in a seeded order that a resumed run repeats."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlff_md.distill.dataset import Dataset
from mlff_md.distill.padded import PaddedFrames, PriorPart
from mlff_md.distill.step import Batch
from mlff_md.errors import ConfigError, DataError
from mlff_md.graph import species_index

VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
"""Which of ASE's six stress components (xx, yy, zz, yz, xz, xy) is where in the matrix."""


@dataclass(frozen=True)
class Targets:
    """What turns teacher energies (eV) into what the network is to learn.

    Attributes
    ----------
    atomic_energies_eV
        Least-squares energy per element, shape (S,).
    scale_eV
        Root mean square force component, eV/Å, used as the unit of the network's output.
    energy_spread
        Standard deviation of the remaining energy per atom, in units of ``scale_eV``.
    """

    atomic_energies_eV: np.ndarray
    scale_eV: float
    energy_spread: float


@dataclass(frozen=True)
class Bucket:
    """Frames padded to the same number of atoms n.

    Attributes
    ----------
    inputs
        Species, integer (M, n), 0 where padded; positions, float32 (M, n, 3), Å; mask, float32
        (M, n), 1 for an atom and 0 for padding; then the pairs of the kind of frames.
    targets
        Forces, float32 (M, n, 3), and energies, float32 (M,), in units of the scale and without
        atomic energies and the prior's part. If the data set has stresses, also the virials per
        atom, float32 (M, 3, 3), in units of the scale, and which frames have one, float32 (M,).
    frames
        Index of each frame in the data set, shape (M,).
    """

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    frames: np.ndarray

    @property
    def padded_atoms(self) -> int:
        """Atoms of each frame, padding included."""
        return self.inputs[0].shape[1]

    def batch(self, rows: np.ndarray) -> Batch:
        """Return the given rows."""
        index = torch.from_numpy(rows)
        return Batch(
            tuple(tensor[index] for tensor in self.inputs),
            tuple(tensor[index] for tensor in self.targets),
        )


def fit_targets(dataset: Dataset, elements: Sequence[str], prior_energies: np.ndarray) -> Targets:
    """Fit element energies by least squares, and take the force RMS as the scale."""
    species = species_index(dataset.numbers, elements)
    frame = np.repeat(np.arange(len(dataset.counts)), dataset.counts)
    composition = np.zeros((len(dataset.counts), len(elements)))
    np.add.at(composition, (frame, species), 1.0)
    energies = dataset.energies - prior_energies
    fitted, *_ = np.linalg.lstsq(composition, energies, rcond=None)
    remaining = (energies - composition @ fitted) / dataset.counts
    scale = float(np.sqrt(np.mean(np.square(dataset.forces, dtype=np.float64))))
    # A median keeps a few stretched or overlapping frames from setting the unit for all.
    spread = 1.4826 * float(np.median(np.abs(remaining - np.median(remaining))))
    return Targets(fitted, scale, max(spread / scale, 1e-6))


def make_buckets(
    dataset: Dataset,
    model: PaddedFrames,
    sizes: Sequence[int],
    known: Targets | None = None,
) -> tuple[list[Bucket], Targets]:
    """Pad all frames to the next of ``sizes`` and subtract what the network need not learn.

    A student that is trained further keeps the energies and the scale of its ``known`` targets;
    those of a new one are fitted to the data.

    Raises
    ------
    ConfigError
        If a frame has more atoms than the largest size.
    DataError
        If there are no frames, or one cannot be evaluated.
    """
    if len(dataset) == 0:
        raise DataError("the training set is empty; is max_force_eV_per_A too small?")
    counts = np.asarray(dataset.counts, dtype=np.int64)
    if counts.max() > max(sizes):
        raise ConfigError(
            f"a frame has {counts.max()} atoms, more than the largest bucket of {max(sizes)}; "
            "add a larger one to 'buckets'"
        )
    elements = model.network.architecture.elements
    species = species_index(dataset.numbers, elements)
    padded = [
        _pad(dataset, species, model, frames, high)
        for low, high in zip((0, *sizes[:-1]), sizes, strict=True)
        if len(frames := np.flatnonzero((counts > low) & (counts <= high)))
    ]
    prior_energies = np.zeros(len(counts))
    for part in padded:
        prior_energies[part.frames] = part.prior.energies
    targets = fit_targets(dataset, elements, prior_energies)
    if known is not None:
        spread = targets.energy_spread * targets.scale_eV / known.scale_eV
        targets = dataclasses.replace(known, energy_spread=spread)
    shifts = np.bincount(
        np.repeat(np.arange(len(counts)), counts),
        weights=targets.atomic_energies_eV[species],
        minlength=len(counts),
    )
    energies = (dataset.energies - prior_energies - shifts) / targets.scale_eV
    buckets = [
        Bucket(
            part.inputs,
            (
                _forces_to_learn(dataset, part, targets.scale_eV),
                torch.from_numpy(energies[part.frames].astype(np.float32)),
                *_virials_to_learn(dataset, part, targets.scale_eV),
            ),
            part.frames,
        )
        for part in padded
    ]
    return buckets, targets


@dataclass(frozen=True)
class _Padded:
    """The frames of a bucket, before it is known what is to be learned."""

    frames: np.ndarray  # [M]
    source: np.ndarray  # [M, n], which atom of the data set
    inputs: tuple[Tensor, ...]
    prior: PriorPart


def _pad(
    dataset: Dataset, species: np.ndarray, model: PaddedFrames, frames: np.ndarray, size: int
) -> _Padded:
    atom = np.arange(size)
    mask = atom < dataset.counts[frames, None]
    source = np.where(mask, dataset.offsets[frames, None] + atom, 0)
    positions = np.where(mask[..., None], dataset.positions[source], 0.0).astype(np.float32)
    inputs = (
        torch.from_numpy(np.where(mask, species[source], 0).astype(np.int64)),
        torch.from_numpy(positions),
        torch.from_numpy(mask.astype(np.float32)),
        *model.find_pairs(dataset, frames),
    )
    return _Padded(frames, source, inputs, model.prior(*inputs))


def _forces_to_learn(dataset: Dataset, part: _Padded, scale_eV: float) -> Tensor:
    """Return forces (M, n, 3) without the prior's part, in units of the scale."""
    forces = (dataset.forces[part.source] - part.prior.forces) / scale_eV
    masked = np.where(part.inputs[2].numpy()[..., None] > 0.0, forces, 0.0)
    return torch.from_numpy(masked.astype(np.float32))


def _virials_to_learn(dataset: Dataset, part: _Padded, scale_eV: float) -> tuple[Tensor, ...]:
    """Return virials per atom (M, 3, 3), and which frames have one (M,); nothing without cells."""
    if dataset.stress is None or dataset.cell is None or part.prior.virials is None:
        return ()
    volumes = np.abs(np.linalg.det(dataset.cell[part.frames]))
    stress = dataset.stress[part.frames].astype(np.float64)[:, VOIGT]
    known = np.isfinite(stress).all(axis=(1, 2))
    virials = np.where(known[:, None, None], stress * volumes[:, None, None], 0.0)
    virials = (virials - part.prior.virials) / dataset.counts[part.frames, None, None] / scale_eV
    return (
        torch.from_numpy(virials.astype(np.float32)),
        torch.from_numpy(known.astype(np.float32)),
    )


def epoch_batches(
    buckets: Sequence[Bucket], atoms_per_batch: int, seed: int, epoch: int
) -> list[tuple[int, np.ndarray]]:
    """Return (bucket, rows) of every batch of an epoch, in an order set by seed and epoch.

    All batches of a bucket have one size, so that one compiled step serves them; the few frames
    left over take part in another epoch.
    """
    rng = np.random.default_rng([seed, epoch])
    batches = []
    for number, bucket in enumerate(buckets):
        rows = rng.permutation(len(bucket.frames))
        size = batch_size(bucket, atoms_per_batch)
        batches += [
            (number, rows[start : start + size]) for start in range(0, len(rows) - size + 1, size)
        ]
    return [batches[k] for k in rng.permutation(len(batches))]


def batch_size(bucket: Bucket, atoms_per_batch: int) -> int:
    """Return the number of frames of a batch: about the same number of atoms in each."""
    wanted = max(1, round(atoms_per_batch / bucket.padded_atoms))
    return min(wanted, len(bucket.frames))
