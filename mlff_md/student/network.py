"""The student network: compact, energy-conserving message passing with a short-range prior.

Atoms carry scalars, vectors and quadrupoles (symmetric traceless tensors), fewer of each in turn.
The frame is PaiNN's (Schütt, Unke and Gastegger, ICML 2021, arXiv:2102.03150): messages filtered
by distance, then an update within each atom that mixes what turns with the molecule only through
invariants and gates. The quadrupoles see angles that vectors cannot tell apart: four tenths off
PaiNN's squared force error at the same number of weights (docs/distilling.md). The filters are
twice continuously differentiable, at the cutoff too, and a prior keeps nuclei apart.

The arithmetic is written once, for any arrangement of the pairs: :class:`EdgeList` (what MD uses)
and :class:`DensePairs` (padded molecules, what training compiles) differ only in how an atom's
features reach its pairs and how messages are summed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlff_md.student.architecture import NORM_EPSILON, ORGANIC_ELEMENTS, Architecture
from mlff_md.student.prior import (
    FLOOR_END,
    FLOOR_WIDTH,
    ZBL_COEFFICIENTS,
    ZBL_EXPONENTS,
    atomic_numbers,
    pair_tables,
    prior_radii,
    shortest_seen_A,
)
from mlff_md.student.radial import BASIS_SCALE, radial_splines

SQRT3 = math.sqrt(3.0)


class Features(NamedTuple):
    """What an atom carries; vectors and quadrupoles are ``None`` before the first layer."""

    scalars: Tensor  # [..., F]
    vectors: Tensor | None  # [..., 3, V]
    quadrupoles: Tensor | None  # [..., 5, Q]


class Geometry(NamedTuple):
    """What the layers see of a pair."""

    basis: Tensor  # [..., K + 1], enveloped Bessel functions and the envelope itself
    unit: Tensor  # [..., 3]
    quadrupole: Tensor  # [..., 5], see harmonics


class Pairs(Protocol):
    """How atoms and pairs are arranged: leading dimensions of node and pair tensors."""

    def neighbors(self, nodes: Tensor) -> Tensor:
        """Return each pair's neighbor's features."""

    def centers(self, nodes: Tensor) -> Tensor:
        """Return each pair's center's features."""

    def sum(self, messages: Tensor) -> Tensor:
        """Sum the messages of each center."""


class EdgeList:
    """Pairs as a list: nodes (N, ...), pairs (E, ...)."""

    def __init__(self, edges: Tensor, num_atoms: int) -> None:
        self._center, self._neighbor = edges[0], edges[1]
        self._num_atoms = num_atoms

    def neighbors(self, nodes: Tensor) -> Tensor:
        """Return (E, ...) features of the neighbors."""
        return nodes.index_select(0, self._neighbor)

    def centers(self, nodes: Tensor) -> Tensor:
        """Return (E, ...) features of the centers."""
        return nodes.index_select(0, self._center)

    def sum(self, messages: Tensor) -> Tensor:
        """Return (N, ...) sums over each center's pairs."""
        total = messages.new_zeros((self._num_atoms, *messages.shape[1:]))
        return total.index_add(0, self._center, messages)


class DensePairs:
    """All pairs of padded molecules: nodes (B, n, ...), pairs (B, n centers, n neighbors, ...).

    Pairs that do not exist (padding, an atom with itself) must have vectors longer than the
    cutoff: the envelope then makes them zero.
    """

    def neighbors(self, nodes: Tensor) -> Tensor:
        """Return (B, 1, n, ...), which broadcasts over the centers."""
        return nodes.unsqueeze(1)

    def centers(self, nodes: Tensor) -> Tensor:
        """Return (B, n, 1, ...), which broadcasts over the neighbors."""
        return nodes.unsqueeze(2)

    def sum(self, messages: Tensor) -> Tensor:
        """Return (B, n, ...) sums over the neighbors."""
        return messages.sum(2)


def envelope(x: Tensor) -> Tensor:
    """Polynomial with f(0) = 1 and f = f' = f'' = 0 at x = 1 and beyond (p = 6)."""
    x = x.clamp(max=1.0)
    return 1.0 + x**6 * (x * (48.0 - 21.0 * x) - 28.0)


