"""Static probes by differences: gradient of energy and forces, virial, roughness. Raw numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md.protocols.static_evaluate import Array, Evaluator, representable_in_float32, rms

if TYPE_CHECKING:
    from ase import Atoms

_LARGEST_STEP_A = 0.064
_LARGEST_STRAIN = 0.008
# Short enough that the sixth difference of splines, whose third derivative jumps, is 1e-10 of the
# force; long enough that forces rounded to 1e-3 eV/Å change on the way in argon.
ROUGHNESS_STEP_A = 1e-4
_ROUGHNESS_POINTS = 24


def differences(
    evaluate: Evaluator, atoms: Atoms, rng: np.random.Generator, *, directions: int, halvings: int
) -> dict[str, Any]:
    """Energies and projected forces on both sides of a structure, for steps halved again and again.

    Returns
    -------
    dict
        ``step_A`` (H,); ``slope`` (K,), -F.u of the structure itself; ``energy_eV`` (K, H, 2) at
        x + h u and x - h u; ``projection`` (K, H, 2, K), F.u' there for each direction u'.
    """
    probes = _directions(atoms, rng, directions)
    steps = _LARGEST_STEP_A * 0.5 ** np.arange(halvings + 1)
    k, n_steps = len(probes), len(steps)
    energies = np.empty((k, n_steps, 2))
    projections = np.empty((k, n_steps, 2, k))
    moved = atoms.copy()
    for d, probe in enumerate(probes):
        for s, step in enumerate(steps):
            for side, sign in enumerate((1.0, -1.0)):
                moved.positions = atoms.positions + sign * step * probe
                result = evaluate(moved)
                energies[d, s, side] = result.energy_eV
                projections[d, s, side] = np.einsum("kij,ij->k", probes, result.forces_eV_per_A)
    center = evaluate(atoms)
    return {
        "step_A": steps,
        "slope": -np.einsum("kij,ij->k", probes, center.forces_eV_per_A),
        "energy_eV": energies,
        "projection": projections,
    }


def _directions(atoms: Atoms, rng: np.random.Generator, count: int) -> Array:
    """Return random displacements of all atoms, then of each element alone; rms length 1."""
    numbers = np.unique(atoms.numbers)
    masks = [np.ones(len(atoms), dtype=bool)] * count
    if len(numbers) > 1:
        masks += [atoms.numbers == number for number in numbers[:6]]
    probes = rng.standard_normal((len(masks), len(atoms), 3))
    for probe, mask in zip(probes, masks, strict=True):
        probe[~mask] = 0.0
        probe *= np.sqrt(mask.sum() / np.sum(probe**2))
    return probes


def strains(
    evaluate: Evaluator, atoms: Atoms, rng: np.random.Generator, *, directions: int, halvings: int
) -> dict[str, Any] | None:
    """Energies of a strained cell, for the virial; ``None`` if not periodic or without stress.

    Returns
    -------
    dict
        ``strain`` (H,); ``slope_eV`` (K,), V sigma:e; ``energy_eV`` (K, H, 2).
    """
    if not atoms.pbc.all():
        return None
    stress = evaluate.stress(atoms)
    if stress is None:
        return None
    shapes = rng.standard_normal((directions, 3, 3))
    shapes = 0.5 * (shapes + shapes.transpose(0, 2, 1))
    shapes /= np.linalg.norm(shapes, axis=(1, 2))[:, None, None]
    sizes = _LARGEST_STRAIN * 0.5 ** np.arange(halvings + 1)
    energies = np.empty((directions, len(sizes), 2))
    for d, shape in enumerate(shapes):
        for s, size in enumerate(sizes):
            for side, sign in enumerate((1.0, -1.0)):
                strained = atoms.copy()
                deformation = np.eye(3) + sign * size * shape
                strained.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
                energies[d, s, side] = evaluate(strained).energy_eV
    slope = atoms.get_volume() * np.einsum("kab,ab->k", shapes, stress)
    return {"strain": sizes, "slope_eV": slope, "energy_eV": energies}


def roughness(
    evaluate: Evaluator, atoms: Atoms, rng: np.random.Generator, *, lines: int
) -> dict[str, Any]:
    """Noise of energy and forces along short straight lines, from their sixth differences.

    Returns
    -------
    dict
        ``force_noise_eV_per_A`` and ``energy_noise_eV`` (lines,), standard deviations of what is
        not smooth; ``force_rms_eV_per_A``; ``energy_size_eV``; ``float32_forces`` and
        ``float32_energy``, whether all of them are float32 numbers.
    """
    force_noise, energy_noise = [], []
    single_force = single_energy = True
    energy_size = 0.0
    scale = np.sqrt(924.0)  # sum of the squared binomial coefficients of the sixth difference
    for probe in _directions(atoms, rng, lines)[:lines]:
        moved = atoms.copy()
        energies, forces = [], []
        for k in range(_ROUGHNESS_POINTS):
            moved.positions = atoms.positions + k * ROUGHNESS_STEP_A * probe
            result = evaluate(moved)
            energies.append(result.energy_eV)
            forces.append(result.forces_eV_per_A)
            single_force = single_force and representable_in_float32(result.forces_eV_per_A)
        single_energy = single_energy and representable_in_float32(np.array(energies))
        energy_size = max(energy_size, float(np.abs(energies).max()))
        force_noise.append(rms(np.diff(np.array(forces), n=6, axis=0)) / scale)
        energy_noise.append(rms(np.diff(np.array(energies), n=6)) / scale)
    return {
        "force_noise_eV_per_A": np.array(force_noise),
        "energy_noise_eV": np.array(energy_noise),
        "force_rms_eV_per_A": rms(evaluate(atoms).forces_eV_per_A),
        "energy_size_eV": np.array(energy_size),
        "float32_forces": np.array(single_force),
        "float32_energy": np.array(single_energy),
    }
