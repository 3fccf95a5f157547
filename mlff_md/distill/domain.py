"""The extrapolation domain of a student, measured on its training set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlff_md.distill.dataset import Dataset
from mlff_md.errors import DataError
from mlff_md.graph import Graph, build_graph, in_batches
from mlff_md.progress import Progress, silent
from mlff_md.student import Student
from mlff_md.student.domain import Domain
from mlff_md.student.environments import Environments

_TEACHER_MD = "tmd"
"""Kind of the frames that environments are measured on: all others are distorted on purpose."""

_QUANTILE, _QUANTILE_OF_FEW = 0.97, 0.95
"""Of the frames of teacher MD that lie within the limit. Many of the training set's molecules are
odd ones, so fewer are outside of it in use: see docs/guard.md, where this is measured. Few features
tell less, so their limit is lower."""

_FEW = 32

_MAX_EDGES = 20_000
"""Pairs in one evaluation; few enough to stay in the cache."""


def with_domain(student: Student, dataset: Dataset, progress: Progress | None = None) -> Student:
    """Return the student with the domain of a data set in its manifest; the weights are the same.

    Write it with :func:`mlff_md.student.save_student`, which gives it its new hash.

    Parameters
    ----------
    student
        From :func:`mlff_md.load_student`.
    dataset
        What it was trained on.
    progress
        Told of each frame.

    Raises
    ------
    DataError
        If the data set is empty.
    StructureError
        If it holds elements that the student does not know.
    """
    domain = measure_domain(student, dataset, progress)
    manifest = dataclasses.replace(student.manifest, domain=domain.to_manifest(student.elements))
    return dataclasses.replace(student, manifest=manifest, sha256="")


def measure_domain(student: Student, dataset: Dataset, progress: Progress | None = None) -> Domain:
    """Return shortest distances, neighbor counts, feature ranges and environments of a data set.

    Arguments and errors are those of :func:`with_domain`.
    """
    if not len(dataset):
        raise DataError("the domain of an empty data set is empty")
    count, width = len(student.elements), student.manifest.architecture.hidden_dim
    shortest = np.full((count, count), np.inf)
    neighbors, atoms = np.zeros(count, np.int64), np.zeros(count, np.int64)
    low, high = np.full((count, width), np.inf), np.full((count, width), -np.inf)
    told = progress or silent
    told.begin("domain", len(dataset))
    done = 0
    with _Features(student) as features:
        try:
            for graph in _batches(student, dataset):
                center, neighbor = (graph.species[row] for row in graph.edges)
                distances = np.linalg.norm(graph.vectors, axis=1)
                np.minimum.at(shortest, (center, neighbor), distances)
                atoms += np.bincount(graph.species, minlength=count)
                near = np.bincount(graph.edges[0], minlength=graph.n_atoms)
                np.maximum.at(neighbors, graph.species, near)
                found = features.of(graph).readout.astype(np.float64)
                for species in np.unique(graph.species):
                    chosen = found[graph.species == species]
                    low[species] = np.minimum(low[species], chosen.min(axis=0))
                    high[species] = np.maximum(high[species], chosen.max(axis=0))
                done += graph.n_structures
                told.update(done)
        finally:
            told.end()
    return Domain(
        shortest,
        neighbors,
        low,
        high,
        atoms,
        len(dataset),
        dataset.sha256,
        measure_environments(student, dataset),
        even_electrons(dataset),
    )


def measure_environments(student: Student, dataset: Dataset) -> Environments | None:
    """Return what the atoms of the data set's teacher MD see; of all frames if there is none.

    ``None`` for a student of one layer, whose messages know nothing of the surroundings.
    """
    width = student.manifest.architecture.hidden_dim
    if student.manifest.architecture.num_interactions < 2:
        return None
    dataset = _undistorted(dataset)
    species, messages, energies, frame = [], [], [], []
    done = 0
    with _Features(student) as features:
        for graph in _batches(student, dataset):
            found = features.of(graph)
            species.append(graph.species)
            messages.append(found.messages)
            energies.append(found.energies)
            frame.append(graph.structure + done)
            done += graph.n_structures
    return Environments.fit(
        np.concatenate(species),
        np.concatenate(messages),
        np.concatenate(energies),
        np.concatenate(frame),
        num_species=len(student.elements),
        quantile=_QUANTILE_OF_FEW if width <= _FEW else _QUANTILE,
    )


def _undistorted(dataset: Dataset) -> Dataset:
    chosen = dataset.kinds == _TEACHER_MD
    return dataset.select(chosen) if chosen.any() else dataset


def even_electrons(dataset: Dataset) -> bool:
    """Return whether no frame of teacher MD, were it neutral, has an unpaired electron."""
    dataset = _undistorted(dataset)
    totals = np.add.reduceat(dataset.numbers.astype(np.int64), dataset.offsets[:-1])
    return not (totals % 2).any()


class _Found(NamedTuple):
    """Of each atom: what enters the readout, scalars sent in the last layer, energy in eV."""

    readout: NDArray[np.float32]
    messages: NDArray[np.float32]
    energies: NDArray[np.float64]


class _Features:
    """The student's network, with an ear at what passes through it."""

    def __init__(self, student: Student) -> None:
        self._network = student.network()
        self._width = student.manifest.architecture.hidden_dim
        self._heard: dict[str, Any] = {}
        last: Any = self._network.layers[-1]
        self._hooks = [
            self._network.readout_in.register_forward_pre_hook(self._hear_readout),
            last.message_out.register_forward_hook(self._hear_messages),
        ]

    def __enter__(self) -> _Features:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def of(self, graph: Graph) -> _Found:
        """Return the features of all atoms of a graph."""
        import torch

        with torch.no_grad():
            energies = self._network(
                torch.from_numpy(graph.species),
                torch.from_numpy(graph.edges),
                torch.from_numpy(graph.vectors.astype(np.float32)),
            )
        return _Found(
            self._heard["readout"].numpy(),
            self._heard["messages"][:, : self._width].numpy(),
            energies.numpy(),
        )

    def _hear_readout(self, _: object, inputs: Any) -> None:
        self._heard["readout"] = inputs[0]

    def _hear_messages(self, _: object, __: object, output: Any) -> None:
        self._heard["messages"] = output


def _batches(student: Student, dataset: Dataset) -> Iterator[Graph]:
    graphs = (build_graph(atoms, student.elements, student.cutoff_A) for atoms in dataset)
    return in_batches(graphs, _MAX_EDGES)
