"""Static probes by symmetry: what must not change energy and forces, and does the answer repeat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md.errors import MlffError
from mlff_md.protocols.static_evaluate import Array, Evaluation, Evaluator, rms

if TYPE_CHECKING:
    from ase import Atoms

_SUPERCELL_LIMIT = 1000
_REPEATS = 10
_HISTORIES = 18
# Mostly larger: a neighbor list of a stretched structure lacks pairs, one of a squeezed lacks none.
_FACTORS = (1.18, 1.12, 1.16, 0.96, 1.14)


def balance(evaluate: Evaluator, atoms: Atoms) -> dict[str, Any]:
    """Return the net force (eV/Å) and net torque (eV) as norms, with their scales."""
    forces = evaluate(atoms).forces_eV_per_A
    arms = atoms.positions - atoms.positions.mean(axis=0)
    return {
        "net_force_eV_per_A": np.linalg.norm(forces.sum(axis=0)),
        "net_torque_eV": np.linalg.norm(np.cross(arms, forces).sum(axis=0)),
        "force_rms_eV_per_A": rms(forces),
        "arm_rms_A": rms(arms),
        "n_atoms": np.array(len(atoms)),
        "periodic": np.array(bool(atoms.pbc.any())),
    }


def invariance(evaluate: Evaluator, atoms: Atoms, rng: np.random.Generator) -> dict[str, Any]:
    """Return, for each symmetry operation, the change of energy (eV/atom) and forces (eV/Å, rms).

    An operation that the calculator cannot evaluate has NaN and its reason in ``failed``.
    """
    reference = evaluate(atoms)
    names, energy, force, failed = [], [], [], {}
    for name, changed, expected, cells in _operations(atoms, reference, rng):
        names.append(name)
        try:
            result = evaluate(changed)
        except MlffError as error:
            failed[name] = str(error)
            energy.append(np.nan)
            force.append(np.nan)
            continue
        energy.append(abs(result.energy_eV - cells * reference.energy_eV) / (cells * len(atoms)))
        force.append(rms(result.forces_eV_per_A - expected))
    return {
        "names": names,
        "failed": failed,
        "energy_eV_per_atom": np.array(energy),
        "force_eV_per_A": np.array(force),
        "force_rms_eV_per_A": rms(reference.forces_eV_per_A),
    }


def _operations(
    atoms: Atoms, reference: Evaluation, rng: np.random.Generator
) -> Iterator[tuple[str, Atoms, Array, int]]:
    """Yield name, changed structure, the forces that it must have, and how many cells it is."""
    forces = reference.forces_eV_per_A
    moved = atoms.copy()
    moved.positions += np.array([0.317, -0.729, 0.523])
    yield "translation", moved, forces, 1
    rotation = _rotation(rng)
    mirror = np.diag([-1.0, 1.0, 1.0])
    for name, matrix in (("rotation", rotation), ("reflection", mirror)):
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ matrix.T, scale_atoms=False)
        turned.positions = atoms.positions @ matrix.T
        yield name, turned, forces @ matrix.T, 1
    order = rng.permutation(len(atoms))
    yield "permutation", atoms[order], forces[order], 1
    if not atoms.pbc.any():
        return
    shifts = rng.integers(-2, 3, size=(len(atoms), 3)) * atoms.pbc
    wrapped = atoms.copy()
    wrapped.positions += shifts @ atoms.cell.array
    yield "images of atoms", wrapped, forces, 1
    if len(atoms) <= _SUPERCELL_LIMIT:
        repeats = [1, 1, 1]
        repeats[int(np.flatnonzero(atoms.pbc)[0])] = 2
        yield "doubled cell", atoms.repeat(repeats), np.tile(forces, (2, 1)), 2


def _rotation(rng: np.random.Generator) -> Array:
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q *= np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0.0 else -q


def repeats(evaluate: Evaluator, atoms: Atoms, rng: np.random.Generator) -> dict[str, Any]:
    """Evaluate the same structure again and again, alone and with other structures in between.

    The others are stretched, squeezed and shaken, so that a calculator that keeps a neighbor
    list, a wave function or any other memory must renew it; between two and four of them
    stand between two repeats, so that a renewal every n calls cannot hide.

    Returns
    -------
    dict
        ``energy_eV`` (R,), ``force_change_eV_per_A`` (R,) largest change of a component from the
        first answer, ``after_others`` (R,) whether others came between, ``force_rms_eV_per_A``.
    """
    evaluate.forget()
    reference = evaluate(atoms)
    energies, changes, history = [reference.energy_eV], [0.0], [False]

    def repeat(*, after_others: bool) -> None:
        result = evaluate(atoms)
        energies.append(result.energy_eV)
        difference = result.forces_eV_per_A - reference.forces_eV_per_A
        changes.append(float(np.abs(difference).max()))
        history.append(after_others)

    for _ in range(_REPEATS - 1):
        evaluate.forget()
        repeat(after_others=False)
    for k in range(_HISTORIES):
        for turn in range(k % 3 + 2):
            evaluate(_other(atoms, rng, _FACTORS[(k + turn) % len(_FACTORS)]))
        repeat(after_others=True)
    return {
        "energy_eV": np.array(energies),
        "force_change_eV_per_A": np.array(changes),
        "after_others": np.array(history),
        "force_rms_eV_per_A": rms(reference.forces_eV_per_A),
    }


def _other(atoms: Atoms, rng: np.random.Generator, factor: float) -> Atoms:
    """Return another structure of the same atoms: larger or smaller, and shaken."""
    other = atoms.copy()
    center = np.zeros(3) if atoms.pbc.any() else atoms.positions.mean(axis=0)
    other.positions = center + factor * (atoms.positions - center)
    other.set_cell(factor * atoms.cell.array, scale_atoms=False)
    other.positions += rng.normal(scale=0.03, size=other.positions.shape)
    return other
