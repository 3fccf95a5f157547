"""Calculators that pass on what another one answers, spoiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from mlff_md.neighbors import NeighborList
from mlff_md.pairs import complete_cell, half_pairs

if TYPE_CHECKING:
    from ase import Atoms

Array = NDArray[np.float64]
Indices = NDArray[np.integer]
Profile = Callable[[Array], tuple[Array, Array]]
"""Distances (M,) to energies and their derivatives (M,), eV and eV/Å."""


class Spoiled(Calculator):
    """A calculator that passes on another's answer; subclasses change it.

    Parameters
    ----------
    calculator
        Any ASE calculator.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, calculator: Any) -> None:
        super().__init__()
        self.inner = calculator

    def describe(self) -> Mapping[str, Any]:
        """Return what the calculator says of itself, and the fault."""
        told = getattr(self.inner, "describe", None)
        return {**(told() if callable(told) else {}), "defect": type(self).__name__}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate with the inner calculator, then spoil (ASE's interface)."""
        super().calculate(atoms, properties, system_changes)
        asked = self.asked(self.atoms)
        asked.calc = self.inner
        try:
            energy = asked.get_potential_energy(force_consistent=True)
        except (NotImplementedError, TypeError, KeyError):
            energy = asked.get_potential_energy()
        results = {"energy": float(energy), "forces": np.array(asked.get_forces(), dtype=float)}
        if asked.pbc.all() and "stress" in getattr(self.inner, "implemented_properties", ()):
            results["stress"] = np.array(asked.get_stress(), dtype=float)
        self.spoil(asked, results)
        results["free_energy"] = results["energy"]
        self.results = results

    def asked(self, atoms: Atoms) -> Atoms:
        """Return the structure that the inner calculator is asked for."""
        return atoms.copy()

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Change the results in place."""


class Float32Forces(Spoiled):
    """Forces as float32 numbers."""

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Round the forces to float32."""
        results["forces"] = _float32(results["forces"])


class Float32All(Float32Forces):
    """Positions, forces and energy as float32 numbers; the energy without the bulk of it."""

    def __init__(self, calculator: Any) -> None:
        super().__init__(calculator)
        self._offset_eV: float | None = None

    def asked(self, atoms: Atoms) -> Atoms:
        """Return the structure with float32 positions."""
        rounded: Atoms = atoms.copy()
        rounded.positions = _float32(rounded.positions)
        return rounded

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Round forces and energy to float32."""
        super().spoil(atoms, results)
        # Programs in float32 leave out the energies of free atoms, of which nothing depends.
        if self._offset_eV is None:
            self._offset_eV = results["energy"] / len(atoms)
        offset = self._offset_eV * len(atoms)
        results["energy"] = offset + float(_float32(np.array(results["energy"] - offset)))


class Scaled(Spoiled):
    """Forces, or forces and energy, times a factor."""

    def __init__(self, calculator: Any, factor: float, *, energy: bool) -> None:
        super().__init__(calculator)
        self.factor, self.energy = factor, energy

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Scale."""
        results["forces"] = self.factor * results["forces"]
        if self.energy:
            results["energy"] *= self.factor
            if "stress" in results:
                results["stress"] = self.factor * results["stress"]


class Rounded(Spoiled):
    """Forces rounded to a grid: a fixed one, or one of 255 levels up to the largest."""

    def __init__(self, calculator: Any, grid_eV_per_A: float | None) -> None:
        super().__init__(calculator)
        self.grid_eV_per_A = grid_eV_per_A

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Round the forces."""
        grid = self.grid_eV_per_A or float(np.abs(results["forces"]).max()) / 127.0
        if grid > 0.0:
            results["forces"] = grid * np.round(results["forces"] / grid)


class Noisy(Spoiled):
    """Forces with Gaussian noise, new at each evaluation."""

    def __init__(self, calculator: Any, sigma_eV_per_A: float, seed: int = 0) -> None:
        super().__init__(calculator)
        self.sigma_eV_per_A = sigma_eV_per_A
        self.rng = np.random.default_rng(seed)

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Add the noise."""
        noise = self.rng.normal(scale=self.sigma_eV_per_A, size=results["forces"].shape)
        results["forces"] = results["forces"] + noise


class _Neighborly(Spoiled):
    """Base of faults that look at the pairs within a cutoff."""

    def __init__(self, calculator: Any, cutoff_A: float) -> None:
        super().__init__(calculator)
        self.cutoff_A = cutoff_A
        self._list = NeighborList(cutoff_A)

    def pairs(self, atoms: Atoms) -> tuple[Indices, Indices, Array, Array]:
        """Return center, neighbor, vector and distance of all pairs, both directions."""
        edges, vectors = self._list.update(atoms.positions, atoms.cell.array, atoms.pbc)
        return edges[0], edges[1], vectors, np.linalg.norm(vectors, axis=1)

    def crowding(self, atoms: Atoms) -> NDArray[Any]:
        """Return a smooth coordination number of each atom, shape (N,)."""
        center, _, _, distance = self.pairs(atoms)
        return np.bincount(center, _switch(distance, self.cutoff_A)[0], minlength=len(atoms))


class Curl(_Neighborly):
    """Pair forces that depend on the neighborhood: action is reaction, but no energy exists."""

    def __init__(self, calculator: Any, cutoff_A: float, share: float) -> None:
        super().__init__(calculator, cutoff_A)
        self.share = share

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Add pair forces of this share of the rms force."""
        center, neighbor, vector, distance = self.pairs(atoms)
        crowding = self.crowding(atoms)
        size = _switch(distance, self.cutoff_A)[0] * (crowding[center] + crowding[neighbor])
        extra = _summed(center, (size / distance)[:, None] * vector, len(atoms))
        rms, extra_rms = _rms(results["forces"]), _rms(extra)
        if extra_rms > 0.0:
            results["forces"] = results["forces"] + self.share * rms / extra_rms * extra


class DirectHead(_Neighborly):
    """Forces off by a few percent that depend on the neighborhood, as a force head's are."""

    def __init__(self, calculator: Any, cutoff_A: float, share: float) -> None:
        super().__init__(calculator, cutoff_A)
        self.share = share

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Scale each atom's force by its own factor and take out the mean."""
        factor = np.sqrt(2.0) * self.share * np.sin(4.0 * self.crowding(atoms) + atoms.numbers)
        extra = factor[:, None] * results["forces"]
        results["forces"] = results["forces"] + extra - extra.mean(axis=0)


class PairTerm(_Neighborly):
    """An added pair potential within the cutoff."""

    def __init__(self, calculator: Any, cutoff_A: float, profile: Profile) -> None:
        super().__init__(calculator, cutoff_A)
        self.profile = profile

    def spoil(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Add energy, forces and stress of the pair potential."""
        center, _, vector, distance = self.pairs(atoms)
        energy, slope = self.profile(distance)
        results["energy"] += 0.5 * float(energy.sum())
        pull = (slope / distance)[:, None] * vector
        results["forces"] = results["forces"] + _summed(center, pull, len(atoms))
        if "stress" in results:
            stress = 0.5 * vector.T @ pull / atoms.get_volume()
            results["stress"] = results["stress"] + stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


class StalePairTerm(PairTerm):
    """The same, from a neighbor list without skin that is renewed every so many evaluations."""

    def __init__(self, calculator: Any, cutoff_A: float, profile: Profile, every: int) -> None:
        super().__init__(calculator, cutoff_A, profile)
        self.every = every
        self._age = 0
        self._stale: tuple[Indices, Indices, Indices] | None = None
        self._numbers: Indices | None = None

    def pairs(self, atoms: Atoms) -> tuple[Indices, Indices, Array, Array]:
        """Return the pairs of an older structure, at their present distances."""
        cell = complete_cell(atoms.cell.array, atoms.pbc)
        changed = self._numbers is None or not np.array_equal(self._numbers, atoms.numbers)
        if self._stale is None or changed or self._age >= self.every:
            self._stale = half_pairs(atoms.positions, cell, atoms.pbc, self.cutoff_A)
            self._numbers, self._age = atoms.numbers.copy(), 0
        self._age += 1
        first, second, images = self._stale
        vectors = atoms.positions[second] - atoms.positions[first] + images @ cell
        center, neighbor = np.concatenate([first, second]), np.concatenate([second, first])
        both = np.concatenate([vectors, -vectors])
        return center, neighbor, both, np.linalg.norm(both, axis=1)


def attraction(cutoff_A: float, depth_eV: float, *, shifted: bool) -> Profile:
    """Return -depth (r_c / r)^6, cut at r_c: with a step of the energy, or shifted, of the force.

    Below 0.75 r_c it is constant in slope, so that bonded atoms feel no strong force.
    """

    def profile(r: Array) -> tuple[Array, Array]:
        inner = 0.75 * cutoff_A
        far = np.maximum(r, inner)
        slope = 6.0 * depth_eV * cutoff_A**6 / far**7
        energy = -depth_eV * (cutoff_A / far) ** 6 + slope * (r - far)
        energy = energy + (depth_eV if shifted else 0.0)
        inside = r < cutoff_A
        return np.where(inside, energy, 0.0), np.where(inside, slope, 0.0)

    return profile


def smooth_attraction(cutoff_A: float, depth_eV: float) -> Profile:
    """Return -depth times a smooth switch from one at r = 0 to zero at the cutoff."""

    def profile(r: Array) -> tuple[Array, Array]:
        value, slope = _switch(r, cutoff_A)
        return -depth_eV * value, -depth_eV * slope

    return profile


def _switch(r: Array, cutoff_A: float) -> tuple[Array, Array]:
    """Return (1 - (r / r_c)^2)^3, zero beyond, and its derivative."""
    inside = np.maximum(1.0 - (r / cutoff_A) ** 2, 0.0)
    return inside**3, -6.0 * r / cutoff_A**2 * inside**2


def _summed(center: NDArray[Any], vectors: Array, n_atoms: int) -> Array:
    return np.stack([np.bincount(center, v, minlength=n_atoms) for v in vectors.T], axis=1)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _float32(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)
