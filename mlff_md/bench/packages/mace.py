"""MACE (arXiv:2206.07697) with scalar messages, plain or through torch.compile."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator

from mlff_md.bench.packages.common import (
    CUTOFF_A,
    ELEMENTS,
    NEIGHBORS_PER_ATOM,
    SEED,
    allow_recompilations,
    parameter_count,
)


def mace(features: int, compiled: bool) -> Calculator:
    """Return a random MACE of two layers and a number of features, as its small published ones."""
    import torch
    from ase.data import atomic_numbers

    modules: Any = importlib.import_module("mace.modules")
    calculators: Any = importlib.import_module("mace.calculators")
    o3: Any = importlib.import_module("e3nn.o3")
    torch.manual_seed(SEED)
    blocks = modules.interaction_classes
    model = modules.ScaleShiftMACE(
        r_max=CUTOFF_A,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=blocks["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(f"{features}x0e"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(ELEMENTS)),
        avg_num_neighbors=NEIGHBORS_PER_ATOM,
        atomic_numbers=sorted(atomic_numbers[symbol] for symbol in ELEMENTS),
        correlation=3,
        gate=torch.nn.functional.silu,
        radial_MLP=[64, 64, 64],
        radial_type="bessel",
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    model = model.float().eval()
    if compiled:
        allow_recompilations()
    calculator = calculators.MACECalculator(
        models=model,
        device="cpu",
        default_dtype="float32",
        compile_mode="default" if compiled else None,
    )
    calculator.num_parameters = parameter_count(model)
    return calculator
