r"""One interaction layer of a student, with its reverse pass written out.

With weights ``W`` and, per pair, the basis ``b(r)``, unit vector ``u``, quadrupole ``y(u)`` and
filters ``w = W_f b(r)``, a layer computes (``ḡ``: the energy's derivative by g; ``T p`` is tensor
times vector, feature by feature)

==============================================  ==============================================
forward                                         reverse
==============================================  ==============================================
x = W_2 silu(W_1 h + c_1) + c_2                 h̄ += W_1ᵀ (silu'(.) ∘ W_2ᵀ x̄)
h_i += n Σ_j x¹_j w¹                            w̄¹ = n h̄_i x¹_j,  x̄¹_j += n h̄_i w¹
v_i += n Σ_j x²_j w² u + x⁴_j w⁴ v_j            (x²w²)‾ = n v̄_i·u,  ū += n v̄_i x²w², ...
t_i += n Σ_j x³_j w³ y + x⁵_j w⁵ t_j            (x³w³)‾ = n t̄_i·y,  ȳ += n t̄_i x³w³, ...
p, q = U v;  T = U' t;  z = T p                 v̄ += Uᵀ (p̄, q̄),  t̄ += U'ᵀ T̄
s = |q|, p·q, |T|, z·q                          q̄ += s̄₁ q/|q| + s̄₂ p + s̄₄ z,  z̄ += s̄₄ q, ...
(a, b, c) = W_4 silu(W_3 (h, s) + c_3) + c_4    (h̄, s̄) += W_3ᵀ (silu'(.) ∘ W_4ᵀ (ā, b̄, c̄))
h += a;  v += b p + c z                         ā = h̄,  b̄ = v̄·p,  c̄ = v̄·z,  z̄ += c v̄, ...
==============================================  ==============================================

with norms |q| = sqrt(q·q + ε). The first layer (no incoming vectors) and the last one (no outgoing
vectors) are treated for what they are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlff_md.student.architecture import NORM_EPSILON
from mlff_md.student.network import SQRT3, Interaction, turn


class Tape(NamedTuple):
    """What a layer's reverse pass needs of its forward pass.

    N atoms with F scalars, V vectors and Q tensors each, E pairs with M filters, H hidden units.
    """

    message_hidden: Tensor  # [N, H], before the activation
    sent: Tensor  # [E, M], the neighbor's x
    filters: Tensor  # [E, M]
    vectors_sent: Tensor  # [E, 3, V], the neighbor's v; empty in the first layer
    tensors_sent: Tensor  # [E, 5, Q], the neighbor's t; empty in the first layer
    left: Tensor  # [N, 3, V], p
    right: Tensor  # [N, 3, V], q
    turning: Tensor  # [N, 5, Q], T
    turned: Tensor  # [N, 3, Q], z
    length: Tensor  # [N, V], |q|
    size: Tensor  # [N, Q], |T|
    update_hidden: Tensor  # [N, H], before the activation
    gates: Tensor  # [N, F + V + Q], or [N, F] in the last layer


class PairGeometry(NamedTuple):
    """What the layers see of the E pairs: K radial functions and their envelope, and directions."""

    basis: Tensor  # [E, K + 1]
    slope: Tensor  # [E, K + 1], d basis / dr
    unit: Tensor  # [E, 3]
    quadrupole: Tensor  # [E, 5]
    center: Tensor  # [E]
    neighbor: Tensor  # [E]


class Adjoints(NamedTuple):
    """Derivatives of the energy by the atoms' features."""

    scalars: Tensor  # [N, F]
    vectors: Tensor  # [N, 3, V]
    tensors: Tensor  # [N, 5, Q]


def turn_reverse(gradient: Tensor, vectors: Tensor) -> Tensor:
    """Return the derivative of :func:`turn` by its tensors [N, 5, Q], given that of its result."""
    a, b, c = gradient.unbind(-2)
    x, y, z = vectors.unbind(-2)
    return torch.stack(
        [
            a * y + b * x,
            b * z + c * y,
            (2.0 * c * z - a * x - b * y) / SQRT3,
            a * z + c * x,
            a * x - b * y,
        ],
        -2,
    )


