"""The file format of data sets: a compressed ``.npz`` that holds nothing but arrays."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import DataError
from mlff_md.files import write_atomically

FORMAT = "mlff-md-frames-1"
"""Tag inside every ``.npz``; a file without it is foreign."""


def write_npz(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays atomically to a compressed ``.npz`` whose bytes depend on them alone."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, format=np.array(FORMAT), **arrays)
    write_atomically(path, stream.getvalue())


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read a file of :func:`write_npz`.

    Raises
    ------
    DataError
        If it is damaged or foreign.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except Exception as error:  # zipfile, zlib, numpy and the OS each have their own errors
        raise DataError(f"{path} is damaged or not an .npz file: {error}") from error
    tag = str(arrays.pop("format", ""))
    if tag != FORMAT:
        raise DataError(f"{path} is not a data set of this package (format tag {tag!r})")
    return arrays
