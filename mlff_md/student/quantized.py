"""Quantised student files: a fourth of the size, the same network. No torch.

Matrices are stored as int8 with a float16 scale for each row, ``NAME`` and ``NAME.scale``; vectors,
and the few matrices that would lose too much, as float16. When a file is loaded, float32 weights
are made of them, ``scale * int8``, and from then on they are weights like any other: every engine
runs them, and forces are the exact gradient of the energy.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mlff_md.errors import StudentFileError
from mlff_md.student.domain import without_features
from mlff_md.student.manifest import Manifest

KEY, SCHEME = "mlff_md_quantization", "int8-rows-1"
"""Key in the header of a quantised file, and what it says."""

SCALE = ".scale"
LARGEST = 127

Packed = Mapping[str, np.ndarray]


def kept_in_float16(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a weight is not worth quantising.

    Vectors, and matrices that are small and in the way of everything: rounding ``tiny``'s first
    filter, embedding and last layer alone to int8 changes its forces by 0.7 to 1 % each, and they
    hold 3 % of its weights.
    """
    first = ("embedding.weight", "readout_out.weight", "layers.0.filter.weight")
    return len(shape) < 2 or name in first


def packed_file(manifest: Manifest, packed: Packed, manifest_key: str) -> bytes:
    """Return the content of a quantised file."""
    import safetensors.numpy

    metadata = {manifest_key: without_features(manifest).to_json(), KEY: SCHEME}
    arrays = {name: np.ascontiguousarray(array) for name, array in packed.items()}
    return safetensors.numpy.save(arrays, metadata=metadata)


def check_scheme(scheme: str, origin: str) -> None:
    """Refuse a file that is quantised in another way.

    Raises
    ------
    StudentFileError
        Naming both.
    """
    if scheme != SCHEME:
        raise StudentFileError(
            f"{origin} is quantised as {scheme!r}, this version knows {SCHEME!r}: upgrade mlff-md"
        )


def unpacked(
    packed: Packed, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return float32 weights; a tensor that does not belong there keeps its own name."""
    weights = {}
    for name, array in packed.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in shapes:
            continue
        scale = packed.get(name + SCALE, np.empty(0))
        if array.dtype == np.float16:
            weights[name] = array.astype(np.float32)
        elif (
            (array.dtype, scale.dtype) == (np.int8, np.float16)
            and scale.shape == (array.shape[:1])
            and np.isfinite(scale).all()
        ):
            weights[name] = array.astype(np.float32) * scale.astype(np.float32)[:, None]
        else:
            weights[name] = np.full(array.shape, np.nan, np.float32)  # refused by the caller
    return weights


def row_scales(weight: npt.NDArray[np.floating]) -> npt.NDArray[np.float16]:
    """Return the scale of each row that its largest element just fits."""
    largest = np.abs(weight).max(axis=1) / LARGEST
    scale = largest.astype(np.float16)
    # Rounded up: rounded down, the largest element would no longer fit.
    low = scale.astype(np.float64) < largest
    scale[low] = np.nextafter(scale[low], np.float16(np.inf))
    return np.maximum(scale, np.finfo(np.float16).smallest_subnormal)
