"""What is labelled of a periodic structure: crystals, melts, defects and distortions of them.

A structure is repeated to a supercell; an item is one supercell of its own, with its own strain.

=========== =========================================================================
``crystal`` frames of teacher MD at a temperature
``vacancy`` the same with one atom taken out
``melt``    melted by teacher MD at a high temperature, then teacher MD at a lower one
``rattle``  Gaussian noise on the structure as it was given, no MD
``contact`` the same, with one atom pushed against a neighbor
=========== =========================================================================

Contacts teach the repulsive wall, as the scans do for molecules (:mod:`mlff_md.distill.sampling`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mlff_md.distill.sampling import Sample
from mlff_md.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

Kind = Literal["crystal", "vacancy", "melt", "rattle", "contact"]


@dataclass(frozen=True)
class BulkSettings:
    """How periodic geometries are drawn.

    Attributes
    ----------
    temperatures_K, melt_temperatures_K
        Of the crystal and of the melt.
    melting_K
        Where a melt is made.
    trajectories, frames
        Trajectories at each temperature, and frames kept of each.
    rattles
        Frames of rattles and contacts for each structure.
    atoms
        Least number of atoms of a supercell.
    strain
        Largest relative change of the lengths; shears are a third of it.
    vacancy_fraction
        Of the crystal's trajectories.
    melting_steps, equilibration_steps, steps
        Teacher-MD steps of 1 fs that melt, that come before the first frame, and before each.
    rattle_A
        Standard deviations of the rattles, drawn per frame.
    contact
        Range of the distance that a contact has, relative to the one that it had.
    """

    temperatures_K: tuple[float, ...] = (300.0, 600.0, 1000.0)
    melt_temperatures_K: tuple[float, ...] = ()
    melting_K: float = 5000.0
    trajectories: int = 6
    frames: int = 10
    rattles: int = 60
    atoms: int = 60
    strain: float = 0.03
    vacancy_fraction: float = 0.25
    melting_steps: int = 500
    equilibration_steps: int = 200
    steps: int = 40
    rattle_A: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    contact: tuple[float, float] = (0.65, 0.95)

    def __post_init__(self) -> None:
        if min(self.trajectories, self.frames, self.atoms) < 1 or self.rattles < 0:
            raise ConfigError(
                "trajectories, frames and atoms must be at least 1, rattles zero or more"
            )
        temperatures = (*self.temperatures_K, *self.melt_temperatures_K, self.melting_K)
        if not all(0.0 < value < np.inf for value in temperatures):
            raise ConfigError("temperatures must be positive")
        if not 0.0 <= self.strain <= 0.2 or not 0.0 <= self.vacancy_fraction <= 1.0:
            raise ConfigError("strain must be 0 to 0.2 and vacancies 0 to 1")


@dataclass(frozen=True, eq=False)
class BulkItem:
    """A unit of work: one supercell, sampled with one teacher calculator.

    Attributes
    ----------
    kind
        See the module's table.
    name
        Name that the frames carry.
    numbers, positions, cell, pbc
        The supercell, not yet strained: (N,), (N, 3) Å, (3, 3) Å, (3,).
    temperature_K
        Of the frames, 0 without MD.
    frames
        How many to draw.
    """

    kind: Kind
    name: str
    numbers: NDArray[np.uint8]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    temperature_K: float
    frames: int


def bulk_items(
    structures: Sequence[tuple[str, Atoms]], settings: BulkSettings, *, md_only: bool = False
) -> list[BulkItem]:
    """Return the items of named structures.

    Parameters
    ----------
    structures
        Name and structure of each.
    settings
        How they are drawn.
    md_only
        Leave rattles and contacts out: for held-out sets.

    Raises
    ------
    ConfigError
        If a structure is not periodic.
    """
    items = []
    for name, atoms in structures:
        if not atoms.pbc.any():
            raise ConfigError(f"{name} has no cell; molecules are labelled with --molecules")
        cell = supercell(atoms, settings.atoms)
        items += [
            BulkItem(
                kind=kind,
                name=f"{name} {kind}",
                numbers=cell.numbers.astype(np.uint8),
                positions=cell.positions,
                cell=cell.cell.array,
                pbc=cell.pbc,
                temperature_K=temperature_K,
                frames=frames,
            )
            for kind, temperature_K, frames in _plan(settings, md_only)
        ]
    return items


def _plan(settings: BulkSettings, md_only: bool) -> Iterator[tuple[Kind, float, int]]:
    """Yield kind, temperature and number of frames of each item of a structure."""
    vacancies = round(settings.vacancy_fraction * settings.trajectories)
    for number in range(settings.trajectories):
        solid: Kind = "vacancy" if number < vacancies else "crystal"
        for temperature_K in settings.temperatures_K:
            yield solid, temperature_K, settings.frames
        for temperature_K in settings.melt_temperatures_K:
            yield "melt", temperature_K, settings.frames
    if not md_only:
        contacts = settings.rattles // 3
        for number in range(settings.rattles):
            yield "contact" if number >= settings.rattles - contacts else "rattle", 0.0, 1


def supercell(atoms: Atoms, least: int) -> Atoms:
    """Repeat a structure along its shortest periodic direction until it has enough atoms."""
    repeats = np.ones(3, dtype=int)
    lengths = np.where(atoms.pbc, atoms.cell.lengths(), np.inf)
    while len(atoms) * repeats.prod() < least:
        repeats[np.argmin(lengths * repeats)] += 1
    return atoms.repeat(repeats)


def sample_bulk(
    item: BulkItem, settings: BulkSettings, rng: np.random.Generator
) -> Iterator[Sample]:
    """Yield the geometries of an item, those that only lead to others among them."""
    numbers, positions, cell = item.numbers, item.positions, item.cell
    if item.kind == "vacancy":
        gone = int(rng.integers(len(numbers)))
        numbers, positions = np.delete(numbers, gone), np.delete(positions, gone, axis=0)
    deformation = np.eye(3) + random_strain(settings.strain, item.pbc, rng)
    positions, cell = positions @ deformation, cell @ deformation

    def sample(md_steps: int = 0, temperature_K: float = 0.0, keep: bool = True) -> Sample:
        return Sample(numbers, positions, item.kind, temperature_K, cell, item.pbc, md_steps, keep)

    if item.kind in ("rattle", "contact"):
        amplitude = float(rng.choice(settings.rattle_A))
        positions = positions + rng.normal(0.0, amplitude, positions.shape)
        if item.kind == "contact":
            positions = _push(positions, cell, item.pbc, rng.uniform(*settings.contact), rng)
        yield sample()
        return
    if item.kind == "melt":
        yield sample(settings.melting_steps, settings.melting_K, keep=False)
    yield sample(settings.equilibration_steps, item.temperature_K, keep=False)
    for _ in range(item.frames):
        yield sample(settings.steps, item.temperature_K)


def random_strain(
    largest: float, pbc: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a symmetric (3, 3) strain: uniform dilation within ``largest``, and a random rest.

    Open directions are left alone.
    """
    noise = rng.normal(0.0, largest / 3.0, (3, 3))
    dilation = rng.uniform(-largest, largest) * np.eye(3)
    strain: NDArray[np.float64] = 0.5 * (noise + noise.T) + dilation
    return strain * np.outer(pbc, pbc)


def _push(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    factor: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Move a random atom along the line to its nearest neighbor until the distance is scaled."""
    from ase.geometry import get_distances

    moved = int(rng.integers(len(positions)))
    vectors, distances = get_distances(positions[moved], positions, cell=cell, pbc=pbc)
    distances[0, moved] = np.inf
    pushed = positions.copy()
    pushed[moved] += (1.0 - factor) * vectors[0, int(distances[0].argmin())]
    return pushed
