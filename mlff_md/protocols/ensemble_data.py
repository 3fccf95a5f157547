"""Raw data of the ensemble protocol in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import DataError
from mlff_md.protocols.raw import ENSEMBLE_FILE, read_arrays, read_record

KIND = "ensemble"


@dataclass(frozen=True)
class Samples:
    """Samples of one temperature: n of them, e elements.

    Attributes
    ----------
    temperature_K
        Of the bath.
    potential_eV
        (n,).
    kinetic_eV
        (n, e), summed over the atoms of each element.
    """

    temperature_K: float
    potential_eV: NDArray[np.float64]
    kinetic_eV: NDArray[np.float64]


@dataclass(frozen=True)
class EnsembleData:
    """What :func:`mlff_md.protocols.ensemble.run` left.

    Attributes
    ----------
    record
        ``run.json``.
    runs
        Those that reached their end, the colder first.
    symbols, counts
        Of the elements, and their atoms.
    """

    record: Mapping[str, Any]
    runs: tuple[Samples, ...]
    symbols: tuple[str, ...]
    counts: tuple[int, ...]


def load(raw: Path) -> EnsembleData:
    """Read the raw folder.

    Raises
    ------
    DataError
        If it is missing, cut off or damaged.
    """
    record = read_record(raw / "run.json", KIND)
    try:
        name = record.get("file")
        if name is None:
            raise DataError(f"{raw} holds a run that was cut off; run it again with --force")
        arrays = read_arrays(raw / ENSEMBLE_FILE)
        elements = {str(symbol): int(count) for symbol, count in record["elements"].items()}
        runs = []
        for k, entry in enumerate(record["runs"]):
            if entry["error"] is None:
                potential, kinetic = arrays[f"potential_eV.{k}"], arrays[f"kinetic_eV.{k}"]
                if kinetic.shape != (len(potential), len(elements)):
                    raise DataError(f"{raw / ENSEMBLE_FILE} is damaged")
                runs.append(Samples(float(entry["temperature_K"]), potential, kinetic))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{raw} is damaged: {error!r}") from error
    return EnsembleData(record, tuple(runs), tuple(elements), tuple(elements.values()))
