"""Drift of a run that someone else made: ASE, LAMMPS, GROMACS, OpenMM, or our own raw data.

The energies are judged by the same checks and limits as those of ``validate-nve``, after it
has been seen whether they can tell a drift at all: digits, thermostats, restarts, jumps. One run
is one replica; its interval then comes from within the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlff_md.errors import ConfigError, DataError
from mlff_md.md_loop import MdRun
from mlff_md.protocols import drift_checks, nve_checks, nve_energy
from mlff_md.protocols.drift_read import read
from mlff_md.protocols.drift_series import (
    MOST_ATOMS,
    Array,
    EnergySeries,
    Trajectory,
    long_enough,
    split,
)
from mlff_md.protocols.nve_data import NveData, Replica
from mlff_md.protocols.nve_figures import figures, quantities
from mlff_md.protocols.provenance import environment
from mlff_md.protocols.records import Check, Report, Threshold, overall_verdict
from mlff_md.protocols.thresholds import THRESHOLDS

_HOTTEST_K = 1e9
_DRIFT_BLIND = "anything but the energy: rerun with validate-nve for the other checks"


@dataclass(frozen=True)
class _ToldRun(MdRun):
    """A run whose file may tell the temperature itself: it alone knows of constraints.

    A whole number of degrees of freedom could not carry it where energies are per atom.
    """

    told_temperature_K: Array | None = None

    @property
    def temperature_K(self) -> Array:
        """Temperature of the file; else by 3 N - 3 degrees of freedom."""
        told = self.told_temperature_K
        return super().temperature_K if told is None else told


def analyze_drift(
    path: str | Path,
    *,
    energies: str | Path | None = None,
    topology: str | Path | None = None,
    timestep_fs: float | None = None,
    every: int | None = None,
    n_atoms: int | None = None,
    units: str | None = None,
    column: str | None = None,
    thermostat: bool | None = None,
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
) -> Report:
    """Judge the energy conservation of a run by its log or trajectory.

    Parameters
    ----------
    path
        LAMMPS log; ASE trajectory (.traj, .extxyz) with energies and momenta; log of ASE's
        MDLogger; .xvg of GROMACS; .csv of OpenMM; any table with named columns; raw data of
        ``validate-nve``; or, with ``energies``, any trajectory that MDAnalysis reads.
    energies
        Table or log of the energies, where the trajectory has none.
    topology
        Topology for MDAnalysis, where the trajectory needs one.
    timestep_fs
        Time step of the integrator, fs, where the file does not tell.
    every
        Steps between frames, where a trajectory does not tell.
    n_atoms
        Number of atoms, where the file does not tell.
    units
        LAMMPS unit style, or unit of energy of a table, where the file does not tell.
    column
        Name of the conserved energy in a table, where it is not found by itself.
    thermostat
        Whether a thermostat or barostat acted, where the file does not tell. Without either word
        the energy is judged as if none had, if it fluctuates little beside the kinetic energy.
    thresholds
        Limits, see :func:`mlff_md.protocols.thresholds.with_overrides`.

    Raises
    ------
    DataError
        If the file is missing, damaged, or has no energies or too few.
    ConfigError
        If something has to be told.

    Examples
    --------
    >>> report = analyze_drift("inputs/logs/lammps-melt.log")
    >>> report.verdict
    'pass'
    """
    if timestep_fs is not None and not timestep_fs > 0.0:
        raise ConfigError(f"timestep_fs must be positive, got {timestep_fs}")
    if min(n_atoms or 1, every or 1) < 1:
        raise ConfigError("n_atoms and every must be at least 1")
    if n_atoms is not None and n_atoms > MOST_ATOMS:
        raise ConfigError(f"n_atoms must be at most {MOST_ATOMS:.0e}")
    found = read(
        Path(path),
        energies=Path(energies) if energies is not None else None,
        topology=Path(topology) if topology is not None else None,
        timestep_fs=timestep_fs,
        every=every,
        n_atoms=n_atoms,
        units=units,
        column=column,
    )
    if thermostat is not None:
        found = replace(found, runs=tuple(_told(run, thermostat) for run in found.runs))
    runs, notes = _pieces(found)
    data = _as_replicas(runs, found)
    checks = _checks(runs, data, thresholds)
    return Report(
        command="drift",
        title=f"{found.source}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}",
        verdict=overall_verdict(checks),
        checks=checks,
        provenance={
            "source": found.source,
            "notes": notes,
            "runs": [
                {
                    "samples": len(run.time_fs),
                    "length_ps": float(np.ptp(run.time_fs)) / 1000.0,
                    "sampled_every_fs": run.spacing_fs,
                    "timestep_fs": run.timestep_fs,
                    "n_atoms": run.n_atoms,
                    "energy": run.quantity,
                    "bath": run.bath,
                }
                for run in runs
            ],
            "environment": environment(),
        },
        quantities=() if _bathed(runs) else quantities(data),
        figures=figures(data, thresholds),
    )


def _told(run: EnergySeries, thermostat: bool) -> EnergySeries:
    """Return a run with what the user says of its bath; what the file says is kept."""
    if run.bath != "unknown":
        return run
    return replace(run, bath="a thermostat, as you say," if thermostat else None)


def _pieces(found: Trajectory) -> tuple[list[EnergySeries], list[str]]:
    """Return the runs to judge: those at constant energy where there are any, each unbroken."""
    notes = list(found.notes)
    free = [run for run in found.runs if run.bath in (None, "unknown")]
    if free and len(free) < len(found.runs):
        notes.append(f"{len(found.runs) - len(free)} runs with a bath were left out")
    pieces: list[EnergySeries] = []
    for run in free or found.runs:
        parts, said = split(run)
        pieces += parts
        notes += said
    kept, said = long_enough(pieces)
    if not kept:
        longest = max((len(piece.time_fs) for piece in pieces), default=0)
        raise DataError(
            f"{found.source}: no run has ten samples or more (the longest has {longest}); too few "
            "to judge a drift"
        )
    return kept, notes + said


def _checks(
    runs: Sequence[EnergySeries], data: NveData, thresholds: Mapping[str, Threshold]
) -> tuple[Check, ...]:
    ensemble = drift_checks.ensemble(runs, thresholds)
    made = [drift_checks.resolution(runs, thresholds), ensemble]
    if _bathed(runs):
        why = (
            "a bath exchanges energy with the atoms, so that a drift says nothing; whether a "
            "thermostat samples what it should is for 'mlff-md validate-nvt'"
        )
        limit = thresholds["drift"]
        made.append(nve_checks.not_judged("drift", "Energy drift", limit, _DRIFT_BLIND, why))
        return tuple(made)
    made.append(drift_checks.jumps(runs, thresholds))
    drift = nve_energy.drift(data, thresholds)
    made.append(drift)
    if all(run.timestep_fs is not None for run in runs):
        made.append(nve_energy.drift_per_100_steps(data, thresholds))
    if all(run.kinetic_eV is not None for run in runs):
        made.append(nve_checks.temperature(data, thresholds, energy=drift.verdict))
    if ensemble.verdict == "inconclusive":
        made = [_unless_a_bath(check) for check in made]
    return tuple(made)


def _unless_a_bath(check: Check) -> Check:
    """Return a check that says what would excuse its failure; it stays one until that is told."""
    if check.verdict != "fail":
        return check
    return replace(check, summary=f"{check.summary}; if a thermostat acted, say --thermostat")


def _bathed(runs: Sequence[EnergySeries]) -> bool:
    return any(run.bath not in (None, "unknown") for run in runs)


def _as_replicas(runs: Sequence[EnergySeries], found: Trajectory) -> NveData:
    """Return the runs in the form that the checks of the NVE protocol judge."""
    replicas = []
    for k, run in enumerate(runs):
        md = _md_run(run)
        resolution = drift_checks.resolution_of(run)
        replicas.append(Replica(k, len(run.time_fs), None, None, md, resolution))
    steps = min(float(np.ptp(r.time_fs)) / (r.timestep_fs or r.spacing_fs) for r in runs)
    kinetic = [np.mean(run.temperature_K) for run in (_md_run(r) for r in runs)]
    settings: dict[str, Any] = {
        "replicas": len(runs),
        "steps": round(steps),
        "timestep_fs": runs[0].timestep_fs or runs[0].spacing_fs,
        "temperature_K": round(float(np.mean(kinetic)), 1),
    }
    record = {"settings": settings, "calculator": {}, "structure": {"name": found.source}}
    return NveData(record, tuple(replicas))


def _md_run(run: EnergySeries) -> MdRun:
    """Return the series as a run; what the file does not tell is zero or not a number."""
    from ase import Atoms

    n = len(run.time_fs)
    kinetic = run.kinetic_eV if run.kinetic_eV is not None else np.zeros(n)
    step = run.timestep_fs or run.spacing_fs
    freedom = max(1, 3 * run.n_atoms - 3) if run.kinetic_eV is not None else 0
    told = run.temperature_K
    if told is not None and not (0.0 <= told.min() and 0.0 < told.max() < _HOTTEST_K):
        told = None  # no temperatures: a damaged column, or a crashed run
    return _ToldRun(
        time_fs=run.time_fs - run.time_fs[0],
        potential_energy_eV=run.energy_eV - kinetic,
        kinetic_energy_eV=kinetic,
        momentum_u_A_per_fs=np.zeros((n, 3)),
        angular_momentum_u_A2_per_fs=np.zeros((n, 3)),
        # Without forces there is no shadow energy.
        force_power_eV_per_fs2=np.full(n, np.nan),
        degrees_of_freedom=freedom,
        timestep_fs=step,
        sample_every=max(1, round(run.spacing_fs / step)),
        n_atoms=run.n_atoms,
        # As many as a file says could take all memory, and no check of energies needs them.
        atoms=Atoms(),
        told_temperature_K=told,
    )
