"""Published force fields with random weights, timed through their own ASE calculators.

Here is which there are and how they are asked fairly; :mod:`mlff_md.bench.packages` makes them.
Times do not depend on the weights. Every peer has a size that its package offers or documents,
the cutoff and elements of our students, and single precision. What is compiled for one number of
atoms ("compiled") has a line of its own beside the plain calculator: it is faster on some sizes
and slower on others, and needs a minute or two for each.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlff_md.bench.packages.mace import mace
from mlff_md.bench.packages.nequip import nequip
from mlff_md.bench.packages.painn import painn
from mlff_md.bench.packages.tensornet import TensorNetCalculator
from mlff_md.errors import ConfigError

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


# NequIP first: compiling it empties the cache of what others have compiled.
_PEERS: dict[str, tuple[str, Maker]] = {
    "nequip l=1 32x4": ("nequip", partial(nequip, 32, 4)),
    "nequip l=1 64x2": ("nequip", partial(nequip, 64, 2)),
    "schnetpack PaiNN 128x3": ("schnetpack", partial(painn, 128, 3)),
    "mace-torch 128x0e": ("mace", partial(mace, 128, False)),
    "mace-torch 128x0e compiled": ("mace", partial(mace, 128, True)),
    "mace-torch 64x0e": ("mace", partial(mace, 64, False)),
    "mace-torch 64x0e compiled": ("mace", partial(mace, 64, True)),
    "torchmd-net TensorNet 128x2": ("torchmdnet", partial(TensorNetCalculator, 128, 2, False)),
    "torchmd-net TensorNet 128x2 compiled": (
        "torchmdnet",
        partial(TensorNetCalculator, 128, 2, True),
    ),
    "torchmd-net TensorNet 64x1": ("torchmdnet", partial(TensorNetCalculator, 64, 1, False)),
    "torchmd-net TensorNet 64x1 compiled": (
        "torchmdnet",
        partial(TensorNetCalculator, 64, 1, True),
    ),
}
