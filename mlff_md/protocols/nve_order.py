"""Order of the integrator and time reversal: what a drift slope does not see.

Velocity Verlet lets the total energy swing by an amount that falls with the square of the time
step, if the forces are the gradient of an energy with continuous derivatives. Noise, steps at the
cutoff, forces that belong to no energy or to another one leave a swing that falls more slowly or
not at all. The same starts are run for the same time at dt, dt/2 and dt/4, and p in
dE^2 = (a dt^p)^2 + b^2 is fitted, where b is the white noise of the energies themselves.

Velocity Verlet is also reversible for any force that is a function of the positions: n steps, turn
the velocities, n steps. What does not come back has forces with a memory or with chance in them.

References
----------
GROMACS, tests/physicalvalidation: ratio 3.6..4.4 of the fluctuations when the step is halved;
Merz, Shirts, PLOS ONE 13, e0202764 (2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import DataError, SimulationError, StructureError
from mlff_md.md import MdRun, run_nve
from mlff_md.progress import Part, Progress, silent
from mlff_md.protocols.raw import ORDER_FILE, read_arrays, write_arrays

if TYPE_CHECKING:
    from ase import Atoms

LEVELS = 3
_NOISE_SHARE = 0.5


def run(
    raw: Path,
    starts: Sequence[Atoms],
    calculator: Any,
    *,
    timestep_fs: float,
    order_steps: int,
    reversal_steps: int,
    checkpoints: Callable[[str], Mapping[str, Any]] = lambda _: {},
    integrate: Callable[..., MdRun] = run_nve,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run the starts at three time steps and back again; return the entry for the record.

    Parameters
    ----------
    raw
        Folder that gets ``order.npz``.
    starts
        Structures with momenta.
    calculator
        Any ASE calculator.
    timestep_fs
        The largest of the time steps, fs.
    order_steps
        Steps at the largest time step; 0 leaves the order out.
    reversal_steps
        Steps each way; 0 leaves the reversal out.
    checkpoints
        Gives, for the name of a run, its options of :func:`mlff_md.md.run_nve` for restarting.
    integrate
        Runs at constant energy: :func:`mlff_md.md.run_nve` or its like.
    progress
        Told of every step.
    """
    entry: dict[str, Any] = {"timestep_fs": timestep_fs, "starts": len(starts), "errors": []}
    arrays: dict[str, NDArray[np.float64]] = {}
    each = order_steps * (2**LEVELS - 1) + 2 * reversal_steps
    told = progress or silent
    told.begin("order", each * len(starts))
    try:
        for k, start in enumerate(starts):
            try:
                _run_start(
                    arrays,
                    k,
                    start,
                    calculator,
                    entry,
                    order_steps,
                    reversal_steps,
                    checkpoints,
                    integrate,
                    told,
                )
            except (SimulationError, StructureError) as error:
                entry["errors"].append(f"start {k}: {error}")
    finally:
        told.end()
    write_arrays(raw / ORDER_FILE, arrays)
    return {**entry, "file": ORDER_FILE}


def _run_start(
    arrays: dict[str, NDArray[np.float64]],
    k: int,
    start: Atoms,
    calculator: Any,
    entry: Mapping[str, Any],
    order_steps: int,
    reversal_steps: int,
    checkpoints: Callable[[str], Mapping[str, Any]],
    integrate: Callable[..., MdRun],
    progress: Progress,
) -> None:
    offset = k * (order_steps * (2**LEVELS - 1) + 2 * reversal_steps)
    coarse = entry["timestep_fs"]
    for level in range(LEVELS if order_steps else 0):
        part = Part(progress, offset)
        made = integrate(
            start,
            calculator,
            steps=order_steps * 2**level,
            timestep_fs=coarse / 2**level,
            temperature_K=None,
            **checkpoints(f"order-{k}-{level}"),
            progress=part,
        )
        arrays[f"energy_eV.{k}.{level}"] = made.total_energy_eV
        offset += order_steps * 2**level
    if not reversal_steps:
        return
    there = start
    for way in ("there", "back"):
        there = integrate(
            there,
            calculator,
            steps=reversal_steps,
            timestep_fs=coarse,
            temperature_K=None,
            **checkpoints(f"{way}-{k}"),
            progress=Part(progress, offset),
        ).atoms
        there.set_momenta(-there.get_momenta())
        offset += reversal_steps
    arrays[f"return_A.{k}"] = there.positions - start.positions


