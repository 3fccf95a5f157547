"""What is labelled: the geometries of one work item (a molecule, a dimer or a pair scan).

An item yields frames of these kinds:

========== =========================================================================
``md``     decorrelated frame of force-field Langevin MD, each at its own temperature
``tmd``    decorrelated frame of short teacher MD that starts from such a frame
``rattle`` the force field's minimum plus Gaussian noise
``bond``   an MD frame with one bond scaled, all that hangs on it moved along
``angle``  an MD frame with one angle scaled
``contact`` an MD frame folded onto itself, or with a small molecule pushed against it
``dimer``  two small molecules, half of them hydrogen-bonded
``scan``   two hydrides XHn, YHm at X-Y distances from the wall to 5 Å
``pair``   two bare atoms, wall and bond region only
========== =========================================================================

Molecules that no force field knows (SF6, PF5, ...) get ``tmd`` frames only, from their embedded
geometry. Contacts, scans and pairs teach the repulsive wall: without them a student may have holes
at short range into which a trajectory falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlff_md.distill import distortions
from mlff_md.distill.forcefield import Conformer, Positions, embed, langevin_frames
from mlff_md.distill.molecules import Molecule, require_rdkit
from mlff_md.errors import ConfigError
from mlff_md.student import ORGANIC_ELEMENTS

HYDRIDES: dict[str, str] = {
    **{"H": "[H][H]", "C": "C", "N": "N", "O": "O"},
    **{"F": "F", "P": "P", "S": "S", "Cl": "Cl"},
}
"""SMILES of the closed-shell hydride of each element."""

PROBES: tuple[str, ...] = (
    *("[H][H]", "C", "N", "O", "F", "P", "S", "Cl", "C#N", "CO", "CF", "CCl", "C=O", "C#C"),
    *("CS", "FP(F)F", "ClCl", "N#N", "O=C=O", "O=S=O", "C=C", "CN", "CP", "FF", "ClF"),
)
"""SMILES of the small molecules that are pushed against others."""


@dataclass(frozen=True)
class SamplingSettings:
    """How geometries are drawn.

    Attributes
    ----------
    temperatures_K
        Bath temperatures of the force-field and teacher MD, drawn per frame.
    kind_weights
        Relative frequency of (md, tmd, rattle, bond, angle, contact) among a molecule's frames.
    rattle_A
        Standard deviations of the rattles, drawn per frame.
    scale_range
        Least and largest factor of scaled bonds and angles (triangular about 1).
    contact_A, dimer_A, hydrogen_bond_A
        Ranges of the shortest distance in contacts and dimers.
    teacher_md_steps
        Teacher-MD steps of 1 fs before each kept frame.
    scan_A
        Least and largest distance of hydride scans. Larger elements start at 0.6 times the sum of
        the covalent radii, inside of which no frame is under the force cap; bare pairs end at
        2.5 Å, beyond which an open shell is no model of anything a student meets.
    scan_points
        Distances of one scan.
    """

    temperatures_K: tuple[float, ...] = (300.0, 500.0, 800.0, 1200.0)
    kind_weights: tuple[float, ...] = (0.57, 0.11, 0.11, 0.08, 0.05, 0.08)
    rattle_A: tuple[float, ...] = (0.02, 0.05, 0.08, 0.12)
    scale_range: tuple[float, float] = (0.75, 1.6)
    contact_A: tuple[float, float] = (1.0, 2.0)
    dimer_A: tuple[float, float] = (1.7, 3.5)
    hydrogen_bond_A: tuple[float, float] = (1.5, 2.5)
    teacher_md_steps: int = 8
    scan_A: tuple[float, float] = (0.45, 5.0)
    scan_points: int = 16

    def __post_init__(self) -> None:
        if len(self.kind_weights) != len(MOLECULE_KINDS):
            raise ConfigError(f"kind_weights needs one weight for each of {MOLECULE_KINDS}")


MOLECULE_KINDS = ("md", "tmd", "rattle", "bond", "angle", "contact")


@dataclass(frozen=True)
class Item:
    """A unit of work: what is sampled with one teacher calculator.

    Attributes
    ----------
    kind
        ``molecule``, ``dimer``, ``scan`` (hydrides) or ``pair`` (bare atoms).
    name
        Name that the frames carry.
    molecules
        One molecule, or the two partners. For ``pair`` their SMILES are element symbols.
    frames
        How many frames to draw.
    """

    kind: Literal["molecule", "dimer", "scan", "pair"]
    name: str
    molecules: tuple[Molecule, ...]
    frames: int


@dataclass(frozen=True)
class Sample:
    """A geometry to label.

    Attributes
    ----------
    numbers, positions
        (N,) atomic numbers and (N, 3) positions, Å.
    kind
        See the module's table.
    temperature_K
        Bath temperature, 0 where none applies.
    cell, pbc
        (3, 3) Å and (3,), or both ``None`` for molecules.
    md_steps
        Teacher-MD steps before the frame is labelled. Those of an item make one trajectory: only
        the first starts at ``positions``, the others where the one before ended.
    keep
        Whether the frame is labelled, or only leads to the next.
    """

    numbers: NDArray[np.uint8]
    positions: Positions
    kind: str
    temperature_K: float
    cell: NDArray[np.float64] | None = None
    pbc: NDArray[np.bool_] | None = None
    md_steps: int = 0
    keep: bool = True


def scan_items(settings: SamplingSettings, orientations: int = 3) -> list[Item]:
    """Return the scans of all 36 element pairs: hydrides in several orientations, and bare."""
    items = []
    for x, y in combinations_with_replacement(ORGANIC_ELEMENTS, 2):
        hydrides = (Molecule(x, HYDRIDES[x]), Molecule(y, HYDRIDES[y]))
        items += [Item("scan", f"scan:{x}-{y}", hydrides, settings.scan_points)] * orientations
        bare = (Molecule(x, x), Molecule(y, y))
        items.append(Item("pair", f"pair:{x}-{y}", bare, settings.scan_points))
    return items


def dimer_items(
    molecules: Sequence[Molecule], count: int, frames: int, rng: np.random.Generator
) -> list[Item]:
    """Return ``count`` random pairs of molecules of at most 14 atoms, 26 together."""
    chem = require_rdkit()
    small: list[tuple[Molecule, int]] = []
    for molecule in molecules:
        mol = chem.MolFromSmiles(molecule.smiles)
        if mol is not None and (atoms := chem.AddHs(mol).GetNumAtoms()) <= 14:
            small.append((molecule, atoms))
    items: list[Item] = []
    for _ in range(20 * count if small else 0):
        if len(items) == count:
            break
        (a, size_a), (b, size_b) = (small[int(i)] for i in rng.integers(len(small), size=2))
        if size_a + size_b <= 26:
            items.append(Item("dimer", f"{a.name}+{b.name}", (a, b), frames))
    return items


def sample(item: Item, settings: SamplingSettings, rng: np.random.Generator) -> Iterator[Sample]:
    """Yield the geometries of an item; what is drawn depends on the arguments alone.

    Raises
    ------
    DataError
        If a molecule cannot be embedded.
    """
    if item.kind == "molecule":
        yield from _sample_molecule(item, settings, rng)
    elif item.kind == "dimer":
        yield from _sample_dimer(item, settings, rng)
    else:
        yield from _sample_scan(item, settings, rng)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 2**31 - 1))


def _sample_molecule(
    item: Item, settings: SamplingSettings, rng: np.random.Generator
) -> Iterator[Sample]:
    conformer = embed(item.molecules[0], _seed(rng))
    weights = np.array(settings.kind_weights) / sum(settings.kind_weights)
    if conformer.force_field is None:
        weights = np.array([float(kind == "tmd") for kind in MOLECULE_KINDS])
    kinds = sorted(rng.choice(len(MOLECULE_KINDS), size=item.frames, p=weights).tolist())
    temperatures = rng.choice(settings.temperatures_K, size=item.frames)
    frames = langevin_frames(conformer, temperatures, rng)
    for index, frame, temperature in zip(kinds, frames, temperatures, strict=False):
        kind = MOLECULE_KINDS[index]
        numbers, positions, bath = conformer.numbers, frame, float(temperature)
        distorted: Positions | None = frame
        if kind == "rattle":
            amplitude = float(rng.choice(settings.rattle_A))
            positions, bath = distortions.rattle(conformer.positions, amplitude, rng), 0.0
        elif kind in ("bond", "angle"):
            low, high = settings.scale_range
            scale = float(rng.triangular(low, 1.0, high))
            distort = distortions.stretch_bond if kind == "bond" else distortions.bend_angle
            distorted = distort(conformer.mol, frame, scale, rng)
            positions = frame if distorted is None else distorted
        elif kind == "contact":
            numbers, positions = _contact(conformer, frame, settings, rng)
        steps = settings.teacher_md_steps if kind == "tmd" else 0
        kind = "md" if distorted is None else kind
        yield Sample(numbers, positions, kind, bath, md_steps=steps)


def _contact(
    conformer: Conformer, frame: Positions, settings: SamplingSettings, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Positions]:
    low, high = settings.contact_A
    if rng.random() < 0.4:
        folded = distortions.folded_contact(conformer.mol, frame, low, high, rng)
        if folded is not None:
            return conformer.numbers, folded
    smiles = PROBES[int(rng.integers(len(PROBES)))]
    probe = embed(Molecule(smiles, smiles), _seed(rng))
    placed = distortions.approach(frame, probe.positions, float(rng.uniform(low, high)), rng)
    return np.concatenate([conformer.numbers, probe.numbers]), np.concatenate([frame, placed])


def _sample_dimer(
    item: Item, settings: SamplingSettings, rng: np.random.Generator
) -> Iterator[Sample]:
    conformers = [embed(molecule, _seed(rng)) for molecule in item.molecules]
    temperatures = rng.choice(settings.temperatures_K[:2], size=item.frames)
    first, second = (langevin_frames(c, temperatures, rng) for c in conformers)
    numbers = np.concatenate([c.numbers for c in conformers])
    for a, b, temperature in zip(first, second, temperatures, strict=False):
        placed: Positions | None = None
        if rng.random() < 0.5:
            distance = float(rng.uniform(*settings.hydrogen_bond_A))
            placed = distortions.hydrogen_bond(
                conformers[0].numbers, a, conformers[1].numbers, b, distance, rng
            )
        if placed is None:
            placed = distortions.approach(a, b, float(rng.uniform(*settings.dimer_A)), rng)
        yield Sample(numbers, np.concatenate([a, placed]), "dimer", float(temperature))


def _sample_scan(
    item: Item, settings: SamplingSettings, rng: np.random.Generator
) -> Iterator[Sample]:
    from ase.data import covalent_radii

    low, high = settings.scan_A
    bare = item.kind == "pair"
    parts = [_bare_atom(m) if bare else _hydride(m, rng) for m in item.molecules]
    numbers = np.concatenate([z for z, _ in parts])
    heavy = [int(z[0]) for z, _ in parts]
    low = max(low, 0.6 * float(covalent_radii[heavy].sum()))
    grid = np.geomspace(low, min(high, 2.5) if bare else high, item.frames)
    for r in grid * rng.uniform(0.97, 1.03, item.frames):
        a, b = (x if bare else _turned(x, rng) for _, x in parts)
        # Half of the frames: hydrogens turned away, so that X and Y themselves meet.
        if not bare and rng.random() < 0.5:
            a, b = _facing(a, +1.0), _facing(b, -1.0)
        shifted = b + np.array([float(r), 0.0, 0.0])
        yield Sample(numbers, np.concatenate([a, shifted]), item.kind, 0.0)


def _bare_atom(molecule: Molecule) -> tuple[NDArray[np.uint8], Positions]:
    from ase.data import atomic_numbers

    return np.array([atomic_numbers[molecule.smiles]], dtype=np.uint8), np.zeros((1, 3))


def _hydride(molecule: Molecule, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Positions]:
    """Return numbers and positions with the heavy atom (RDKit's first) at the origin."""
    conformer = embed(molecule, _seed(rng))
    positions = distortions.rattle(conformer.positions, 0.03, rng)
    return conformer.numbers, positions - positions[0]


def _turned(positions: Positions, rng: np.random.Generator) -> Positions:
    return positions @ distortions.random_rotation(rng).T


def _facing(positions: Positions, side: float) -> Positions:
    """Reflect so that the hydrogens lie on the side of x that is away from ``side``."""
    reflected = positions.copy()
    if positions[1:, 0].sum() * side > 0.0:
        reflected[:, 0] *= -1.0
    return reflected
