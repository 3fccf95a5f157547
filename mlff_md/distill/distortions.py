"""Geometries away from equilibrium: rattles, stretched bonds, bent angles, contacts, dimers.

Every function takes a ``numpy.random.Generator`` and returns new positions in Å, or ``None`` where
the molecule has nothing to distort.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.distill.forcefield import Positions

_DONORS = frozenset((7, 8, 9, 16, 17))
_ACCEPTORS = frozenset((7, 8, 9, 15, 16, 17))


def rattle(positions: Positions, amplitude_A: float, rng: np.random.Generator) -> Positions:
    """Add Gaussian noise of standard deviation ``amplitude_A`` to every coordinate."""
    return positions + rng.normal(0.0, amplitude_A, positions.shape)


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a uniformly distributed (3, 3) rotation matrix."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def min_distance(a: Positions, b: Positions) -> float:
    """Return the shortest distance between two sets of points, Å."""
    return float(np.linalg.norm(a[:, None] - b[None], axis=-1).min())


def branch(mol: Any, pivot: int, moved: int) -> list[int]:
    """Return the atoms that move with ``moved`` when its bond to ``pivot`` is changed.

    For a bond outside rings this is the whole fragment beyond the bond; for a ring bond it is
    ``moved`` and its substituents, without the ring.
    """
    bond = mol.GetBondBetweenAtoms(pivot, moved)
    cut = {bond.GetIdx()}
    if bond.IsInRing():
        cut |= {b.GetIdx() for b in mol.GetAtomWithIdx(moved).GetBonds() if b.IsInRing()}
    found, stack = {moved}, [moved]
    while stack:
        for other in mol.GetAtomWithIdx(stack.pop()).GetBonds():
            if other.GetIdx() in cut:
                continue
            for atom in (other.GetBeginAtomIdx(), other.GetEndAtomIdx()):
                if atom not in found:
                    found.add(atom)
                    stack.append(atom)
    return sorted(found)


def stretch_bond(
    mol: Any, positions: Positions, scale: float, rng: np.random.Generator
) -> Positions | None:
    """Scale the length of a random bond, moving all that hangs on one end."""
    bonds = mol.GetNumBonds()
    if not bonds:
        return None
    bond = mol.GetBondWithIdx(int(rng.integers(bonds)))
    pivot, moved = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    if rng.random() < 0.5:
        pivot, moved = moved, pivot
    new = positions.copy()
    new[branch(mol, pivot, moved)] += (scale - 1.0) * (positions[moved] - positions[pivot])
    return new


def bend_angle(
    mol: Any, positions: Positions, scale: float, rng: np.random.Generator
) -> Positions | None:
    """Scale a random bond angle whose outer bond is outside rings (kept below 178 degrees)."""
    angles = [
        (a.GetIdx(), center.GetIdx(), b.GetIdx())
        for center in mol.GetAtoms()
        for a in center.GetNeighbors()
        for b in center.GetNeighbors()
        if a.GetIdx() != b.GetIdx()
        and not mol.GetBondBetweenAtoms(center.GetIdx(), b.GetIdx()).IsInRing()
    ]
    if not angles:
        return None
    a, center, b = angles[int(rng.integers(len(angles)))]
    u, v = positions[a] - positions[center], positions[b] - positions[center]
    cosine = np.clip(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)), -1.0, 1.0)
    angle = float(np.arccos(cosine))
    axis = np.cross(u, v)
    if np.linalg.norm(axis) < 1e-3:  # linear: any perpendicular axis will do
        axis = np.cross(u, rng.normal(size=3))
    turn = min(scale * angle, np.deg2rad(178.0)) - angle
    return rotate_about(positions, branch(mol, center, b), positions[center], axis, turn)


def rotate_about(
    positions: Positions, atoms: list[int], origin: Positions, axis: Positions, angle: float
) -> Positions:
    """Rotate ``atoms`` by ``angle`` (radians) about ``axis`` through ``origin`` (Rodrigues)."""
    k = axis / np.linalg.norm(axis)
    x = positions[atoms] - origin
    turned = (
        x * np.cos(angle)
        + np.cross(k, x) * np.sin(angle)
        + np.outer(x @ k, k) * (1.0 - np.cos(angle))
    )
    new = positions.copy()
    new[atoms] = turned + origin
    return new


def folded_contact(
    mol: Any,
    positions: Positions,
    low_A: float,
    high_A: float,
    rng: np.random.Generator,
    tries: int = 40,
) -> Positions | None:
    """Turn single bonds at random until two atoms at least four bonds apart come close.

    Returns the first geometry whose shortest such distance is within ``low_A`` and ``high_A``.
    """
    from rdkit.Chem import GetDistanceMatrix

    bonds = [
        (b.GetBeginAtomIdx(), b.GetEndAtomIdx())
        for b in mol.GetBonds()
        if b.GetBondTypeAsDouble() == 1.0
        and not b.IsInRing()
        and min(b.GetBeginAtom().GetDegree(), b.GetEndAtom().GetDegree()) > 1
    ]
    far = np.triu(GetDistanceMatrix(mol) >= 4)
    if not bonds or not far.any():
        return None
    new = positions
    for _ in range(tries):
        a, b = bonds[int(rng.integers(len(bonds)))]
        axis = new[b] - new[a]
        new = rotate_about(new, branch(mol, a, b), new[a], axis, rng.uniform(0.0, 2.0 * np.pi))
        distances = np.linalg.norm(new[:, None] - new[None], axis=-1)[far]
        if low_A <= distances.min() <= high_A:
            return new
    return None


def approach(a: Positions, b: Positions, distance_A: float, rng: np.random.Generator) -> Positions:
    """Turn ``b`` at random and bring it from a random side until it is ``distance_A`` from ``a``.

    Returns
    -------
    (N_b, 3) positions whose shortest distance to ``a`` is ``distance_A`` within 1e-3 Å.
    """
    turned = (b - b.mean(axis=0)) @ random_rotation(rng).T
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    center = a.mean(axis=0)
    far = np.ptp(a, axis=0).sum() + np.ptp(b, axis=0).sum() + distance_A + 1.0
    # The shortest distance grows with the separation near the outermost contact, which a walk
    # from outside finds; bisection then refines it.
    step = 0.1
    shift = far
    while shift > 0.0 and min_distance(a, turned + center + shift * direction) > distance_A:
        shift -= step
    near, far = shift, shift + step
    for _ in range(12):
        middle = 0.5 * (near + far)
        if min_distance(a, turned + center + middle * direction) > distance_A:
            far = middle
        else:
            near = middle
    return turned + center + far * direction


def hydrogen_bond(
    numbers_a: NDArray[np.uint8],
    a: Positions,
    numbers_b: NDArray[np.uint8],
    b: Positions,
    distance_A: float,
    rng: np.random.Generator,
    tries: int = 30,
) -> Positions | None:
    """Place ``b`` so that an X-H of ``a`` points at one of its acceptors, ``distance_A`` away.

    Returns
    -------
    (N_b, 3) positions in which no other contact is shorter than 1.6 Å, or ``None`` if ``a`` has no
    hydrogen on N, O, F, S or Cl, ``b`` no acceptor, or no such placement was found.
    """
    pairs = _donor_hydrogens(numbers_a, a)
    acceptors = [i for i, z in enumerate(numbers_b) if int(z) in _ACCEPTORS]
    if not pairs or not acceptors:
        return None
    for _ in range(tries):
        heavy, hydrogen = pairs[int(rng.integers(len(pairs)))]
        acceptor = acceptors[int(rng.integers(len(acceptors)))]
        direction = a[hydrogen] - a[heavy]
        direction = direction / np.linalg.norm(direction) + rng.normal(0.0, 0.2, 3)
        direction /= np.linalg.norm(direction)
        target = a[hydrogen] + distance_A * direction
        placed = (b - b[acceptor]) @ random_rotation(rng).T + target
        contacts = np.linalg.norm(a[:, None] - placed[None], axis=-1)
        contacts[hydrogen, acceptor] = np.inf
        if contacts.min() > 1.6:
            return placed
    return None


def _donor_hydrogens(numbers: NDArray[np.uint8], positions: Positions) -> list[tuple[int, int]]:
    pairs = []
    for hydrogen in np.flatnonzero(numbers == 1):
        distances = np.linalg.norm(positions - positions[hydrogen], axis=1)
        distances[hydrogen] = np.inf
        heavy = int(distances.argmin())
        if int(numbers[heavy]) in _DONORS and distances[heavy] < 1.5:
            pairs.append((heavy, int(hydrogen)))
    return pairs
