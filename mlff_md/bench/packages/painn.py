"""PaiNN (arXiv:2102.03150) in SchNetPack, with the neighbor list that SchNetPack has for MD."""

from __future__ import annotations

import importlib
from typing import Any, TypeVar

from ase.calculators.calculator import Calculator

from mlff_md.bench.packages.common import CUTOFF_A, SEED, parameter_count


def painn(features: int, layers: int) -> Calculator:
    """Return a random PaiNN of a number of features and of message-passing layers."""
    import torch

    loader: Any = importlib.import_module("torch.utils.data.dataloader")
    if not hasattr(loader, "T_co"):
        # SchNetPack 2.0 imports this name, for annotations only; newer versions of torch lack it.
        loader.T_co = TypeVar("T_co", covariant=True)
    spk: Any = importlib.import_module("schnetpack")
    interface: Any = importlib.import_module("schnetpack.interfaces.ase_interface")
    transform: Any = importlib.import_module("schnetpack.transform")

    torch.manual_seed(SEED)
    representation = spk.representation.PaiNN(
        n_atom_basis=features,
        n_interactions=layers,
        radial_basis=spk.nn.GaussianRBF(20, CUTOFF_A),
        cutoff_fn=spk.nn.CosineCutoff(CUTOFF_A),
    )
    model = spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[
            spk.atomistic.Atomwise(n_in=features, output_key="energy"),
            spk.atomistic.Forces(),
        ],
    ).eval()

    class InMemory(interface.SpkCalculator):
        def _load_model(self, model_file: str) -> Any:
            return model

    # The list with a skin is the one that SchNetPack has for MD.
    neighbors = transform.SkinNeighborList(
        transform.MatScipyNeighborList(cutoff=CUTOFF_A), cutoff_skin=0.3
    )
    calculator = InMemory("", neighbors, energy_unit="eV", position_unit="Angstrom")
    calculator.num_parameters = parameter_count(model)
    return calculator
