"""The data sets of a configuration: all read and checked before anything costly begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_md.distill.config import DataConfig
from mlff_md.distill.dataset import Dataset
from mlff_md.errors import DataError
from mlff_md.structures import chemical_symbol


@dataclass(frozen=True)
class DataSets:
    """The frames to train on, to watch, and to measure once at the end; ``None`` for no test."""

    train: Dataset
    validation: Dataset
    test: Dataset | None


def load_data_sets(config: DataConfig, elements: Sequence[str], remedy: str) -> DataSets:
    """Read all data sets and check that a student can learn them.

    Parameters
    ----------
    config
        Where they are.
    elements
        Chemical symbols that the student knows.
    remedy
        What to do where a data set holds others; ends the message.

    Raises
    ------
    DataError
        If one is missing, damaged or empty, or holds an element that the student does not know;
        the message names the key of ``[data]`` and the path.
    """
    train, validation, test = (
        [_load(key, path, elements, remedy) for path in paths]
        for key, paths in (
            ("train", config.train),
            ("validation", config.validation),
            ("test", config.test),
        )
    )
    for key, parts in (("train", train), ("validation", validation)):
        if not parts:
            raise DataError(f"[data] {key} names no data set; 'mlff-md label' makes one")
    return DataSets(
        Dataset.concatenate(train),
        Dataset.concatenate(validation),
        Dataset.concatenate(test) if test else None,
    )


def largest_force(dataset: Dataset) -> NDArray[np.float64]:
    """Return the largest force on any atom of each frame, (F,), eV/Å."""
    norms: NDArray[np.float64] = np.linalg.norm(dataset.forces, axis=1)
    return np.maximum.reduceat(norms, dataset.offsets[:-1]) if len(dataset) else norms


def unknown_elements(numbers: NDArray[np.integer], elements: Sequence[str]) -> list[str]:
    """Return the chemical symbols of atomic numbers, (A,), that are none of ``elements``."""
    symbols = [chemical_symbol(int(number)) for number in np.unique(numbers)]
    return [symbol for symbol in symbols if symbol not in elements]


def _load(key: str, path: str, elements: Sequence[str], remedy: str) -> Dataset:
    try:
        dataset = Dataset.load(path)
    except DataError as error:
        raise DataError(f"[data] {key}: {error}") from error
    unknown = unknown_elements(dataset.numbers, elements)
    if unknown:
        raise DataError(
            f"[data] {key}: {path} holds {', '.join(unknown)}, and the student knows only "
            f"{' '.join(elements)}; {remedy}"
        )
    return dataset
