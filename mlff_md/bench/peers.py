"""Published force fields with random weights, timed through their own ASE calculators.

Times do not depend on the weights. Every peer has a size that its package offers or documents,
the cutoff and elements of our students, and single precision. What is compiled for one number of
atoms ("compiled") has a line of its own beside the plain calculator: it is faster on some sizes
and slower on others, and needs a minute or two for each.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mlff_md.errors import ConfigError

CUTOFF_A = 5.0
ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl")
SEED = 0
_NEIGHBORS = 20.0  # to normalize sums by, as usual for molecules; no influence on the time
_RECOMPILATIONS = 64  # torch gives up after 8, and every size and model is one

Maker = Callable[[], Calculator]


def available() -> dict[str, Maker]:
    """Return the peers whose packages are installed: name -> what makes its calculator.

    A calculator has an attribute ``num_parameters``.
    """
    return {
        name: maker for name, (module, maker) in _PEERS.items() if importlib.util.find_spec(module)
    }


def choose(words: Sequence[str]) -> dict[str, Maker]:
    """Return the installed peers that are asked for.

    Parameters
    ----------
    words
        Beginnings of names, or ``all``.

    Raises
    ------
    ConfigError
        For a word that no installed peer begins with.
    """
    found = available()
    chosen: dict[str, Maker] = {}
    for word in (word.strip() for word in words):
        hits = {name: maker for name, maker in found.items() if word in ("all", name[: len(word)])}
        if not hits or not word:
            known = [name for name in _PEERS if word and name.startswith(word)]
            if known:
                package = _PEERS[known[0]][0]
                raise ConfigError(f"peer {known[0]!r} needs the package {package}: not installed")
            names = ", ".join(found) or "none is installed"
            raise ConfigError(f"no peer {word!r}; there are: {names}")
        chosen |= hits
    return {name: maker for name, maker in found.items() if name in chosen}


def peer_calls(
    peers: Mapping[str, Maker], structure: Atoms, threads: int, tell: Callable[[str], None]
) -> Iterator[tuple[str, Callable[[Atoms], None], int]]:
    """Make peers and try them; a peer that fails is told of in one line, and left out.

    Parameters
    ----------
    peers
        Name -> maker.
    structure
        What will be evaluated.
    threads
        Threads of torch.
    tell
        Called with the lines.

    Yields
    ------
    Name, a call that computes energy and forces, and the number of parameters.
    """
    moved = structure.copy()
    moved.positions += np.random.default_rng(1).normal(scale=0.01, size=moved.positions.shape)
    for name, maker in peers.items():
        try:
            # Standard output is for the table, and some packages talk while they compile.
            with _as_found(), redirect_stdout(sys.stderr):
                calculator = maker()
                compute = _call(calculator, threads)
                for atoms in (structure, moved):
                    compute(atoms)
                    if not np.isfinite(calculator.results["forces"]).all():
                        raise ValueError("its forces are not finite")
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), "")
            tell(f"{name} left out: {type(error).__name__}: {reason[:200]}")
            continue
        yield name, compute, int(getattr(calculator, "num_parameters", 0))


def _call(calculator: Calculator, threads: int) -> Callable[[Atoms], None]:
    import torch

    def compute(atoms: Atoms) -> None:
        # As ASE asks in MD: only the positions have changed. A calculator that is told that
        # everything has may compile itself anew.
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            changes = calculator.check_state(atoms)
            calculator.calculate(atoms, ["energy", "forces"], changes)
        finally:
            torch.set_num_threads(before)

    return compute


@contextmanager
def _as_found() -> Iterator[None]:
    """Keep what packages set for the whole process from reaching the other contenders."""
    import torch

    dtype, silenced = torch.get_default_dtype(), logging.root.manager.disable
    logging.disable(logging.INFO)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        # It can only be read by setting it.
        fusion = torch.jit.set_fusion_strategy([("DYNAMIC", 10)])
        torch.jit.set_fusion_strategy(fusion)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.jit.set_fusion_strategy(fusion)
            logging.disable(silenced)


def _count(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _painn(features: int, layers: int) -> Calculator:
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
    calculator.num_parameters = _count(model)
    return calculator


def _mace(features: int, compiled: bool) -> Calculator:
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
        avg_num_neighbors=_NEIGHBORS,
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
        _allow_recompilations()
    calculator = calculators.MACECalculator(
        models=model,
        device="cpu",
        default_dtype="float32",
        compile_mode="default" if compiled else None,
    )
    calculator.num_parameters = _count(model)
    return calculator


class _TensorNetCalculator(Calculator):
    """TorchMD-NET's calculator, made when the number of neighbors is known.

    Its compiled model pads all atoms to ``max_num_neighbors``; the default of 64 would be
    too few for some structures and a waste of time for small ones.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, features: int, layers: int, compiled: bool) -> None:
        super().__init__()
        self._compiled = compiled
        self._inner: Any = None
        self._folder, self._file, self.num_parameters = _tensornet_file(features, layers)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy", "forces"),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
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
            _allow_recompilations()
        return calculators.TMDNETCalculator(
            str(self._file), compile=self._compiled, max_num_neighbors=most
        )


@lru_cache
def _tensornet_file(features: int, layers: int) -> tuple[Any, Path, int]:
    """Write a random model, as the calculator only takes a file; the folder lives as long as we."""
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
    return directory, path, _count(model)


def _nequip(features: int, layers: int) -> Calculator:
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
        _, path, count = _nequip_file(features, layers)
        calculator = OwnDtype.from_compiled_model(
            path, device="cpu", chemical_species_to_atom_type_map=True
        )
    calculator.num_parameters = count
    return calculator


@lru_cache
def _nequip_file(features: int, layers: int) -> tuple[Any, str, int]:
    """Compile a random model with AOTInductor, as ``nequip-compile --target ase`` does."""
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
        avg_num_neighbors=_NEIGHBORS,
        per_type_energy_scales=1.0,
        per_type_energy_shifts=0.0,
    ).eval()
    count = _count(model)
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


def _allow_recompilations() -> None:
    dynamo: Any = importlib.import_module("torch._dynamo")
    dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, _RECOMPILATIONS)


# NequIP first: compiling it empties the cache of what others have compiled.
_PEERS: dict[str, tuple[str, Maker]] = {
    "nequip l=1 32x4": ("nequip", partial(_nequip, 32, 4)),
    "nequip l=1 64x2": ("nequip", partial(_nequip, 64, 2)),
    "schnetpack PaiNN 128x3": ("schnetpack", partial(_painn, 128, 3)),
    "mace-torch 128x0e": ("mace", partial(_mace, 128, False)),
    "mace-torch 128x0e compiled": ("mace", partial(_mace, 128, True)),
    "mace-torch 64x0e": ("mace", partial(_mace, 64, False)),
    "mace-torch 64x0e compiled": ("mace", partial(_mace, 64, True)),
    "torchmd-net TensorNet 128x2": ("torchmdnet", partial(_TensorNetCalculator, 128, 2, False)),
    "torchmd-net TensorNet 128x2 compiled": (
        "torchmdnet",
        partial(_TensorNetCalculator, 128, 2, True),
    ),
    "torchmd-net TensorNet 64x1": ("torchmdnet", partial(_TensorNetCalculator, 64, 1, False)),
    "torchmd-net TensorNet 64x1 compiled": (
        "torchmdnet",
        partial(_TensorNetCalculator, 64, 1, True),
    ),
}
