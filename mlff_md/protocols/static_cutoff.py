"""Static probe of the cutoff: steps of energy and forces along paths on which pairs part.

A step is told from a steep place by magnification: where a scan is least smooth, the interval is
scanned again, eight times finer, five times over. A smooth curve has no fourth difference left
then but rounding; a step keeps its size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md.errors import MlffError
from mlff_md.pairs import complete_cell, half_pairs
from mlff_md.protocols.static_evaluate import Array, Evaluation, Evaluator, rms

if TYPE_CHECKING:
    from ase import Atoms

_ZOOM_FACTOR = 8
_ZOOM_LEVELS = 5
_MARGIN = 2
_COPY_LIMIT = 200
_CONTACT_A = 2.5
_REACH_A = 9.0
_DILATION = (0.97, 1.06)
_DISORDER = 0.1  # displacements of the atoms of a crystal, in units of its shortest distance

Path = Callable[[float], "Atoms"]


@dataclass(frozen=True)
class _Zoom:
    """What is left of a place that was magnified: the steps there, and the rms force."""

    where: float
    energy_step_eV: float
    force_step_eV_per_A: float
    force_rms_eV_per_A: float


def cutoff(evaluate: Evaluator, atoms: Atoms, *, points: int, candidates: int) -> dict[str, Any]:
    """Scan one or two paths and magnify their most suspicious places.

    Parameters
    ----------
    evaluate, atoms
        What is evaluated. All structures are stretched. Of a molecule up to 200 atoms a second
        copy is also drawn away from the first; where there is a cell, atoms are moved at random
        as well, since a stretch need not bring any shell of a crystal across the cutoff.
    points
        Points of each scan.
    candidates
        Places that are magnified, for energy and for forces each.

    Returns
    -------
    dict
        ``paths`` their names, ``failed`` name -> reason; for each ``<name>_x`` and
        ``<name>_energy_eV``; and the steps found: ``step_path``, ``step_at``,
        ``energy_step_eV``, ``force_step_eV_per_A``, and there ``force_rms_eV_per_A``.
    """
    found: dict[str, Any] = {"paths": [], "failed": {}}
    steps: list[tuple[str, _Zoom]] = []
    for name, path, low, high in _paths(atoms):
        try:
            x, energies, zooms = _scan(evaluate, path, low, high, points, candidates)
        except MlffError as error:
            found["failed"][name] = str(error)
            continue
        found["paths"].append(name)
        found |= {f"{name}_x": x, f"{name}_energy_eV": energies}
        steps += [(name, zoom) for zoom in zooms]
    found["step_path"] = [name for name, _ in steps]
    found["step_at"] = np.array([zoom.where for _, zoom in steps])
    found["energy_step_eV"] = np.array([zoom.energy_step_eV for _, zoom in steps])
    found["force_step_eV_per_A"] = np.array([zoom.force_step_eV_per_A for _, zoom in steps])
    found["force_rms_eV_per_A"] = np.array([zoom.force_rms_eV_per_A for _, zoom in steps])
    return found


def _paths(atoms: Atoms) -> list[tuple[str, Path, float, float]]:
    """Return name, structure as a function of the path's parameter, and its range."""
    center = np.zeros(3) if atoms.pbc.any() else atoms.positions.mean(axis=0)

    def stretched(factor: float) -> Atoms:
        moved = atoms.copy()
        moved.positions = center + factor * (atoms.positions - center)
        moved.set_cell(factor * atoms.cell.array, scale_atoms=False)
        return moved

    paths: list[tuple[str, Path, float, float]] = [("stretch", stretched, *_DILATION)]
    if atoms.pbc.any():
        moves = np.random.default_rng(0).normal(size=(len(atoms), 3))
        moves *= _DISORDER * _shortest_A(atoms)

        def disordered(share: float) -> Atoms:
            moved = atoms.copy()
            moved.positions += share * moves
            return moved

        return [*paths, ("disorder", disordered, -1.0, 1.0)]
    if len(atoms) > _COPY_LIMIT:
        return paths
    axis = _thinnest_axis(atoms.positions)

    def parted(gap_A: float) -> Atoms:
        # About the origin, where float32 positions have their most digits.
        one, other = atoms.copy(), atoms.copy()
        one.positions -= center + 0.5 * gap_A * axis
        other.positions -= center - 0.5 * gap_A * axis
        both = one + other
        both.info = dict(atoms.info)
        return both

    contact = _contact(atoms.positions, axis)
    return [*paths, ("copy", parted, contact, contact + _REACH_A)]


