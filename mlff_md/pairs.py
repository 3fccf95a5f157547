"""Finding pairs: a half list from vesin, brought into one fixed order.

:mod:`mlff_md.neighbors` keeps what is found here alive along a trajectory.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
import threading
import types
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import MissingDependencyError

_MOST_CELLS = 1e5
"""Cells of the size of the radius above which vesin coarsens its grid, which may divide by zero."""

_FEW_ATOMS = 100
"""Molecules up to this size are searched pair by pair, which is faster than any preparation."""

_IMPORT_LOCK = threading.Lock()
_PRIVATE_NAME = "_mlff_md_vesin"


def complete_cell(cell: NDArray[np.float64], periodic: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Replace the cell vectors of open directions by unit vectors normal to all others.

    Parameters
    ----------
    cell
        ``[3, 3]``, rows are the cell vectors, Å; linearly independent where periodic.
    periodic
        ``[3]``.

    Returns
    -------
    ndarray
        ``[3, 3]``; the identity where nothing is periodic.
    """
    complete = np.eye(3)
    if periodic.all():
        return cell.copy()
    if periodic.any():
        # The last rows of V^T span what is normal to the periodic vectors.
        _, _, basis = np.linalg.svd(cell[periodic])
        complete[periodic] = cell[periodic]
        complete[~periodic] = basis[int(periodic.sum()) :]
    return complete


def sort_pairs(
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    images: NDArray[np.int64],
    n_atoms: int,
) -> tuple[
    tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]],
    NDArray[np.intp],
    NDArray[np.intp],
]:
    """Order the pairs of a half list, whatever order and direction they came in.

    Returns
    -------
    forward
        Center, neighbor and image of each pair in its forward direction (i < j; for images of
        the same atom, the image first in lexical order is backward), sorted.
    order
        ``[2 M]``, where each edge of the sorted full list stands in the list of all forward
        edges followed by all backward edges.
    edges
        ``[2, 2 M]``, the sorted full list.
    """
    n_pairs = len(first)
    centers = np.concatenate([first, second])
    neighbors = np.concatenate([second, first])
    both = np.concatenate([images, -images])
    reach = np.abs(both).max(axis=0, initial=0)
    width = 2 * reach + 1
    if n_atoms**2 * float(width.prod(dtype=np.float64)) < 2.0**62:
        code = ((both[:, 0] + reach[0]) * width[1] + both[:, 1] + reach[1]) * width[2] + both[:, 2]
        pair = centers.astype(np.int64) * n_atoms + neighbors
        order = np.argsort(pair * width.prod() + code + reach[2])
    else:
        order = np.lexsort((both[:, 2], both[:, 1], both[:, 0], neighbors, centers))
    centers, neighbors, sorted_images = centers[order], neighbors[order], both[order]

    x, y, z = sorted_images.T
    positive = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    is_forward = (centers < neighbors) | ((centers == neighbors) & positive)
    rank = np.cumsum(is_forward) - 1
    place = np.empty(2 * n_pairs, dtype=np.intp)
    place[order] = np.arange(2 * n_pairs)
    partner = place[(order + n_pairs) % (2 * n_pairs)] if n_pairs else order
    source = np.where(is_forward, rank, n_pairs + rank[partner])
    forward = (
        centers[is_forward],
        neighbors[is_forward],
        sorted_images[is_forward],
    )
    return forward, source, np.stack([centers, neighbors])