class OrderData:
    """Energies of the starts at each time step, and how far each came back.

    Attributes
    ----------
    timesteps_fs
        The time steps, the largest first.
    energies_eV
        Start -> total energies at each time step, for starts that made all of them.
    returns_A
        Root mean square displacement after time reversal, for each start that came back.
    errors
        What stopped a start.
    n_atoms
        Atoms of the structure.
    """

    def __init__(self, raw: Path, record: Mapping[str, Any]) -> None:
        entry = record["order"]
        try:
            arrays = read_arrays(raw / Path(entry["file"]).name)
            coarse = float(entry["timestep_fs"])
            starts = range(int(entry["starts"]))
            self.errors = [str(error) for error in entry["errors"]]
            self.n_atoms = int(record["structure"]["n_atoms"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{raw / 'run.json'} is damaged: {error}") from error
        self.timesteps_fs = [coarse / 2**level for level in range(LEVELS)]
        self.energies_eV = [
            [arrays[f"energy_eV.{k}.{level}"] for level in range(LEVELS)]
            for k in starts
            if f"energy_eV.{k}.{LEVELS - 1}" in arrays
        ]
        self.returns_A = [
            math.sqrt(float(np.mean(np.sum(arrays[f"return_A.{k}"] ** 2, axis=1))))
            for k in starts
            if f"return_A.{k}" in arrays
        ]

    def swings(self) -> list[list[tuple[float, float]]]:
        """Return, for each start and time step, swing and white noise of the energy, meV/atom."""
        scale = 1000.0 / self.n_atoms
        return [
            [(scale * detrended_rms(series), scale * white_noise(series)) for series in start]
            for start in self.energies_eV
        ]


def load(raw: Path, record: Mapping[str, Any]) -> OrderData | None:
    """Return the data that a record tells of, or ``None`` if it has none.

    Raises
    ------
    DataError
        If they are damaged.
    """
    return OrderData(raw, record) if record.get("order") else None


def fitted_order(
    timesteps_fs: Sequence[float], swings: Sequence[tuple[float, float]]
) -> tuple[float, list[float]] | None:
    """Return p of one start and its value from each pair of neighboring steps.

    The white noise is taken out; time steps at which it is more than half of the variance say
    nothing and are left out. ``None`` if fewer than two are left.
    """
    points = [
        (math.log(step), 0.5 * math.log(swing**2 - noise**2))
        for step, (swing, noise) in zip(timesteps_fs, swings, strict=True)
        if noise**2 < _NOISE_SHARE * swing**2
    ]
    if len(points) < 2:
        return None
    x, y = np.array(points).T
    local = np.diff(y) / np.diff(x)
    centered = x - x.mean()
    return float(centered @ y / (centered @ centered)), local.tolist()


def detrended_rms(series: NDArray[np.float64]) -> float:
    """Return the root mean square of a series less its least-squares line."""
    t = np.arange(len(series)) - 0.5 * (len(series) - 1)
    centered = series - series.mean()
    residual = centered - t * (float(t @ centered) / float(t @ t))
    return math.sqrt(float(np.mean(residual**2)))


def white_noise(series: NDArray[np.float64]) -> float:
    """Return the standard deviation of white noise in a smooth series.

    From the median of its fourth differences: rare steps, as those at a cutoff, are not noise.
    """
    if len(series) < 10:
        return 0.0
    fourth = np.abs(np.diff(series, n=4))
    return float(np.median(fourth)) / (0.6745 * math.sqrt(70.0))
