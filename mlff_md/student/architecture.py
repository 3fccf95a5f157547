"""Shape of a student network: what its weights are called and how many there are. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlff_md.errors import StudentFileError

ORGANIC_ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl")
"""Elements of the shipped organic students, in the order of their species indices."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of a compact PaiNN (Schütt et al., ICML 2021, arXiv:2102.03150).

    Attributes
    ----------
    hidden_dim
        Number of scalar features, and of vector features, per atom.
    num_interactions
        Number of message-passing layers.
    num_rbf
        Number of Bessel radial functions.
    cutoff_A
        Neighbors farther than this (Å) are not seen.
    mlp_dim
        Width of the hidden layer of the message and update networks.
        By default 11/16 of ``hidden_dim``, which keeps 128/3/20 within 427,292 parameters.
    elements
        Chemical symbols, in the order of the species indices.
    neighbor_norm
        Messages are divided by the square root of this typical number of neighbors.
    """

    hidden_dim: int = 64
    num_interactions: int = 2
    num_rbf: int = 12
    cutoff_A: float = 5.0
    mlp_dim: int = 0
    elements: tuple[str, ...] = field(default=ORGANIC_ELEMENTS)
    neighbor_norm: float = 12.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(self.elements))
        if self.mlp_dim == 0 and isinstance(self.hidden_dim, int):
            object.__setattr__(self, "mlp_dim", self.hidden_dim * 11 // 16)
        sizes = (self.hidden_dim, self.num_interactions, self.num_rbf, self.mlp_dim)
        if any(not isinstance(size, int) or not 1 <= size <= 4096 for size in sizes):
            raise StudentFileError(f"network sizes must be integers from 1 to 4096, got {sizes}")
        if not 0.5 <= self.cutoff_A <= 50.0 or not self.neighbor_norm > 0.0:
            raise StudentFileError(
                f"cutoff_A must be 0.5..50 Å and neighbor_norm positive, got "
                f"{self.cutoff_A} and {self.neighbor_norm}"
            )
        if not self.elements or len(set(self.elements)) != len(self.elements):
            raise StudentFileError(f"elements must be distinct symbols, got {self.elements}")

    @property
    def readout_dim(self) -> int:
        """Width of the readout's hidden layer."""
        return self.hidden_dim // 2 if self.hidden_dim >= 64 else self.hidden_dim

    def weight_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape of every weight, as stored in a student file.

        The first layer has no incoming vector features, hence no filter for them; the last
        one makes none, hence no gate for them.
        """
        width, mlp, radial = self.hidden_dim, self.mlp_dim, self.num_rbf
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (len(self.elements), width)}
        for layer in range(self.num_interactions):
            messages = (2 if layer == 0 else 3) * width
            gates = (3 if layer < self.num_interactions - 1 else 2) * width
            for name, rows, columns, bias in (
                ("filter", messages, radial, True),
                ("message_in", mlp, width, True),
                ("message_out", messages, mlp, True),
                ("mixing", 2 * width, width, False),
                ("update_in", mlp, 2 * width, True),
                ("update_out", gates, mlp, True),
            ):
                shapes[f"layers.{layer}.{name}.weight"] = (rows, columns)
                if bias:
                    shapes[f"layers.{layer}.{name}.bias"] = (rows,)
        shapes["readout_in.weight"] = (self.readout_dim, width)
        shapes["readout_in.bias"] = (self.readout_dim,)
        shapes["readout_out.weight"] = (1, self.readout_dim)
        shapes["readout_out.bias"] = (1,)
        return shapes

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        total = 0
        for shape in self.weight_shapes().values():
            count = 1
            for size in shape:
                count *= size
            total += count
        return total


SIZES: Mapping[str, Architecture] = {
    "original": Architecture(128, 3, 20, mlp_dim=88),
    "tiny": Architecture(64, 2, 12, mlp_dim=48),
    "ultra-tiny": Architecture(32, 2, 10, mlp_dim=26),
}
"""The three sizes of the project; budgets 427,292 / 77,203 / 21,459 parameters."""