def half_pairs(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    periodic: NDArray[np.bool_],
    radius: float,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]]:
    """Return i, j and image of every pair closer than ``radius`` (and some more), each once.

    Parameters
    ----------
    positions
        ``[N, 3]``, finite, wrapped or not.
    cell, periodic
        A complete cell, see :func:`complete_cell`, and which of its directions are periodic.
    radius
        Å.

    Returns
    -------
    first, second, images
        ``[M]``, ``[M]`` and ``int64 [M, 3]``: ``r_second - r_first + images @ cell`` is the
        vector of the pair. Order and direction of the pairs are vesin's.
    """
    if len(positions) <= _FEW_ATOMS and not periodic.any():
        first, second = _all_pairs(len(positions))
        vectors = positions[second] - positions[first]
        close = np.flatnonzero(np.einsum("ij,ij->i", vectors, vectors) < radius * radius)
        return first[close], second[close], np.zeros((len(close), 3), dtype=np.int64)
    # vesin 0.6 takes seconds for slabs and wires, and for atoms many cells away from each other,
    # and divides by zero if they are very far. So it is given a periodic box each time, with
    # wrapped atoms and in open directions room enough for no image to come within the radius,
    # and looks further than asked for in a nearly empty box, lest its cells be too many to count.
    cells = np.floor(positions @ np.linalg.inv(cell)).astype(np.int64) * periodic
    positions, extent = positions - cells @ cell, np.zeros(3)
    for row in np.flatnonzero(~periodic):
        positions = _close_gaps(positions, cell[row], radius)
        extent[row] = np.ptp(positions @ cell[row])
    box, search = _roomy_box(cell, periodic, extent, radius), radius
    while _grid_size(box, search) > max(_MOST_CELLS, len(positions)):
        search *= 1.3
        box = _roomy_box(cell, periodic, extent, search)
    first, second, images = _vesin_list(search).compute(
        positions, box, True, quantities="ijS", copy=True
    )
    first, second = first.astype(np.intp), second.astype(np.intp)
    return first, second, images + cells[first] - cells[second]


@lru_cache(maxsize=16)
def _all_pairs(n_atoms: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(n_atoms, k=1)


def _roomy_box(
    cell: NDArray[np.float64],
    periodic: NDArray[np.bool_],
    extent: NDArray[np.float64],
    radius: float,
) -> NDArray[np.float64]:
    """Return the cell, in open directions long enough for the atoms and more than the radius."""
    return cell * np.where(periodic, 1.0, extent + 1.01 * radius)[:, None]


def _grid_size(box: NDArray[np.float64], radius: float) -> float:
    """Return the number of cells of the size of the radius that fit into the box."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)
    return float(np.maximum(heights / radius, 1.0).prod())


def _close_gaps(
    positions: NDArray[np.float64], axis: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """Move all atoms to start at zero along an open direction, and shorten the empty stretches.

    That changes no pair: a gap that is shortened stays wider than ``radius``.
    """
    along = positions @ axis
    order = np.argsort(along)
    excess = np.maximum(np.diff(along[order], prepend=along[order[0]]) - 2.0 * radius, 0.0)
    shift = np.empty(len(along))
    shift[order] = along[order[0]] + np.cumsum(excess)
    return positions - shift[:, None] * axis


def _vesin_list(radius: float) -> Any:
    vesin = _import_vesin()
    try:
        # Left alone, vesin starts a thread for every core of the machine.
        return vesin.NeighborList(cutoff=radius, full_list=False, n_threads=1)
    except TypeError:  # vesin before 0.6 has no threads
        return vesin.NeighborList(cutoff=radius, full_list=False)


@lru_cache(maxsize=1)
def _import_vesin() -> Any:
    """Import the module of vesin that has its ``NeighborList``, without torch.

    vesin imports torch and cupy where they are installed, only to accept their tensors: two
    seconds and 200 MB that a run on the native engine has no use for. The copy of vesin made
    here knows of neither. It has a name of its own, and its ``import torch`` fails for it alone:
    no other module, and no other thread, sees anything changed.
    """
    with _IMPORT_LOCK:
        try:
            return _private_vesin()
        except ImportError as error:
            raise MissingDependencyError(
                f"vesin cannot be imported ({error}); run: pip install vesin"
            ) from error


def _private_vesin() -> Any:
    found = importlib.util.find_spec("vesin")
    if found is None:
        raise ImportError("it is not installed")
    package = types.ModuleType(_PRIVATE_NAME)
    package.__path__ = list(found.submodule_search_locations or [])
    sys.modules[_PRIVATE_NAME] = package
    spec = importlib.util.find_spec(f"{_PRIVATE_NAME}._neighbors")
    if spec is None or spec.loader is None:
        # Laid out unlike 0.5 and 0.6: all of it then, with torch.
        return importlib.import_module("vesin")
    module = importlib.util.module_from_spec(spec)
    # An import statement asks the builtins of its own module.
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import_no_tensors}
    spec.loader.exec_module(module)
    return module


def _import_no_tensors(name: str, *arguments: Any, **options: Any) -> Any:
    if name in ("torch", "cupy"):
        raise ImportError(f"{name} is not needed here")
    return builtins.__import__(name, *arguments, **options)
