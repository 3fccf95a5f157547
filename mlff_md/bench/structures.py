"""Structures of a given size: molecules, and boxes of water beyond them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

from mlff_md.errors import ConfigError

VOLUME_PER_WATER_A3 = 29.9
"""Of liquid water at 298 K."""


def structure_of(num_atoms: int) -> Atoms:
    """Return a structure of about this size: ethanol (9), aspirin (21) or a periodic water box.

    Raises
    ------
    ConfigError
        If there is none of so few atoms.
    """
    from ase.build import molecule
    from ase.io import read

    if num_atoms < 9:
        raise ConfigError(f"the smallest structure has 9 atoms, not {num_atoms}")
    if num_atoms < 21:
        return molecule("CH3CH2OH")
    if num_atoms < 60:
        return read(Path(__file__).with_name("aspirin.xyz"))
    return water_box(num_atoms // 3)


def water_box(molecules: int, seed: int = 0) -> Atoms:
    """Return a cubic box of liquid density: molecules on a grid, each tilted a little at random.

    Not equilibrated: for timing, where the number of neighbors matters. Nothing overlaps.
    """
    from ase.build import molecule
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    side = (molecules * VOLUME_PER_WATER_A3) ** (1 / 3)
    per_side = int(np.ceil(molecules ** (1 / 3) - 1e-9))
    water = molecule("H2O")
    shape = water.positions - water.positions[0]
    grid = np.stack(np.meshgrid(*[np.arange(per_side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    positions = []
    for place in grid[:molecules] * side / per_side:
        rotation = Rotation.from_rotvec(rng.uniform(-0.3, 0.3, 3)).as_matrix()
        positions.append(place + shape @ rotation.T)
    numbers = np.tile(water.numbers, molecules)
    return Atoms(numbers, np.concatenate(positions), cell=[side] * 3, pbc=True)
