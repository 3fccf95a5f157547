"""NequIP (doi:10.1038/s41467-022-29939-5), compiled ahead of time as its own tools do."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator

from mlff_md.bench.packages.common import (
    CUTOFF_A,
    ELEMENTS,
    NEIGHBORS_PER_ATOM,
    SEED,
    parameter_count,
)


def nequip(features: int, layers: int) -> Calculator:
    """Return a random NequIP with l = 1; making it takes a minute or two of compiling."""
    import torch

    integration: Any = importlib.import_module("nequip.integrations.ase")
    calculator_class: Any = integration.NequIPCalculator

    class OwnDtype(calculator_class):
        # NequIP takes positions in torch's default type and sets that to float64 for the process.
        def calculate(self, *arguments: Any, **options: Any) -> None:
            before = torch.get_default_dtype()
            torch.set_default_dtype(torch.float64)
            try:
                super().calculate(*arguments, **options)
            finally:
                torch.set_default_dtype(before)

    with _as_nequip_wants():
        _, path, count = _compiled_model(features, layers)
        calculator = OwnDtype.from_compiled_model(
            path, device="cpu", chemical_species_to_atom_type_map=True
        )
    calculator.num_parameters = count
    return calculator


@lru_cache
def _compiled_model(features: int, layers: int) -> tuple[Any, str, int]:
    """Compile a random model with AOTInductor, as ``nequip-compile --target ase`` does.

    Returns
    -------
    The folder, which lives as long as the process, the file in it, and the number of parameters.
    """
    import torch
    from ase.build import molecule

    data: Any = importlib.import_module("nequip.data")
    models: Any = importlib.import_module("nequip.model")
    integrations: Any = importlib.import_module("nequip.integrations.utils")
    targets: Any = importlib.import_module("nequip.scripts._compile_utils")
    keys: Any = importlib.import_module("nequip.utils.aoti_metadata")
    state: Any = importlib.import_module("nequip.utils.global_state")
    aot: Any = importlib.import_module("nequip.utils.aot")

    names = list(ELEMENTS)
    model = models.NequIPGNNModel(
        seed=SEED,
        model_dtype="float32",
        r_max=CUTOFF_A,
        type_names=names,
        num_layers=layers,
        l_max=1,
        parity=False,
        num_features=features,
        avg_num_neighbors=NEIGHBORS_PER_ATOM,
        per_type_energy_scales=1.0,
        per_type_energy_shifts=0.0,
    ).eval()
    count = parameter_count(model)
    target = targets.COMPILE_TARGET_DICT["ase"]
    # An example with a cell: without one the stress is no number, and NequIP compares it.
    example = molecule("CH3CH2OH", cell=[12.0] * 3, pbc=True)
    graph = data.from_ase(example)
    for step in integrations.basic_transforms(
        model.metadata, CUTOFF_A, names, {name: name for name in names}
    ):
        graph = step(graph)
    dim = torch.export.Dim
    ranges = {
        "graph": dim.STATIC,
        "node": dim("num_nodes", min=2),
        "edge": dim("num_edges", min=2),
    }
    described = {**model.metadata, **state.get_latest_global_state(only_metadata_related=True)}
    metadata = {
        key: str(int(value)) if isinstance(value, bool) else str(value)
        for key, value in described.items()
    }
    metadata[keys.NEQUIP_AOTI_INPUTS_KEY] = keys.serialize_aoti_keys(target["input"])
    metadata[keys.NEQUIP_AOTI_OUTPUTS_KEY] = keys.serialize_aoti_keys(target["output"])
    directory = tempfile.TemporaryDirectory(prefix="mlff-md-")
    path = str(Path(directory.name, "model.nequip.pt2"))
    aot.aot_export_model(
        model=model,
        device="cpu",
        input_fields=target["input"],
        output_fields=target["output"],
        data=target["data_settings"](graph),
        batch_map=target["batch_map_settings"](ranges),
        output_path=path,
        inductor_configs={"aot_inductor.metadata": metadata},
    )
    return directory, path, count


@contextmanager
def _as_nequip_wants() -> Iterator[None]:
    """Let NequIP have its settings of torch and e3nn, and take them back after."""
    import torch

    e3nn: Any = importlib.import_module("e3nn")
    dynamo: Any = importlib.import_module("torch._dynamo")
    state: Any = importlib.import_module("nequip.utils.global_state")
    optimization = e3nn.get_optimization_defaults()
    touched = ("capture_dynamic_output_shape_ops", "capture_scalar_outputs")
    with dynamo.config.patch({name: getattr(dynamo.config, name) for name in touched}):
        try:
            state.set_global_state()
            # The first call of the above sets these; NequIP expects them at every other, too.
            torch.set_default_dtype(torch.float64)
            dynamo.config.capture_dynamic_output_shape_ops = True
            dynamo.config.capture_scalar_outputs = True
            yield
        finally:
            e3nn.set_optimization_defaults(**optimization)
