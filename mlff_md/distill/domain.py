"""The extrapolation domain of a student, measured on its training set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from mlff_md.distill.dataset import Dataset
from mlff_md.errors import DataError
from mlff_md.graph import Graph, build_graph
from mlff_md.progress import Progress, silent
from mlff_md.student import Student
from mlff_md.student.domain import Domain

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
    """Return shortest distances, neighbor counts and feature ranges over a data set.

    Arguments and errors are those of :func:`with_domain`.
    """
    import torch

    from mlff_md.student.network import EdgeList

    if not len(dataset):
        raise DataError("the domain of an empty data set is empty")
    count, width = len(student.elements), student.manifest.architecture.hidden_dim
    shortest = np.full((count, count), np.inf)
    neighbors, atoms = np.zeros(count, np.int64), np.zeros(count, np.int64)
    low, high = np.full((count, width), np.inf), np.full((count, width), -np.inf)
    network = student.network()
    seen: list[torch.Tensor] = []
    hook = network.readout_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    told = progress or silent
    told.begin("domain", len(dataset))
    done = 0
    try:
        for graph in _batches(student, dataset):
            center, neighbor = (graph.species[row] for row in graph.edges)
            distances = np.linalg.norm(graph.vectors, axis=1)
            np.minimum.at(shortest, (center, neighbor), distances)
            atoms += np.bincount(graph.species, minlength=count)
            near = np.bincount(graph.edges[0], minlength=graph.n_atoms)
            np.maximum.at(neighbors, graph.species, near)
            with torch.no_grad():
                # The radial functions themselves: the last digits are rounded away below.
                network.reduced_energies(
                    torch.from_numpy(graph.species),
                    torch.from_numpy(graph.vectors.astype(np.float32)),
                    EdgeList(torch.from_numpy(graph.edges), graph.n_atoms),
                    analytic=True,
                )
            features = seen.pop().numpy().astype(np.float64)
            for species in np.unique(graph.species):
                chosen = features[graph.species == species]
                low[species] = np.minimum(low[species], chosen.min(axis=0))
                high[species] = np.maximum(high[species], chosen.max(axis=0))
            done += graph.n_structures
            told.update(done)
    finally:
        hook.remove()
        told.end()
    return Domain(shortest, neighbors, low, high, atoms, len(dataset), dataset.sha256)


def _batches(student: Student, dataset: Dataset) -> Iterator[Graph]:
    waiting: list[Graph] = []
    edges = 0
    for atoms in dataset:
        graph = build_graph(atoms, student.elements, student.cutoff_A)
        if waiting and edges + graph.n_edges > _MAX_EDGES:
            yield Graph.batch(waiting)
            waiting, edges = [], 0
        waiting.append(graph)
        edges += graph.n_edges
    yield Graph.batch(waiting)
