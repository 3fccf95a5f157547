"""TensorNet (arXiv:2306.06482) in TorchMD-NET, plain or through torch.compile."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mlff_md.bench.packages.common import CUTOFF_A, SEED, allow_recompilations, parameter_count


class TensorNetCalculator(Calculator):
    """TorchMD-NET's calculator, made when the number of neighbors is known.

    Its compiled model pads all atoms to ``max_num_neighbors``; the default of 64 would be
    too few for some structures and a waste of time for small ones.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, features: int, layers: int, compiled: bool) -> None:
        super().__init__()
        self._compiled = compiled
        self._inner: Any = None
        self._folder, self._file, self.num_parameters = _random_model(features, layers)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy", "forces"),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute energy, eV, and forces, eV/Å; the first call makes and compiles the model."""
        super().calculate(atoms, properties, system_changes)
        if self._inner is None:
            self._inner = self._made()
        # A molecule without a charge in its info is an error there.
        self.atoms.info.setdefault("charge", 0)
        self._inner.calculate(self.atoms, properties, system_changes)
        self.results = self._inner.results

    def _made(self) -> Any:
        from ase.neighborlist import neighbor_list

        pairs = len(neighbor_list("i", self.atoms, CUTOFF_A))
        most = int(np.ceil(1.05 * pairs / len(self.atoms))) + 1  # an atom neighbors itself, too
        calculators: Any = importlib.import_module("torchmdnet.calculators")
        if self._compiled:
            allow_recompilations()
        return calculators.TMDNETCalculator(
            str(self._file), compile=self._compiled, max_num_neighbors=most
        )


@lru_cache
def _random_model(features: int, layers: int) -> tuple[Any, Path, int]:
    """Write a random model, as the calculator only takes a file.

    Returns
    -------
    The folder, which lives as long as the process, the file in it, and the number of parameters.
    """
    import torch

    models: Any = importlib.import_module("torchmdnet.models.model")
    arguments = {
        "model": "tensornet",
        "precision": 32,
        "embedding_dimension": features,
        "num_layers": layers,
        "num_rbf": 32,
        "rbf_type": "expnorm",
        "trainable_rbf": False,
        "activation": "silu",
        "cutoff_lower": 0.0,
        "cutoff_upper": CUTOFF_A,
        "max_z": 100,
        "max_num_neighbors": 64,
        "equivariance_invariance_group": "O(3)",
        "static_shapes": False,
        "derivative": True,
        "atom_filter": -1,
        "prior_model": None,
        "output_model": "Scalar",
        "reduce_op": "add",
        "remove_ref_energy": False,
    }
    torch.manual_seed(SEED)
    model = models.create_model(dict(arguments))
    directory = tempfile.TemporaryDirectory(prefix="mlff-md-")
    path = Path(directory.name, "tensornet.ckpt")
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"hyper_parameters": arguments, "state_dict": weights}, path)
    return directory, path, parameter_count(model)