def _shortest_A(atoms: Atoms) -> float:
    """Return the distance of the nearest atoms, or images, of a periodic structure, Å."""
    cell = complete_cell(atoms.cell.array, atoms.pbc)
    radius_A = _CONTACT_A
    while True:
        first, second, images = half_pairs(atoms.positions, cell, atoms.pbc, radius_A)
        if len(first) or radius_A > _REACH_A:
            vectors = atoms.positions[second] - atoms.positions[first] + images @ cell
            return float(np.linalg.norm(vectors, axis=1).min(initial=radius_A))
        radius_A *= 1.5


def _thinnest_axis(positions: Array) -> Array:
    """Return the direction in which the structure is thinnest, a little turned off it."""
    centered = positions - positions.mean(axis=0)
    axis = np.linalg.eigh(centered.T @ centered)[1][:, 0] + np.array([0.05, 0.03, 0.02])
    return axis / np.linalg.norm(axis)


def _contact(positions: Array, axis: Array) -> float:
    """Return how far a copy must be moved along the axis for its atoms to touch no other."""
    gap = 0.0
    while np.min(_distances(positions, positions + gap * axis)) < _CONTACT_A:
        gap += 0.1
    return gap


def _distances(first: Array, second: Array) -> Array:
    return np.linalg.norm(first[:, None] - second[None], axis=2)


def _scan(
    evaluate: Evaluator, path: Path, low: float, high: float, points: int, candidates: int
) -> tuple[Array, Array, list[_Zoom]]:
    x = np.linspace(low, high, points)
    results = [evaluate(path(at)) for at in x]
    energies, forces = _values(results)
    zooms = [
        # One interval more on each side: where steps are dense, the oddest need not hold one.
        _magnify(evaluate, path, x[place + _MARGIN - 1], x[place + _MARGIN + 2], by_force)
        for by_force, values in ((False, energies), (True, forces))
        for place in _most_sudden(values, candidates)
    ]
    return x, energies[:, 0], zooms


def _magnify(evaluate: Evaluator, path: Path, low: float, high: float, by_force: bool) -> _Zoom:
    energy_step = force_step = size = 0.0
    for level in range(_ZOOM_LEVELS):
        parts = _ZOOM_FACTOR if level else 3 * _ZOOM_FACTOR
        width = (high - low) / parts
        x = low + width * np.arange(-_MARGIN, parts + _MARGIN + 1)
        energies, forces = _values([evaluate(path(at)) for at in x])
        odd_energy, odd_force = _oddness(energies), _oddness(forces)
        place = int(np.argmax(odd_force if by_force else odd_energy))
        energy_step, force_step = float(odd_energy[place]), float(odd_force[place])
        size = rms(forces[place + _MARGIN])
        low, high = float(x[place + _MARGIN]), float(x[place + _MARGIN + 1])
    return _Zoom(low, energy_step, force_step, size)


def _values(results: list[Evaluation]) -> tuple[Array, Array]:
    """Return energies (n, 1) and forces (n, 3N)."""
    energies = np.array([[result.energy_eV] for result in results])
    return energies, np.array([result.forces_eV_per_A.ravel() for result in results])


def _oddness(values: Array) -> Array:
    """Return how odd each interval is, but two at each end; the largest of the columns.

    The increment over the interval less what the two on either side would have it be, by the
    polynomial through them: near zero on a smooth curve, the step itself where there is one.
    """
    increments = np.diff(values, axis=0)
    near = increments[1:-3] + increments[3:-1]
    far = increments[:-4] + increments[4:]
    return np.abs(increments[2:-2] - (4.0 * near - far) / 6.0).max(axis=1)


def _most_sudden(values: Array, count: int) -> list[int]:
    """Return the intervals most like a step, no two close together.

    Steep walls are odd as well, but their curvature is far larger than their oddness; at a step
    the two are alike. So oddness is weighed with the square of its share in the curvature.
    """
    odd = _oddness(values)
    curvature = np.abs(np.diff(values, n=2, axis=0)).max(axis=1)
    beside = np.maximum(curvature[1:-2], curvature[2:-1])
    share = odd / np.maximum(np.maximum(beside, odd), np.finfo(float).tiny)
    found: list[int] = []
    for place in np.argsort(odd * share**2)[::-1]:
        if all(abs(int(place) - other) > _MARGIN for other in found):
            found.append(int(place))
        if len(found) == count:
            break
    return found
