"""One structure against what a student was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.graph import species_index
from mlff_md.guard.features import SORTED_FROM_ATOMS, Features, kernel_features, make_features
from mlff_md.guard.findings import (
    FRAGMENT_FACTOR,
    Finding,
    are_bonded,
    name_atoms,
    odd_fragments,
    too_close_pairs,
)
from mlff_md.neighbors import NeighborList
from mlff_md.student import Student
from mlff_md.student.domain import Domain

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_md.native import NativeKernel

_LEAST_REACH_A = 2.5
"""Pairs are looked at as far as bonds of these elements reach, but no less far than this."""

_SLACK = 0.05
"""Of the range of an element's energies, by which it may be exceeded."""


def widened(
    low_eV: NDArray[np.float64], high_eV: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the range in which an atom's energy is taken as known, eV."""
    met = np.isfinite(low_eV) & np.isfinite(high_eV)
    slack = _SLACK * np.where(met, np.where(met, high_eV, 0.0) - np.where(met, low_eV, 0.0), 0.0)
    return low_eV - slack, high_eV + slack


class Inspector:
    """Says what of a structure a student does not know.

    Parameters
    ----------
    calculator
        An ASE calculator. Of one that is not a student's, or whose student does not say where it
        was trained, only lost atoms are looked for.

    Attributes
    ----------
    covers
        Which kinds of :class:`Finding` it can find.
    ids
        What atoms are called in texts; their indices where ``None``.
    """

    def __init__(self, calculator: Any) -> None:
        student = getattr(calculator, "student", None)
        manifest = getattr(student, "manifest", None)
        self.ids: NDArray[np.integer] | None = None
        self._calculator = calculator
        self._student = student if isinstance(student, Student) else None
        self._elements: tuple[str, ...] = manifest.architecture.elements if manifest else ()
        self._domain = (
            Domain.from_manifest(manifest.domain, self._elements)
            if manifest is not None and manifest.domain
            else None
        )
        self._pairs = NeighborList(_LEAST_REACH_A)
        self._fresh: Features | None = None
        self._for: NDArray[np.integer] = np.empty(0, np.int64)
        self._had_neighbors: NDArray[np.bool_] | None = None
        environments = self._domain.environments if self._domain else None
        # Exported students have no weights to compute features with.
        features = environments is not None and environments.has_features
        self._environments = environments if self._student and features else None
        kinds = ["lost"]
        if self._domain is not None:
            kinds.append("distance")
            kinds += ["electrons"] if self._domain.even_electrons else []
            kinds += ["energy"] if environments else []
            kinds += ["environment"] if self._environments else []
        self.covers = tuple(kinds)
        self._judges_energies = "energy" in kinds

    def energies_known(self, atoms: Atoms) -> bool:
        """Return whether the atoms' energies, as just evaluated, are all within their range.

        Costs a few microseconds: for every step.
        """
        if not self._judges_energies:
            return True
        if len(self._for) != len(atoms):
            self._prepare(atoms)
        return self.are_known(self._calculator.results["energies"])

    def energies(self, atoms: Atoms) -> NDArray[np.float64] | None:
        """Return the atoms' energies as just evaluated, (N,), eV; ``None`` if none are judged."""
        if not self._judges_energies:
            return None
        if len(self._for) != len(atoms):
            self._prepare(atoms)
        found: NDArray[np.float64] = self._calculator.results["energies"].copy()
        return found

    def are_known(self, energies_eV: NDArray[np.float64]) -> bool:
        """Return whether energies, of one state (N,) or of several (K, N), are in their ranges."""
        off = energies_eV - self._middle
        off *= self._per_half
        return bool(off.max() <= 1.0 and off.min() >= -1.0)

    def inspect(
        self,
        atoms: Atoms,
        *,
        current: bool = False,
        energies_eV: NDArray[np.float64] | None = None,
    ) -> list[Finding]:
        """Return all that was not in training, the most telling first.

        Parameters
        ----------
        atoms
            Structure, finite.
        current
            The calculator has just evaluated it, and what it has at hand may be used.
        energies_eV
            Of its atoms, (N,), where they are known from before.
        """
        if current:
            energies_eV = self.energies(atoms)
        self._prepare(atoms)
        edges, vectors = self._pairs.update(atoms.positions, atoms.cell.array, atoms.pbc)
        distances = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        findings = [self._lost(edges, len(atoms))]
        if self._domain is not None:
            shortest = self._domain.shortest_A
            findings.append(
                too_close_pairs(atoms.numbers, self._species, edges, distances, shortest, self.ids)
            )
            if self._domain.even_electrons:
                findings.append(self._odd(edges, distances))
        if energies_eV is not None:
            findings.append(self._energies(energies_eV))
        if self._environments is not None and len(atoms):
            findings.append(self._unusual(atoms, current))
        return [finding for finding in findings if finding is not None]

    def scores(self, atoms: Atoms) -> NDArray[np.float64]:
        """Return how unusual each atom is, in units of the limit, (N,); zero if not known."""
        if self._environments is None:
            return np.zeros(len(atoms))
        self._prepare(atoms)
        return self._score(self._evaluated(atoms))

    @property
    def interval_factor(self) -> int:
        """How many times rarer :meth:`inspect` should be: it costs more for many atoms."""
        many = self._environments is not None and not self._at_hand()
        return 10 if many else 1

    def _prepare(self, atoms: Atoms) -> None:
        if np.array_equal(atoms.numbers, self._for):
            return
        from ase.data import covalent_radii

        self._for = atoms.numbers.copy()
        self._radii_A = covalent_radii[self._for]
        reach_A = 2.0 * FRAGMENT_FACTOR * float(self._radii_A.max(initial=0.0))
        self._pairs = NeighborList(max(reach_A, _LEAST_REACH_A), skin_A=1.0)
        self._had_neighbors = None
        self._bonds = b""
        self._odd_before: Finding | None = None
        if self._domain is not None:
            self._species = species_index(self._for, self._elements)
            kinds = np.unique(self._species).tolist()
            self._groups = [(k, np.flatnonzero(self._species == k)) for k in kinds]
            environments = self._domain.environments
            if environments is not None:
                low, high = (
                    bound[self._species]
                    for bound in widened(environments.energy_low_eV, environments.energy_high_eV)
                )
                # Of an element that was never met nothing is inside.
                met = np.isfinite(low)
                self._middle = np.where(met, 0.5 * (low + high), np.inf)
                self._half = np.where(met, 0.5 * (high - low), 1.0)
                self._per_half = 1.0 / np.maximum(self._half, 1e-9)

    def _name(self, atoms: NDArray[np.integer]) -> str:
        return name_atoms(atoms, self._for, self.ids)

    def _lost(self, edges: NDArray[np.integer], count: int) -> Finding | None:
        alone = np.bincount(edges[0], minlength=count) == 0
        if self._had_neighbors is None:
            self._had_neighbors = ~alone
        lost = np.flatnonzero(alone & self._had_neighbors)
        if len(lost) == 0:
            return None
        return Finding(
            "lost",
            tuple(lost.tolist()),
            f"{self._name(lost)} left: no atom within {self._pairs.cutoff_A:.1f} Å",
        )

    def _odd(self, edges: NDArray[np.integer], distances: NDArray[np.floating]) -> Finding | None:
        """Look at the fragments, if the bonds are not those of the last time."""
        bonds = edges[:, are_bonded(self._radii_A, edges, distances)]
        content = bonds.tobytes()
        if content != self._bonds:
            self._bonds, self._odd_before = content, odd_fragments(self._for, bonds, self.ids)
        return self._odd_before

    def _energies(self, energies_eV: NDArray[np.float64]) -> Finding | None:
        beyond = np.abs(energies_eV - self._middle) - self._half
        outside = np.flatnonzero(~(beyond <= 0.0))
        if len(outside) == 0:
            return None
        outside = outside[np.argsort(-beyond[outside])]
        return Finding(
            "energy",
            tuple(outside.tolist()),
            f"the energy of {self._name(outside)} is outside of its element's range in training",
        )

    def _unusual(self, atoms: Atoms, current: bool) -> Finding | None:
        kernel = self._at_hand()
        if current and kernel is not None and self._student is not None:
            score = self._score(kernel_features(kernel, self._student))
        else:
            score = self._score(self._evaluated(atoms))
        outside = np.flatnonzero(score > 1.0)
        if len(outside) == 0:
            return None
        outside = outside[np.argsort(-score[outside])]
        return Finding(
            "environment",
            tuple(outside.tolist()),
            f"the surroundings of {self._name(outside)} are unlike any in training "
            f"({score[outside[0]]:.2f} of the limit)",
        )

    def _score(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        assert self._environments is not None
        score = self._environments.unusual_grouped(self._groups, features)
        return score / self._environments.limit

    def _evaluated(self, atoms: Atoms) -> NDArray[np.floating]:
        if self._fresh is None:
            assert self._student is not None
            self._fresh = make_features(self._student)
        return self._fresh(atoms)

    def _at_hand(self) -> NativeKernel | None:
        """Return the calculator's kernel if its features are in the order of the atoms."""
        if len(self._for) >= SORTED_FROM_ATOMS:
            return None
        kernel: NativeKernel | None = getattr(self._calculator.engine, "kernel", None)
        return kernel