def harmonics_reverse(gradient: Tensor, unit: Tensor) -> Tensor:
    """Return the derivative by the unit vector [E, 3], given that by its harmonics [E, 5]."""
    xy, yz, z2, xz, x2 = gradient.unbind(-1)
    x, y, z = unit.unbind(-1)
    return torch.stack(
        [
            SQRT3 * (y * xy + z * xz + x * x2),
            SQRT3 * (x * xy + z * yz - y * x2),
            SQRT3 * (y * yz + x * xz) + 3.0 * z * z2,
        ],
        -1,
    )


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
    turning: Tensor
    update_in_weight: Tensor
    update_in_bias: Tensor
    update_out_weight: Tensor
    update_out_bias: Tensor

    def __init__(self, layer: Interaction) -> None:
        super().__init__()
        self.first, self.last = layer.first, layer.last
        self.message_dims, self.gate_dims = list(layer.message_dims), list(layer.gate_dims)
        self.width, self.vector_dim = layer.message_dims[0], layer.vector_dim
        self.quadrupole_dim = layer.quadrupole_dim
        # Folding the norm into the filters saves a multiplication per pair and feature.
        filters = torch.cat([layer.filter.weight, layer.filter.bias.unsqueeze(1)], 1) * layer.norm
        self.register_buffer("filter", filters.detach().clone())
        for name in ("message_in", "message_out", "update_in", "update_out"):
            linear = getattr(layer, name)
            self.register_buffer(f"{name}_weight", linear.weight.detach().clone())
            self.register_buffer(f"{name}_bias", linear.bias.detach().clone())
        self.register_buffer("mixing", layer.mixing.weight.detach().clone())
        self.register_buffer("turning", layer.turning.weight.detach().clone())

    def forward(
        self, scalars: Tensor, vectors: Tensor, tensors: Tensor, pairs: PairGeometry
    ) -> tuple[Tensor, Tensor, Tensor, Tape]:
        """Return the atoms' new scalars [N, F], vectors [N, 3, V], tensors [N, 5, Q], the tape."""
        center, neighbor = pairs.center, pairs.neighbor
        message_hidden = functional.linear(scalars, self.message_in_weight, self.message_in_bias)
        sent = functional.linear(
            functional.silu(message_hidden), self.message_out_weight, self.message_out_bias
        ).index_select(0, neighbor)
        filters = functional.linear(pairs.basis, self.filter)
        parts = (sent * filters).split(self.message_dims, 1)
        to_vectors = parts[1].unsqueeze(1) * pairs.unit.unsqueeze(2)
        to_tensors = parts[2].unsqueeze(1) * pairs.quadrupole.unsqueeze(2)
        vectors_sent = tensors_sent = torch.empty(0, dtype=scalars.dtype, device=scalars.device)
        if not self.first:
            vectors_sent = vectors.index_select(0, neighbor)
            tensors_sent = tensors.index_select(0, neighbor)
            to_vectors = to_vectors + parts[3].unsqueeze(1) * vectors_sent
            to_tensors = to_tensors + parts[4].unsqueeze(1) * tensors_sent
        scalars = scalars.index_add(0, center, parts[0])
        vectors = vectors.index_add(0, center, to_vectors)
        tensors = tensors.index_add(0, center, to_tensors)

        left, right = functional.linear(vectors, self.mixing).split(self.vector_dim, 2)
        turning = functional.linear(tensors, self.turning)
        turned = turn(turning, left[:, :, : self.quadrupole_dim])
        length = torch.sqrt((right * right).sum(1) + NORM_EPSILON)
        size = torch.sqrt((turning * turning).sum(1) + NORM_EPSILON)
        bent = (turned * right[:, :, : self.quadrupole_dim]).sum(1)
        invariants = torch.cat([scalars, length, (left * right).sum(1), size, bent], 1)
        update_hidden = functional.linear(invariants, self.update_in_weight, self.update_in_bias)
        gates = functional.linear(
            functional.silu(update_hidden), self.update_out_weight, self.update_out_bias
        )
        if self.last:
            scalars = scalars + gates
        else:
            gate, for_left, for_turned = gates.split(self.gate_dims, 1)
            scalars = scalars + gate
            vectors = vectors + for_left.unsqueeze(1) * left
            vectors = vectors + self._padded(for_turned.unsqueeze(1) * turned)
        tape = Tape(
            message_hidden, sent, filters, vectors_sent, tensors_sent,
            left, right, turning, turned, length, size, update_hidden, gates,
        )  # fmt: skip
        return scalars, vectors, tensors, tape

    def reverse(
        self, grad: Adjoints, tape: Tape, pairs: PairGeometry
    ) -> tuple[Adjoints, Tensor, Tensor]:
        """Return the derivatives by the layer's inputs.

        Returns
        -------
        adjoints
            By the features that came in.
        grad_distance, grad_unit
            This layer's part of the derivatives by each pair's distance [E] and unit vector
            [E, 3].
        """
        return self._reverse_messages(self._reverse_update(grad, tape), tape, pairs)

    def _reverse_update(self, grad: Adjoints, tape: Tape) -> Adjoints:
        """Return the derivatives by what the update started from."""
        small = self.quadrupole_dim
        grad_gates = grad.scalars
        if not self.last:
            grad_left_gate = (grad.vectors * tape.left).sum(1)
            grad_turned_gate = (grad.vectors[:, :, :small] * tape.turned).sum(1)
            grad_gates = torch.cat([grad.scalars, grad_left_gate, grad_turned_gate], 1)
        grad_hidden = (grad_gates @ self.update_out_weight) * silu_derivative(tape.update_hidden)
        dims = [self.width, self.vector_dim, self.vector_dim, small, small]
        parts = (grad_hidden @ self.update_in_weight).split(dims, 1)
        inner, bent = parts[2].unsqueeze(1), parts[4].unsqueeze(1)
        grad_left = inner * tape.right
        grad_right = inner * tape.left + (parts[1] / tape.length).unsqueeze(1) * tape.right
        grad_right = grad_right + self._padded(bent * tape.turned)
        grad_turned = bent * tape.right[:, :, :small]
        if not self.last:
            _, for_left, for_turned = tape.gates.split(self.gate_dims, 1)
            grad_left = grad_left + grad.vectors * for_left.unsqueeze(1)
            grad_turned = grad_turned + grad.vectors[:, :, :small] * for_turned.unsqueeze(1)
        # The tensors are symmetric: their transpose turns the other way.
        grad_left = grad_left + self._padded(turn(tape.turning, grad_turned))
        grad_turning = turn_reverse(grad_turned, tape.left[:, :, :small])
        grad_turning = grad_turning + (parts[3] / tape.size).unsqueeze(1) * tape.turning
        return Adjoints(
            grad.scalars + parts[0],
            grad.vectors + torch.cat([grad_left, grad_right], 2) @ self.mixing,
            grad.tensors + grad_turning @ self.turning,
        )

    def _reverse_messages(
        self, grad: Adjoints, tape: Tape, pairs: PairGeometry
    ) -> tuple[Adjoints, Tensor, Tensor]:
        center, neighbor = pairs.center, pairs.neighbor
        of_scalars = grad.scalars.index_select(0, center)
        of_vectors = grad.vectors.index_select(0, center)
        of_tensors = grad.tensors.index_select(0, center)
        weights = (tape.sent * tape.filters).split(self.message_dims, 1)
        grad_unit = (of_vectors * weights[1].unsqueeze(1)).sum(2)
        grad_quadrupole = (of_tensors * weights[2].unsqueeze(1)).sum(2)
        grad_unit = grad_unit + harmonics_reverse(grad_quadrupole, pairs.unit)
        products = [
            of_scalars,
            (of_vectors * pairs.unit.unsqueeze(2)).sum(1),
            (of_tensors * pairs.quadrupole.unsqueeze(2)).sum(1),
        ]
        grad_vectors, grad_tensors = grad.vectors, grad.tensors
        if not self.first:
            products += [
                (of_vectors * tape.vectors_sent).sum(1),
                (of_tensors * tape.tensors_sent).sum(1),
            ]
            back = of_vectors * weights[3].unsqueeze(1)
            grad_vectors = grad_vectors.index_add(0, neighbor, back)
            back = of_tensors * weights[4].unsqueeze(1)
            grad_tensors = grad_tensors.index_add(0, neighbor, back)
        grad_product = torch.cat(products, 1)
        grad_basis = (grad_product * tape.sent) @ self.filter
        grad_distance = (grad_basis * pairs.slope).sum(1)
        grad_scalars = grad.scalars
        if not self.first:
            # The first layer's messages depend on the species alone: nothing flows further back.
            grad_sent = torch.zeros(
                (tape.message_hidden.shape[0], grad_product.shape[1]),
                dtype=grad_product.dtype,
                device=grad_product.device,
            ).index_add(0, neighbor, grad_product * tape.filters)
            grad_hidden = (grad_sent @ self.message_out_weight) * silu_derivative(
                tape.message_hidden
            )
            grad_scalars = grad_scalars + grad_hidden @ self.message_in_weight
        return Adjoints(grad_scalars, grad_vectors, grad_tensors), grad_distance, grad_unit

    def _padded(self, turned: Tensor) -> Tensor:
        """Extend [N, 3, Q] by zeros to [N, 3, V]."""
        return functional.pad(turned, [0, self.vector_dim - self.quadrupole_dim])
