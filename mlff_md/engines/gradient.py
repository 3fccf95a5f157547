r"""Energies and edge gradients of a student by a hand-written reverse pass.

The same function as autograd of :class:`~mlff_md.student.network.StudentForceField` (the tests
hold the two together at 1e-12), written out: the graph that torch runs, scripts or exports then
has no autograd in it, keeps only the intermediates that the reverse pass needs, and treats the
first layer (no incoming vectors) and the last one (no outgoing vectors) for what they are.

With weights ``W`` and, per pair, the basis ``b(r)``, unit vector ``u`` and filters
``w = W_f b(r)``, a layer computes

==============================================  ==============================================
forward                                         reverse (``ḡ`` is the energy's derivative by g)
==============================================  ==============================================
x = W_2 silu(W_1 h + c_1) + c_2                 h̄ += W_1ᵀ (silu'(.) ∘ W_2ᵀ x̄)
h_i += n Σ_j x¹_j w¹                            w̄¹ = n h̄_i x¹_j,  x̄¹_j += n h̄_i w¹
v_i += n Σ_j x²_j w² u + x³_j w³ v_j            (x²w²)‾ = n v̄_i·u,  ū += n v̄_i x²w², ...
p, q = U v;  s = sqrt(q·q + ε)                  v̄ += Uᵀ (p̄, q̄ + s̄ q / s)
(a, b, c) = W_4 silu(W_3 (h, s) + c_3) + c_4    (h̄, s̄) += W_3ᵀ (silu'(.) ∘ W_4ᵀ (ā, b̄, c̄))
h += a + b (p·q);  v += c p                     ā = h̄,  b̄ = h̄ (p·q),  c̄ = v̄·p, ...
==============================================  ==============================================

and the gradient of a pair's vector is ``(b̄·db/dr) u + (ū - (ū·u) u) / r``. The basis is that of
the distance which the network is shown, see :mod:`mlff_md.student.prior`.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlff_md.student.network import BASIS_SCALE, NORM_EPSILON, Interaction, StudentForceField
from mlff_md.student.prior import (
    FLOOR_END,
    FLOOR_WIDTH,
    ZBL_COEFFICIENTS,
    ZBL_EXPONENTS,
)


class Tape(NamedTuple):
    """What a layer's reverse pass needs of its forward pass (N atoms, E pairs, F features)."""

    message_hidden: Tensor  # [N, H], before the activation
    sent: Tensor  # [E, 2F or 3F], the neighbor's x
    filters: Tensor  # [E, 2F or 3F]
    vectors_sent: Tensor  # [E, 3, F], the neighbor's v; empty in the first layer
    left: Tensor  # [N, 3, F], p
    right: Tensor  # [N, 3, F], q
    length: Tensor  # [N, F], s
    update_hidden: Tensor  # [N, H], before the activation
    gates: Tensor  # [N, 2F or 3F]
    product: Tensor  # [N, F], p.q


def silu_derivative(x: Tensor) -> Tensor:
    """Derivative of x sigmoid(x)."""
    sigmoid = torch.sigmoid(x)
    return sigmoid * (1.0 + x * (1.0 - sigmoid))


