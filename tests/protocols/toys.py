"""Fast calculators: a conservative elastic network, and defects made on purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes


class ElasticNetwork(Calculator):
    """Anharmonic springs between all pairs about a reference: conservative, tens of us a call."""

    implemented_properties = ("energy", "forces")

    def __init__(self, reference: Atoms, stiffness: float = 4.0) -> None:
        super().__init__()
        self.pairs = np.triu_indices(len(reference), 1)
        # +1 for the first and -1 for the second atom of each pair.
        n_pairs = len(self.pairs[0])
        self.incidence = np.zeros((n_pairs, len(reference)))
        self.incidence[np.arange(n_pairs), self.pairs[0]] = 1.0
        self.incidence[np.arange(n_pairs), self.pairs[1]] = -1.0
        self.stiffness = stiffness
        self.lengths = self.separations(reference.positions)[1]
        self.calls = 0

    def separations(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        vectors = -(self.incidence @ positions)
        return vectors, np.sqrt(np.einsum("ij,ij->i", vectors, vectors))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        vectors, distances = self.separations(self.atoms.positions)
        stretch = distances - self.lengths
        energy = 0.5 * self.stiffness * float(np.sum(stretch**2 - 0.5 * stretch**3))
        gradient = self.stiffness * (stretch - 0.75 * stretch**2)
        self.results = {"energy": energy, "forces": self.assemble(vectors, distances, gradient)}
        self.spoil(self.results)

    def assemble(
        self, vectors: np.ndarray, distances: np.ndarray, gradient: np.ndarray
    ) -> np.ndarray:
        return self.incidence.T @ ((gradient / distances)[:, None] * vectors)

    def spoil(self, results: dict[str, Any]) -> None:
        """Change the results; the healthy calculator leaves them."""


class Curl(ElasticNetwork):
    """Pair forces that depend on the next pair: action and reaction agree, but no energy exists."""

    def __init__(self, reference: Atoms, strength: float = 0.02, **options: Any) -> None:
        super().__init__(reference, **options)
        self.strength = strength

    def assemble(
        self, vectors: np.ndarray, distances: np.ndarray, gradient: np.ndarray
    ) -> np.ndarray:
        return super().assemble(vectors, distances, gradient + self.strength * np.roll(gradient, 1))


class Vortex(ElasticNetwork):
    """Forces that circle about an axis: a net torque that spins the molecule up."""

    def spoil(self, results: dict[str, Any]) -> None:
        arms = self.atoms.positions - self.atoms.positions.mean(axis=0)
        results["forces"] = results["forces"] + 0.004 * np.cross([0.0, 0.0, 1.0], arms)


class Heater(ElasticNetwork):
    """Forces along the velocity: what friction of the wrong sign does."""

    def spoil(self, results: dict[str, Any]) -> None:
        results["forces"] = results["forces"] + 2e-3 * self.atoms.get_momenta()


class Wind(ElasticNetwork):
    """A constant force on every atom: momentum grows."""

    def spoil(self, results: dict[str, Any]) -> None:
        results["forces"] = results["forces"] + np.array([1e-2, 0.0, 0.0])


class NotANumberAfter(ElasticNetwork):
    """Forces that become NaN after a number of calls."""

    def __init__(self, reference: Atoms, calls: int, **options: Any) -> None:
        super().__init__(reference, **options)
        self.limit = calls

    def spoil(self, results: dict[str, Any]) -> None:
        if self.calls > self.limit:
            results["forces"] = np.full_like(results["forces"], np.nan)


class Scaled(Calculator):
    """A potential that is stiffer by a factor, in energy and forces alike: conservative."""

    implemented_properties = ("energy", "forces")

    def __init__(self, inner: Any, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        for name in self.implemented_properties:
            self.results[name] = self.factor * self.inner.get_property(name, self.atoms)


def small_molecule() -> Atoms:
    return molecule("CH3OH")
