"""Errors of a student on a labelled data set: as a whole, by temperature and by element."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mlff_md.distill.dataset import Dataset
from mlff_md.engines import Engine, evaluate_structures
from mlff_md.force_errors import ForceErrors, force_errors, frames_hash
from mlff_md.structures import chemical_symbol


def measure(engine: Engine, dataset: Dataset) -> ForceErrors:
    """Return the errors of a student, run by an engine, on a data set."""
    return _measure(engine, dataset)["all"]


def measure_parts(engine: Engine, dataset: Dataset) -> dict[str, ForceErrors]:
    """Return the errors as a whole, at each temperature and of each element (``C``).

    Those of an element are over its atoms alone, and have no energy.
    """
    return _measure(engine, dataset, _temperatures(dataset), by_element=True)


def accuracy_record(engine: Engine, dataset: Dataset) -> dict[str, Any]:
    """Return what a student's manifest says of a held-out set: all parts, and which frames."""
    record: dict[str, Any] = {
        name: {key: value for key, value in dataclasses.asdict(errors).items() if value is not None}
        for name, errors in measure_parts(engine, dataset).items()
    }
    if dataset.periodic:
        record["periodic"] = True
    frames = (dataset.numbers, dataset.positions, dataset.forces, dataset.counts)
    return {
        **record,
        "num_molecules": len(np.unique(dataset.molecules)),
        "frames_sha256": frames_hash(*frames),
    }


def _temperatures(dataset: Dataset) -> dict[str, npt.NDArray[np.integer]]:
    return {
        f"{temperature:g} K": np.flatnonzero(dataset.temperature_K == temperature)
        for temperature in np.unique(dataset.temperature_K)
    }


def _measure(
    engine: Engine,
    dataset: Dataset,
    parts: Mapping[str, npt.NDArray[np.integer]] | None = None,
    *,
    by_element: bool = False,
) -> dict[str, ForceErrors]:
    results = evaluate_structures(engine, dataset)
    forces = np.concatenate([result.forces for result in results])
    energies = np.array([result.energy for result in results])
    owner = np.repeat(np.arange(len(dataset)), dataset.counts)
    errors = {}
    for name, frames in {"all": np.arange(len(dataset)), **(parts or {})}.items():
        atoms = np.isin(owner, frames)
        errors[name] = force_errors(
            forces[atoms],
            dataset.forces[atoms],
            dataset.counts[frames],
            energies[frames],
            dataset.energies[frames],
            dataset.molecules[frames],
        )
    if by_element:
        for number in np.unique(dataset.numbers):
            atoms = dataset.numbers == number
            counts = np.unique(owner[atoms], return_counts=True)[1]
            errors[chemical_symbol(int(number))] = force_errors(
                forces[atoms], dataset.forces[atoms], counts
            )
    return errors
