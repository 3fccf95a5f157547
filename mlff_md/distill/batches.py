"""Padded batches of molecules of similar size, in a seeded order that a resumed run repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlff_md.distill.dataset import Dataset
from mlff_md.distill.dense import DenseMolecules
from mlff_md.errors import ConfigError, DataError
from mlff_md.graph import species_index


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
    species
        Integer, shape (M, n); 0 where padded.
    positions, forces
        float32, shape (M, n, 3), Å; forces in units of the scale, without the prior's part.
    mask
        float32, shape (M, n): 1 for an atom, 0 for padding.
    energies
        float32, shape (M,): in units of the scale, without atomic energies and the prior's part.
    frames
        Index of each frame in the data set, shape (M,).
    """

    species: Tensor
    positions: Tensor
    forces: Tensor
    mask: Tensor
    energies: Tensor
    frames: np.ndarray

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return species, positions, mask, forces, energies of the given rows."""
        index = torch.from_numpy(rows)
        return (
            self.species[index],
            self.positions[index],
            self.mask[index],
            self.forces[index],
            self.energies[index],
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
    dataset: Dataset, model: DenseMolecules, sizes: Sequence[int]
) -> tuple[list[Bucket], Targets]:
    """Pad all frames to the next of ``sizes`` and subtract what the network need not learn.

    Raises
    ------
    ConfigError
        If a frame has more atoms than the largest size, or is periodic.
    DataError
        If there are no frames.
    """
    if len(dataset) == 0:
        raise DataError("the training set is empty; is max_force_eV_per_A too small?")
    if dataset.pbc is not None and dataset.pbc.any():
        raise ConfigError(
            "periodic frames cannot be trained on yet: training sees each frame as a molecule"
        )
    counts = np.asarray(dataset.counts, dtype=np.int64)
    if counts.max() > max(sizes):
        raise ConfigError(
            f"a frame has {counts.max()} atoms, more than the largest bucket of {max(sizes)}; "
            "add a larger one to 'buckets'"
        )
    elements = model.network.architecture.elements
    species = species_index(dataset.numbers, elements)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    prior_energies = np.zeros(len(counts))
    prior_forces = np.zeros(dataset.forces.shape)
    padded = []
    for low, high in zip((0, *sizes[:-1]), sizes, strict=True):
        frames = np.flatnonzero((counts > low) & (counts <= high))
        if not len(frames):
            continue
        atom = np.arange(high)
        mask = atom < counts[frames, None]
        source = np.where(mask, offsets[frames, None] + atom, 0)
        positions = np.where(mask[..., None], dataset.positions[source], 0.0).astype(np.float32)
        kinds = np.where(mask, species[source], 0).astype(np.int64)
        energies, forces = model.prior(
            torch.from_numpy(kinds), torch.from_numpy(positions), torch.from_numpy(mask)
        )
        prior_energies[frames] = energies
        prior_forces[source[mask]] = forces[mask]
        padded.append((frames, mask, source, positions, kinds))

    targets = fit_targets(dataset, elements, prior_energies)
    to_learn = (dataset.forces - prior_forces) / targets.scale_eV
    shifts = np.bincount(
        np.repeat(np.arange(len(counts)), counts),
        weights=targets.atomic_energies_eV[species],
        minlength=len(counts),
    )
    energy_to_learn = (dataset.energies - prior_energies - shifts) / targets.scale_eV
    buckets = [
        Bucket(
            species=torch.from_numpy(kinds),
            positions=torch.from_numpy(positions),
            forces=torch.from_numpy(
                np.where(mask[..., None], to_learn[source], 0.0).astype(np.float32)
            ),
            mask=torch.from_numpy(mask.astype(np.float32)),
            energies=torch.from_numpy(energy_to_learn[frames].astype(np.float32)),
            frames=frames,
        )
        for frames, mask, source, positions, kinds in padded
    ]
    return buckets, targets


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
    """Return the number of molecules of a batch: about the same number of atoms in each."""
    wanted = max(1, round(atoms_per_batch / bucket.species.shape[1]))
    return min(wanted, len(bucket.frames))