def seen_distance(distance: Tensor, prior_end: Tensor) -> Tensor:
    """Return the distance that the network is shown: it levels off below the prior's end.

    See :mod:`mlff_md.student.prior`. Both arguments in Å, of shapes that broadcast.
    """
    end, width = FLOOR_END * prior_end, FLOOR_WIDTH * prior_end
    t = ((distance - end) / width + 1.0).clamp(0.0, 1.0)
    rise = t**4 * (2.5 + t * (t - 3.0))
    return end + width * (rise - 0.5) + (distance - end).clamp(min=0.0)


def harmonics(unit: Tensor) -> Tensor:
    """Return the real spherical harmonics of degree 2, [..., 3] -> [..., 5], of length 1.

    In the order xy, yz, z2, xz, x2-y2: the components of a symmetric traceless tensor.
    """
    x, y, z = unit.unbind(-1)
    return torch.stack(
        [
            SQRT3 * x * y,
            SQRT3 * y * z,
            0.5 * (3.0 * z * z - 1.0),
            SQRT3 * x * z,
            0.5 * SQRT3 * (x * x - y * y),
        ],
        -1,
    )


def turn(tensors: Tensor, vectors: Tensor) -> Tensor:
    """Return tensor times vector, feature by feature: [..., 5, Q], [..., 3, Q] -> [..., 3, Q]."""
    xy, yz, z2, xz, x2 = tensors.unbind(-2)
    x, y, z = vectors.unbind(-2)
    z2 = z2 / SQRT3
    return torch.stack(
        [
            (x2 - z2) * x + xy * y + xz * z,
            xy * x - (x2 + z2) * y + yz * z,
            xz * x + yz * y + 2.0 * z2 * z,
        ],
        -2,
    )


class Interaction(nn.Module):
    """One layer: messages from neighbors, then an update within each atom."""

    def __init__(self, architecture: Architecture, index: int) -> None:
        super().__init__()
        shape = architecture
        width, vectors, tensors = shape.hidden_dim, shape.vector_dim, shape.quadrupole_dim
        self.first = index == 0
        self.last = index == shape.num_interactions - 1
        self.message_dims, self.gate_dims = shape.message_dims(index), shape.gate_dims(index)
        self.filter = nn.Linear(shape.num_rbf, sum(self.message_dims))
        self.message_in = nn.Linear(width, shape.mlp_dim)
        self.message_out = nn.Linear(shape.mlp_dim, sum(self.message_dims))
        self.mixing = nn.Linear(vectors, 2 * vectors, bias=False)
        self.turning = nn.Linear(tensors, tensors, bias=False)
        self.update_in = nn.Linear(shape.update_dim, shape.mlp_dim)
        self.update_out = nn.Linear(shape.mlp_dim, sum(self.gate_dims))
        self.norm = 1.0 / math.sqrt(shape.neighbor_norm)
        self.vector_dim, self.quadrupole_dim = vectors, tensors

    def forward(self, atoms: Features, geometry: Geometry, pairs: Pairs) -> Features:
        """Return the new features of the atoms."""
        scalars, vectors, tensors = atoms
        basis, unit, quadrupole = geometry
        weight = torch.cat([self.filter.weight, self.filter.bias.unsqueeze(1)], 1)
        sent = self.message_out(functional.silu(self.message_in(scalars)))
        parts = (pairs.neighbors(sent) * (basis @ weight.t())).split(self.message_dims, -1)
        to_vectors = unit.unsqueeze(-1) * parts[1].unsqueeze(-2)
        to_tensors = quadrupole.unsqueeze(-1) * parts[2].unsqueeze(-2)
        if vectors is not None and tensors is not None:
            to_vectors = to_vectors + pairs.neighbors(vectors) * parts[3].unsqueeze(-2)
            to_tensors = to_tensors + pairs.neighbors(tensors) * parts[4].unsqueeze(-2)
        scalars = scalars + pairs.sum(parts[0]) * self.norm
        received = pairs.sum(to_vectors) * self.norm
        vectors = received if vectors is None else vectors + received
        received = pairs.sum(to_tensors) * self.norm
        tensors = received if tensors is None else tensors + received

        left, right = self.mixing(vectors).split(self.vector_dim, -1)
        turning = self.turning(tensors)
        turned = turn(turning, left[..., : self.quadrupole_dim])
        invariants = [
            scalars,
            torch.sqrt((right * right).sum(-2) + NORM_EPSILON),
            (left * right).sum(-2),
            torch.sqrt((turning * turning).sum(-2) + NORM_EPSILON),
            (turned * right[..., : self.quadrupole_dim]).sum(-2),
        ]
        hidden = functional.silu(self.update_in(torch.cat(invariants, -1)))
        gates = self.update_out(hidden).split(self.gate_dims, -1)
        scalars = scalars + gates[0]
        if not self.last:
            turned = gates[2].unsqueeze(-2) * turned
            vectors = vectors + gates[1].unsqueeze(-2) * left
            vectors = vectors + functional.pad(turned, (0, self.vector_dim - self.quadrupole_dim))
        return Features(scalars, vectors, tensors)


