"""Shape of a student network: what its weights are called and how many there are. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlff_md.errors import StudentFileError

ORGANIC_ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl")
"""Elements of the shipped organic students, in the order of their species indices."""

NORM_EPSILON = 1e-4
"""Inside the square root of a vector feature's norm: keeps its gradient finite at zero."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of a student network.

    Attributes
    ----------
    hidden_dim
        Number of scalar features per atom.
    num_interactions
        Number of message-passing layers.
    num_rbf
        Number of Bessel radial functions.
    cutoff_A
        Neighbors farther than this (Å) are not seen.
    vector_dim
        Number of vector features per atom; half of ``hidden_dim`` by default.
    quadrupole_dim
        Number of quadrupole features (symmetric traceless tensors) per atom, at most
        ``vector_dim``; a quarter of ``hidden_dim`` by default.
    mlp_dim
        Width of the hidden layer of the message and update networks; ``hidden_dim`` by default.
    elements
        Chemical symbols, in the order of the species indices.
    neighbor_norm
        Messages are divided by the square root of this typical number of neighbors.
    num_knots
        Of the splines that are the radial functions, see :mod:`mlff_md.student.radial`.
    """

    hidden_dim: int = 64
    num_interactions: int = 2
    num_rbf: int = 12
    cutoff_A: float = 5.0
    vector_dim: int = 0
    quadrupole_dim: int = 0
    mlp_dim: int = 0
    elements: tuple[str, ...] = field(default=ORGANIC_ELEMENTS)
    neighbor_norm: float = 12.0
    num_knots: int = 192

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(self.elements))
        if isinstance(self.hidden_dim, int):
            defaults = {"vector_dim": 2, "quadrupole_dim": 4, "mlp_dim": 1}
            for name, divisor in defaults.items():
                if getattr(self, name) == 0:
                    object.__setattr__(self, name, max(1, self.hidden_dim // divisor))
        sizes = (
            *(self.hidden_dim, self.num_interactions, self.num_rbf),
            *(self.vector_dim, self.quadrupole_dim, self.mlp_dim, self.num_knots),
        )
        if any(type(size) is not int or not 1 <= size <= 4096 for size in sizes):
            raise StudentFileError(f"network sizes must be integers from 1 to 4096, got {sizes}")
        if self.num_knots < 4:
            raise StudentFileError(f"splines need at least 4 knots, got {self.num_knots}")
        if self.quadrupole_dim > self.vector_dim:
            raise StudentFileError(
                f"quadrupole_dim must be at most vector_dim, got {self.quadrupole_dim} > "
                f"{self.vector_dim}"
            )
        if not 0.5 <= self.cutoff_A <= 50.0 or not 0.0 < self.neighbor_norm < 1e6:
            raise StudentFileError(
                f"cutoff_A must be 0.5..50 Å and neighbor_norm positive, got "
                f"{self.cutoff_A} and {self.neighbor_norm}"
            )
        if not self.elements or len(set(self.elements)) != len(self.elements):
            raise StudentFileError(f"elements must be distinct symbols, got {self.elements}")

    @property
    def readout_dim(self) -> int:
        """Width of the readout's hidden layer."""
        return max(1, self.hidden_dim // 2)

    def message_dims(self, layer: int) -> tuple[int, ...]:
        """Return how many of each kind of message an atom sends in a layer.

        Scalars, vectors along the pair, quadrupoles of the pair; then, unless it is the first
        layer, where there are none yet, the neighbor's own vectors and quadrupoles.
        """
        fresh = (self.hidden_dim, self.vector_dim, self.quadrupole_dim)
        return fresh if layer == 0 else (*fresh, self.vector_dim, self.quadrupole_dim)

    def gate_dims(self, layer: int) -> tuple[int, ...]:
        """Return what an update gives: scalars and, unless it is the last, gates of two kinds."""
        if layer == self.num_interactions - 1:
            return (self.hidden_dim,)
        return (self.hidden_dim, self.vector_dim, self.quadrupole_dim)

    @property
    def update_dim(self) -> int:
        """Number of invariant features that an update starts from."""
        return self.hidden_dim + 2 * self.vector_dim + 2 * self.quadrupole_dim

    def weight_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape of every weight, as stored in a student file."""
        width, mlp = self.hidden_dim, self.mlp_dim
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (len(self.elements), width)}
        for layer in range(self.num_interactions):
            messages, gates = sum(self.message_dims(layer)), sum(self.gate_dims(layer))
            for name, rows, columns, bias in (
                ("filter", messages, self.num_rbf, True),
                ("message_in", mlp, width, True),
                ("message_out", messages, mlp, True),
                ("mixing", 2 * self.vector_dim, self.vector_dim, False),
                ("turning", self.quadrupole_dim, self.quadrupole_dim, False),
                ("update_in", mlp, self.update_dim, True),
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
    "original": Architecture(128, 3, 20),
    "tiny": Architecture(64, 2, 12),
    "ultra-tiny": Architecture(32, 2, 10, quadrupole_dim=16),
}
"""The three sizes of the project; budgets 427,292 / 77,203 / 21,459 parameters."""
