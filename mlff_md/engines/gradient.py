"""Energies and edge gradients of a student by a hand-written reverse pass.

The same function as autograd of :class:`~mlff_md.student.network.StudentForceField` (the tests
hold the two together at 1e-12), written out: the graph that torch runs, scripts or exports then
has no autograd in it, and keeps only the intermediates that the reverse pass needs. The layers
stand in :mod:`mlff_md.engines.reversible_layer`; here is what is around them, from edge vectors
to what the layers see of a pair, and back.

A pair's energy derivative by its distance, ``ē``, and by its unit vector ``u``, ``g``, come from
the layers; the gradient of its vector is ``(ē - (g·u) / r) u + g / r``. The radial functions are
those of the distance that the network is shown, see :mod:`mlff_md.student.prior`.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlff_md.engines.reversible_layer import (
    Adjoints,
    PairGeometry,
    ReversibleLayer,
    Tape,
    silu_derivative,
)
from mlff_md.student.network import Interaction, StudentForceField, harmonics
from mlff_md.student.prior import (
    FLOOR_END,
    FLOOR_WIDTH,
    ZBL_COEFFICIENTS,
    ZBL_EXPONENTS,
)


class EdgeGradientNetwork(nn.Module):
    """The engine contract in torch: edges in, atomic energies and edge gradients out.

    Parameters
    ----------
    network
        The student; its weights are copied.
    """

    splines: Tensor
    embedding: Tensor
    readout_in_weight: Tensor
    readout_in_bias: Tensor
    readout_out_weight: Tensor
    readout_out_bias: Tensor
    prior_tables: Tensor
    prior_coefficients: Tensor
    prior_exponents: Tensor
    atomic_energies: Tensor

    def __init__(self, network: StudentForceField) -> None:
        super().__init__()
        shape = network.architecture
        self.vector_dim, self.quadrupole_dim = shape.vector_dim, shape.quadrupole_dim
        self.num_species = len(shape.elements)
        self.scale = network.energy_scale_eV
        dtype = network.embedding.weight.dtype
        self.layers = nn.ModuleList(
            ReversibleLayer(cast(Interaction, layer)) for layer in network.layers
        )
        self.register_buffer("splines", network.splines.to(dtype))
        self.grid_start = network.grid_start_A
        self.intervals = shape.num_knots - 1
        self.per_step = self.intervals / (shape.cutoff_A - self.grid_start)
        self.register_buffer("embedding", network.embedding.weight.detach().clone())
        self.register_buffer("readout_in_weight", network.readout_in.weight.detach().clone())
        self.register_buffer("readout_in_bias", network.readout_in.bias.detach().clone())
        self.register_buffer("readout_out_weight", network.readout_out.weight.detach().clone())
        self.register_buffer("readout_out_bias", network.readout_out.bias.detach().clone())
        self.register_buffer("prior_tables", network.prior_tables.to(dtype))
        self.register_buffer("prior_coefficients", torch.tensor(ZBL_COEFFICIENTS, dtype=dtype))
        self.register_buffer("prior_exponents", torch.tensor(ZBL_EXPONENTS, dtype=dtype))
        self.register_buffer("atomic_energies", torch.as_tensor(network.atomic_energies_eV))

    def forward(
        self, species: Tensor, edges: Tensor, vectors: Tensor, local: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate a graph.

        Parameters
        ----------
        species
            int64, shape (N,).
        edges
            int64, shape (2, E): center and neighbor.
        vectors
            Shape (E, 3), Å, of the network's dtype.
        local
            Shape (N,), of the network's dtype: 1 where an atom's energy counts, else 0.

        Returns
        -------
        energies
            float64, shape (N,), eV; zero where not local.
        gradients
            Shape (E, 3), eV/Å: derivative of the summed energies by each edge vector.
        """
        center, neighbor = edges[0], edges[1]
        distance = torch.sqrt((vectors * vectors).sum(1))
        unit = vectors / distance.unsqueeze(1)
        kind = species.index_select(0, center) * self.num_species
        kind = kind + species.index_select(0, neighbor)
        tables = self.prior_tables.index_select(1, kind)
        seen, seen_slope = self._seen_distance(distance, tables[2])
        basis, slope = self._basis(seen)
        slope = slope * seen_slope.unsqueeze(1)
        pairs = PairGeometry(basis, slope, unit, harmonics(unit), center, neighbor)

        atoms = species.shape[0]
        scalars = self.embedding.index_select(0, species)
        no_vectors = scalars.new_zeros((atoms, 3, self.vector_dim))
        no_tensors = scalars.new_zeros((atoms, 5, self.quadrupole_dim))
        features, tensors = no_vectors, no_tensors
        tapes: list[Tape] = []
        for layer in self.layers:
            scalars, features, tensors, tape = layer(scalars, features, tensors, pairs)
            tapes.append(tape)
        hidden = functional.linear(scalars, self.readout_in_weight, self.readout_in_bias)
        output = functional.linear(
            functional.silu(hidden), self.readout_out_weight, self.readout_out_bias
        ).squeeze(1)

        weight = (self.scale * local).unsqueeze(1)
        grad_scalars = (weight * self.readout_out_weight * silu_derivative(hidden)) @ (
            self.readout_in_weight
        )
        grad = Adjoints(grad_scalars, no_vectors, no_tensors)
        grad_distance = torch.zeros_like(distance)
        grad_unit = torch.zeros_like(unit)
        for layer in reversed(self.layers):
            reverse = cast(ReversibleLayer, layer).reverse
            grad, layer_distance, layer_unit = reverse(grad, tapes.pop(), pairs)
            grad_distance = grad_distance + layer_distance
            grad_unit = grad_unit + layer_unit

        prior, prior_derivative = self._prior(distance, tables)
        grad_distance = grad_distance + prior_derivative * local.index_select(0, center)
        across = grad_unit / distance.unsqueeze(1)
        radial = grad_distance - (across * unit).sum(1)
        gradients = radial.unsqueeze(1) * unit + across

        energies = output.double() * self.scale + self.atomic_energies.index_select(0, species)
        energies = energies.index_add(0, center, prior.double()) * local.double()
        return energies, gradients

    def _basis(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the radial functions [E, K + 1] and d/dr of them."""
        place = ((distance - self.grid_start) * self.per_step).clamp(max=float(self.intervals))
        interval = place.floor().clamp(0.0, self.intervals - 1.0)
        t = (place - interval).unsqueeze(1)
        c0, c1, c2, c3 = self.splines.index_select(0, interval.long()).unbind(1)
        basis = c0 + t * (c1 + t * (c2 + t * c3))
        derivative = (c1 + t * (2.0 * c2 + (3.0 * t) * c3)) * self.per_step
        return basis, derivative

    def _seen_distance(self, distance: Tensor, prior_end: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distance that the network is shown [E], Å, and its d/dr."""
        end, width = FLOOR_END * prior_end, FLOOR_WIDTH * prior_end
        t = ((distance - end) / width + 1.0).clamp(0.0, 1.0)
        t3 = t * t * t
        seen = end + width * (t3 * t * (2.5 + t * (t - 3.0)) - 0.5)
        return seen + (distance - end).clamp(min=0.0), t3 * (10.0 + t * (6.0 * t - 15.0))

    def _prior(self, distance: Tensor, tables: Tensor) -> tuple[Tensor, Tensor]:
        """Return half of each pair's short-range repulsion [E], eV, and its d/dr, eV/Å."""
        strength, inverse_length, cutoff = tables[0], tables[1], tables[2]
        x = (distance / cutoff).clamp(max=1.0)
        x5 = x * x * x * x * x
        switch = 1.0 + x5 * x * (x * (48.0 - 21.0 * x) - 28.0)
        switch_slope = -168.0 / cutoff * x5 * (1.0 - x) * (1.0 - x)
        terms = self.prior_coefficients * torch.exp(
            (distance * inverse_length).unsqueeze(1) * -self.prior_exponents
        )
        screening = terms.sum(1)
        screening_slope = -inverse_length * (terms * self.prior_exponents).sum(1)
        coulomb = 0.5 * strength / distance
        energy = coulomb * screening * switch
        slope = coulomb * (
            screening_slope * switch + screening * switch_slope - screening * switch / distance
        )
        return energy, slope