class StudentForceField(nn.Module):
    """Student network whose forces are the exact gradient of its energy.

    Parameters
    ----------
    hidden_dim, num_interactions, num_rbf, cutoff_A, vector_dim, quadrupole_dim, mlp_dim, elements,
    neighbor_norm, num_knots
        See :class:`mlff_md.student.Architecture`.
    energy_scale_eV
        The network's output is multiplied by this.
    atomic_energies_eV
        Energy of each species that is added to the network's, in float64; zeros by default.
    prior_radii_A
        Radius of each species, Å: the prior ends at the sum of two. 0.7 covalent radii by default.

    Examples
    --------
    >>> StudentForceField(hidden_dim=64, num_interactions=2, num_rbf=12).num_parameters
    68817
    """

    def __init__(
        self,
        hidden_dim: int = 64,
        num_interactions: int = 2,
        num_rbf: int = 12,
        cutoff_A: float = 5.0,
        *,
        vector_dim: int = 0,
        quadrupole_dim: int = 0,
        mlp_dim: int = 0,
        elements: Sequence[str] = ORGANIC_ELEMENTS,
        neighbor_norm: float = 12.0,
        num_knots: int = 192,
        energy_scale_eV: float = 1.0,
        atomic_energies_eV: Sequence[float] | None = None,
        prior_radii_A: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.architecture = Architecture(
            hidden_dim=hidden_dim,
            num_interactions=num_interactions,
            num_rbf=num_rbf,
            cutoff_A=cutoff_A,
            vector_dim=vector_dim,
            quadrupole_dim=quadrupole_dim,
            mlp_dim=mlp_dim,
            elements=tuple(elements),
            neighbor_norm=neighbor_norm,
            num_knots=num_knots,
        )
        shape = self.architecture
        self.embedding = nn.Embedding(len(shape.elements), hidden_dim)
        self.layers = nn.ModuleList(Interaction(shape, index) for index in range(num_interactions))
        self.readout_in = nn.Linear(hidden_dim, shape.readout_dim)
        self.readout_out = nn.Linear(shape.readout_dim, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

        shifts = np.zeros(len(shape.elements)) if atomic_energies_eV is None else atomic_energies_eV
        self.prior_radii_A = tuple(prior_radii_A or prior_radii(shape.elements))
        tables = pair_tables(atomic_numbers(shape.elements), self.prior_radii_A)
        self.energy_scale_eV = float(energy_scale_eV)
        # Not weights: kept out of state_dict, in double precision whatever the weights are in.
        self._atomic_energies = torch.as_tensor(np.array(shifts), dtype=torch.float64)
        self._frequencies = torch.arange(1, num_rbf + 1, dtype=torch.float64) * math.pi / cutoff_A
        self.grid_start_A = shortest_seen_A(self.prior_radii_A)
        self.splines = torch.as_tensor(radial_splines(shape, self.grid_start_A))
        self.prior_tables = torch.as_tensor(tables)

    @classmethod
    def from_architecture(cls, architecture: Architecture, **energies: Any) -> StudentForceField:
        """Return a network of these sizes; ``energies`` are the last three parameters above."""
        return cls(**dataclasses.asdict(architecture), **energies)

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def atomic_energies_eV(self) -> np.ndarray:
        """Energy added for an atom of each species, eV, shape (S,)."""
        return self._atomic_energies.numpy().copy()

    def reduced_energies(
        self, species: Tensor, vectors: Tensor, pairs: Pairs, *, analytic: bool = False
    ) -> Tensor:
        """Return the network's part of each atom's energy, in units of ``energy_scale_eV``.

        Parameters
        ----------
        species
            Integer, shape (...nodes).
        vectors
            Neighbor minus center, Å, shape (...pairs, 3).
        pairs
            How the two are arranged.
        analytic
            Take the radial functions themselves instead of their splines: for training, which
            has no use for the last digits and pays for looking up tables.
        """
        distance = torch.sqrt((vectors * vectors).sum(-1, keepdim=True))
        unit = vectors / distance
        distance = seen_distance(distance, self._pair_tables(species, vectors, pairs)[2, ..., None])
        basis = self._analytic_basis(distance) if analytic else self._spline_basis(distance)
        geometry = Geometry(basis, unit, harmonics(unit))
        atoms = Features(self.embedding(species), None, None)
        for layer in self.layers:
            atoms = layer(atoms, geometry, pairs)
        return self.readout_out(functional.silu(self.readout_in(atoms.scalars))).squeeze(-1)

    def _analytic_basis(self, distance: Tensor) -> Tensor:
        """Return [..., K + 1] for distances [..., 1], see :mod:`mlff_md.student.radial`."""
        switch = envelope(distance / self.architecture.cutoff_A)
        wave = torch.sin(distance * self._frequencies.to(distance))
        return torch.cat([wave * (BASIS_SCALE * switch / distance), switch], -1)

    def _spline_basis(self, distance: Tensor) -> Tensor:
        splines = self.splines.to(distance)
        intervals = splines.shape[0]
        per_step = intervals / (self.architecture.cutoff_A - self.grid_start_A)
        place = ((distance - self.grid_start_A) * per_step).clamp(max=float(intervals))
        interval = place.detach().floor().clamp(0, intervals - 1)
        t = place - interval
        c = splines[interval.squeeze(-1).long()]
        return c[..., 0, :] + t * (c[..., 1, :] + t * (c[..., 2, :] + t * c[..., 3, :]))

    def prior_energies(self, species: Tensor, vectors: Tensor, pairs: Pairs) -> Tensor:
        """Return each atom's share of the short-range repulsion, eV (half of each pair's)."""
        strength, inverse_length, cutoff = self._pair_tables(species, vectors, pairs)
        distance = torch.sqrt((vectors * vectors).sum(-1))
        reduced = distance * inverse_length
        screening = torch.zeros_like(reduced)
        for coefficient, exponent in zip(ZBL_COEFFICIENTS, ZBL_EXPONENTS, strict=True):
            screening = screening + coefficient * torch.exp(-exponent * reduced)
        return pairs.sum(0.5 * strength / distance * screening * envelope(distance / cutoff))

    def _pair_tables(self, species: Tensor, vectors: Tensor, pairs: Pairs) -> Tensor:
        """Return the prior's table (3, ...pairs), see :func:`mlff_md.student.prior.pair_tables`."""
        kind = pairs.centers(species) * len(self.architecture.elements) + pairs.neighbors(species)
        return self.prior_tables.to(vectors)[:, kind]

    def forward(self, species: Tensor, edges: Tensor, vectors: Tensor) -> Tensor:
        """Return atomic energies, eV, float64, shape (N,).

        Parameters
        ----------
        species
            Integer, shape (N,): index into the student's elements.
        edges
            Integer, shape (2, E): center and neighbor of each pair, both directions present.
        vectors
            Neighbor minus center, Å, shape (E, 3).
        """
        pairs = EdgeList(edges, species.shape[0])
        energies = self.reduced_energies(species, vectors, pairs).double() * self.energy_scale_eV
        energies = energies + self.prior_energies(species, vectors, pairs).double()
        return energies + self._atomic_energies.to(vectors.device).index_select(0, species.long())