class ReversibleLayer(nn.Module):
    """One interaction layer with its reverse pass."""

    filter: Tensor
    message_in_weight: Tensor
    message_in_bias: Tensor
    message_out_weight: Tensor
    message_out_bias: Tensor
    mixing: Tensor
    update_in_weight: Tensor
    update_in_bias: Tensor
    update_out_weight: Tensor
    update_out_bias: Tensor

    def __init__(self, layer: Interaction) -> None:
        super().__init__()
        self.first, self.last, self.width = layer.first, layer.last, layer.width
        # Folding the norm into the filters saves a multiplication per pair and feature.
        filters = torch.cat([layer.filter.weight, layer.filter.bias.unsqueeze(1)], 1) * layer.norm
        self.register_buffer("filter", filters.detach().clone())
        for name in ("message_in", "message_out", "update_in", "update_out"):
            linear = getattr(layer, name)
            self.register_buffer(f"{name}_weight", linear.weight.detach().clone())
            self.register_buffer(f"{name}_bias", linear.bias.detach().clone())
        self.register_buffer("mixing", layer.mixing.weight.detach().clone())

    def forward(
        self,
        scalars: Tensor,
        vectors: Tensor,
        basis: Tensor,
        unit: Tensor,
        center: Tensor,
        neighbor: Tensor,
    ) -> tuple[Tensor, Tensor, Tape]:
        """Return the atoms' new scalar [N, F] and vector [N, 3, F] features, and the tape."""
        width = self.width
        message_hidden = functional.linear(scalars, self.message_in_weight, self.message_in_bias)
        sent = functional.linear(
            functional.silu(message_hidden), self.message_out_weight, self.message_out_bias
        ).index_select(0, neighbor)
        filters = functional.linear(basis, self.filter)
        product = sent * filters
        carried = product[:, width : 2 * width].unsqueeze(1) * unit.unsqueeze(2)
        vectors_sent = torch.empty(0, dtype=scalars.dtype, device=scalars.device)
        if not self.first:
            vectors_sent = vectors.index_select(0, neighbor)
            carried = carried + product[:, 2 * width :].unsqueeze(1) * vectors_sent
        scalars = scalars.index_add(0, center, product[:, :width])
        vectors = vectors.index_add(0, center, carried)

        mixed = functional.linear(vectors, self.mixing)
        left, right = mixed[:, :, :width], mixed[:, :, width:]
        length = torch.sqrt((right * right).sum(1) + NORM_EPSILON)
        update_hidden = functional.linear(
            torch.cat([scalars, length], 1), self.update_in_weight, self.update_in_bias
        )
        gates = functional.linear(
            functional.silu(update_hidden), self.update_out_weight, self.update_out_bias
        )
        inner = (left * right).sum(1)
        scalars = scalars + gates[:, :width] + gates[:, width : 2 * width] * inner
        if not self.last:
            vectors = vectors + gates[:, 2 * width :].unsqueeze(1) * left
        tape = Tape(
            message_hidden, sent, filters, vectors_sent,
            left, right, length, update_hidden, gates, inner,
        )  # fmt: skip
        return scalars, vectors, tape

    def reverse(
        self,
        grad_scalars: Tensor,
        grad_vectors: Tensor,
        tape: Tape,
        basis_derivative: Tensor,
        unit: Tensor,
        center: Tensor,
        neighbor: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the derivatives by the layer's inputs.

        Returns
        -------
        grad_scalars, grad_vectors
            By the features that came in, [N, F] and [N, 3, F].
        grad_distance, grad_unit
            This layer's part of the derivatives by each pair's distance [E] and unit vector
            [E, 3].
        """
        width = self.width
        inner_gate = tape.gates[:, width : 2 * width]
        grad_inner = (grad_scalars * inner_gate).unsqueeze(1)
        grad_left = grad_inner * tape.right
        grad_right = grad_inner * tape.left
        grad_gates = torch.cat([grad_scalars, grad_scalars * tape.product], 1)
        if not self.last:
            grad_left = grad_left + grad_vectors * tape.gates[:, 2 * width :].unsqueeze(1)
            grad_gates = torch.cat([grad_gates, (grad_vectors * tape.left).sum(1)], 1)
        grad_hidden = (grad_gates @ self.update_out_weight) * silu_derivative(tape.update_hidden)
        grad_input = grad_hidden @ self.update_in_weight
        grad_scalars = grad_scalars + grad_input[:, :width]
        grad_right = grad_right + (grad_input[:, width:] / tape.length).unsqueeze(1) * tape.right
        grad_mixed = torch.cat([grad_left, grad_right], 2) @ self.mixing
        grad_vectors = grad_mixed if self.last else grad_vectors + grad_mixed

        grad_carried = grad_vectors.index_select(0, center)
        product = tape.sent[:, width : 2 * width] * tape.filters[:, width : 2 * width]
        grad_unit = (grad_carried * product.unsqueeze(1)).sum(2)
        grad_product = torch.cat(
            [
                grad_scalars.index_select(0, center),
                (grad_carried * unit.unsqueeze(2)).sum(1),
            ],
            1,
        )
        if not self.first:
            along = (grad_carried * tape.vectors_sent).sum(1)
            grad_product = torch.cat([grad_product, along], 1)
            weight = tape.sent[:, 2 * width :] * tape.filters[:, 2 * width :]
            grad_vectors = grad_vectors.index_add(0, neighbor, grad_carried * weight.unsqueeze(1))
        grad_basis = (grad_product * tape.sent) @ self.filter
        grad_distance = (grad_basis * basis_derivative).sum(1)
        if not self.first:
            # The first layer's messages depend on the species alone: nothing flows further back.
            grad_sent = torch.zeros(
                (tape.message_hidden.shape[0], 3 * width),
                dtype=grad_product.dtype,
                device=grad_product.device,
            ).index_add(0, neighbor, grad_product * tape.filters)
            grad_hidden = (grad_sent @ self.message_out_weight) * silu_derivative(
                tape.message_hidden
            )
            grad_scalars = grad_scalars + grad_hidden @ self.message_in_weight
        return grad_scalars, grad_vectors, grad_distance, grad_unit


class EdgeGradientNetwork(nn.Module):
    """The engine contract in torch: edges in, atomic energies and edge gradients out.

    Parameters
    ----------
    network
        The student; its weights are copied.
    """

    frequencies: Tensor
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
        self.width, self.cutoff = shape.hidden_dim, shape.cutoff_A
        self.num_species = len(shape.elements)
        self.scale = network.energy_scale_eV
        dtype = network.embedding.weight.dtype
        self.layers = nn.ModuleList(
            ReversibleLayer(cast(Interaction, layer)) for layer in network.layers
        )
        frequencies = torch.arange(1, shape.num_rbf + 1, dtype=torch.float64) * math.pi
        self.register_buffer("frequencies", (frequencies / shape.cutoff_A).to(dtype))
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
        basis, basis_derivative = self._basis(seen)
        basis_derivative = basis_derivative * seen_slope.unsqueeze(1)

        scalars = self.embedding.index_select(0, species)
        features = torch.zeros(
            (species.shape[0], 3, self.width), dtype=vectors.dtype, device=vectors.device
        )
        tapes: list[Tape] = []
        for layer in self.layers:
            scalars, features, tape = layer(scalars, features, basis, unit, center, neighbor)
            tapes.append(tape)
        hidden = functional.linear(scalars, self.readout_in_weight, self.readout_in_bias)
        output = functional.linear(
            functional.silu(hidden), self.readout_out_weight, self.readout_out_bias
        ).squeeze(1)

        weight = (self.scale * local).unsqueeze(1)
        grad_scalars = (weight * self.readout_out_weight * silu_derivative(hidden)) @ (
            self.readout_in_weight
        )
        grad_features = torch.zeros_like(features)
        grad_distance = torch.zeros_like(distance)
        grad_unit = torch.zeros_like(unit)
        for layer in reversed(self.layers):
            reverse = cast(ReversibleLayer, layer).reverse
            grad_scalars, grad_features, layer_distance, layer_unit = reverse(
                grad_scalars, grad_features, tapes.pop(), basis_derivative, unit, center, neighbor
            )
            grad_distance = grad_distance + layer_distance
            grad_unit = grad_unit + layer_unit

        prior, prior_derivative = self._prior(distance, tables)
        grad_distance = grad_distance + prior_derivative * local.index_select(0, center)
        along = (grad_unit * unit).sum(1)
        gradients = (grad_distance - along / distance).unsqueeze(
            1
        ) * unit + grad_unit / distance.unsqueeze(1)

        energies = output.double() * self.scale + self.atomic_energies.index_select(0, species)
        energies = energies.index_add(0, center, prior.double()) * local.double()
        return energies, gradients

    def _basis(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the enveloped Bessel functions and the envelope [E, K + 1], and d/dr of both."""
        x = (distance / self.cutoff).clamp(max=1.0)
        x5 = x * x * x * x * x
        switch = 1.0 + x5 * x * (x * (48.0 - 21.0 * x) - 28.0)
        slope = (-168.0 / self.cutoff) * x5 * (1.0 - x) * (1.0 - x)
        inverse = 1.0 / distance
        phase = distance.unsqueeze(1) * self.frequencies
        wave = torch.sin(phase) * (BASIS_SCALE * inverse).unsqueeze(1)
        wave_slope = (torch.cos(phase) * self.frequencies * BASIS_SCALE - wave) * inverse.unsqueeze(
            1
        )
        basis = torch.cat([wave * switch.unsqueeze(1), switch.unsqueeze(1)], 1)
        derivative = torch.cat(
            [
                wave_slope * switch.unsqueeze(1) + wave * slope.unsqueeze(1),
                slope.unsqueeze(1),
            ],
            1,
        )
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
