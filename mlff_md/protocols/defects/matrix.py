"""The mutation matrix: every defect against every check, on one structure and calculator."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_md.errors import ConfigError
from mlff_md.hints import hint
from mlff_md.md import evaluate, relax, run_nvt
from mlff_md.progress import Progress, silent
from mlff_md.protocols import nve_order, static
from mlff_md.protocols.defects.catalog import DEFECTS, Defect, cutoff_for, with_defect
from mlff_md.protocols.nve_order_checks import dt_order, reversibility
from mlff_md.protocols.nve_replicas import FRICTION_PER_PS
from mlff_md.protocols.provenance import (
    calculator_name,
    describe_calculator,
    describe_structure,
    environment,
)
from mlff_md.protocols.records import Check, Report, Threshold, Verdict, overall_verdict
from mlff_md.protocols.static_checks import checks as static_checks
from mlff_md.protocols.thresholds import THRESHOLDS
from mlff_md.velocities import remove_rigid_motion

if TYPE_CHECKING:
    from ase import Atoms

CLEAN = "clean"
_BLIND = "how a defect of another size or kind would show; the drift over replicas"
_SOURCE = "every check must catch the defect named for it, and none a sound calculator"


def self_test(
    atoms: Atoms,
    calculator: Any = None,
    *,
    timestep_fs: float = 0.5,
    temperature_K: float = 300.0,
    equilibration_fs: float = 250.0,
    relax_first: bool = True,
    starts: int = 3,
    order_steps: int = 200,
    reversal_steps: int = 100,
    seed: int = 0,
    defects: Sequence[str] = tuple(DEFECTS),
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
    progress: Progress | None = None,
) -> Report:
    """Give a calculator each defect in turn and see whether the check named for it fails.

    The static protocol, the order of the integrator and time reversal are run for the
    calculator as it is and with each defect, from the same thermal starts.

    Parameters
    ----------
    atoms, calculator
        Structure and any ASE calculator; ``atoms.calc`` unless given.
    timestep_fs, temperature_K, equilibration_fs, relax_first, seed
        As in :func:`mlff_md.protocols.nve.run`.
    starts
        Starts of the dynamic checks; 0 leaves them out, for calculators that are too slow.
    order_steps, reversal_steps
        As in :func:`mlff_md.protocols.nve.run`.
    defects
        Ids of :data:`mlff_md.protocols.defects.DEFECTS`.
    thresholds
        Limits.
    progress
        Told of each defect.

    Returns
    -------
    Report
        One check per defect: ``pass`` if it was caught by its check (or, if harmless, by none),
        ``fail`` if not, ``inconclusive`` if the calculator fails that check without the defect.
        Its details hold the verdict of every check.

    Raises
    ------
    ConfigError, StructureError, SimulationError
        If the calculator cannot be run as it is.
    """
    unknown = [name for name in defects if name not in DEFECTS]
    if unknown:
        raise ConfigError(f"there is no defect {unknown[0]!r}; {hint(unknown[0], DEFECTS)}")
    calculator = calculator if calculator is not None else atoms.calc
    evaluate(atoms, calculator)
    told = progress or silent
    told.begin("self-test", len(defects) + 1)
    try:
        start = relax(atoms, calculator) if relax_first else atoms
        cutoff_A = cutoff_for(start)
        thermal = [
            _thermal(start, calculator, timestep_fs, temperature_K, equilibration_fs, (seed, k))
            for k in range(starts)
        ]
        rows: dict[str, dict[str, Check]] = {}
        for done, name in enumerate((CLEAN, *defects), 1):
            mutant = with_defect(name, calculator, cutoff_A) if name != CLEAN else calculator
            steps = (order_steps, reversal_steps)
            rows[name] = _judge(start, thermal, mutant, timestep_fs, steps, seed, thresholds)
            told.update(done)
    finally:
        told.end()
    checks = [_clean_check(rows[CLEAN])]
    checks += [_defect_check(DEFECTS[name], rows[name], rows[CLEAN]) for name in defects]
    described = describe_calculator(calculator)
    structure = describe_structure(atoms)
    return Report(
        command="validate-nve --self-test",
        title=f"Self-test: {calculator_name(described)} on {structure['name']}",
        verdict=overall_verdict(checks),
        checks=tuple(checks),
        provenance={
            "calculator": described,
            "structure": structure,
            "settings": {
                "timestep_fs": timestep_fs,
                "temperature_K": temperature_K,
                "starts": starts,
                "order_steps": order_steps,
                "reversal_steps": reversal_steps,
                "seed": seed,
            },
            "environment": environment(),
        },
    )


def table(report: Report) -> str:
    """Return the mutation matrix of a self-test as text: a row per defect, a column per check."""
    letters = {"pass": ".", "fail": "F", "inconclusive": "?"}
    rows = [(check.id, check.details["verdicts"], check.verdict) for check in report.checks]
    columns = list(rows[0][1])
    width = max(len(name) for name, _, _ in rows)
    lines = [f"  {k + 1:2d}  {name}" for k, name in enumerate(columns)]
    lines.append(" " * width + "".join(f"{k + 1:4d}" for k in range(len(columns))))
    for name, verdicts, outcome in rows:
        cells = "".join(f"{letters[verdicts[column]]:>4}" for column in columns)
        lines.append(f"{name:<{width}}{cells}  {outcome}")
    return "\n".join([*lines, "F fails, . passes, ? undecided"])


def _thermal(
    start: Atoms,
    calculator: Any,
    timestep_fs: float,
    temperature_K: float,
    equilibration_fs: float,
    seed: tuple[int, int],
) -> Atoms:
    made = run_nvt(
        start,
        calculator,
        steps=max(1, round(equilibration_fs / timestep_fs)),
        timestep_fs=timestep_fs,
        temperature_K=temperature_K,
        friction_per_ps=FRICTION_PER_PS,
        seed=1000 * seed[0] + seed[1],
        sample_every=10,
    ).atoms
    remove_rigid_motion(made)
    return made


def _judge(
    start: Atoms,
    thermal: Sequence[Atoms],
    calculator: Any,
    timestep_fs: float,
    steps: tuple[int, int],
    seed: int,
    thresholds: Mapping[str, Threshold],
) -> dict[str, Check]:
    """Return the static and dynamic checks of one calculator, by id."""
    with tempfile.TemporaryDirectory(prefix="mlff-md-self-test-") as scratch:
        raw = Path(scratch)
        record: dict[str, Any] = {
            "calculator": describe_calculator(calculator),
            "structure": {"n_atoms": len(start)},
            "static": static.collect(raw, start, calculator, mode="quick", seed=seed),
        }
        data = static.load(raw, record)
        assert data is not None
        found = list(static_checks(data, thresholds))
        if thermal:
            record["order"] = nve_order.run(
                raw,
                thermal,
                calculator,
                timestep_fs=timestep_fs,
                order_steps=steps[0],
                reversal_steps=steps[1],
            )
            order = nve_order.load(raw, record)
            found.append(dt_order(order, thresholds))
            found.append(reversibility(order, thresholds, data.precision[0]))
    return {check.id: check for check in found}


def _clean_check(row: Mapping[str, Check]) -> Check:
    failed = [check for check in row.values() if check.verdict == "fail"]
    summary = "no check fails" if not failed else f"fails {_names(failed)}"
    return _row_check(CLEAN, "The calculator as it is", row, "fail" if failed else "pass", summary)


def _defect_check(defect: Defect, row: Mapping[str, Check], clean: Mapping[str, Check]) -> Check:
    failed = [
        check
        for name, check in row.items()
        if check.verdict == "fail" and clean[name].verdict != "fail"
    ]
    verdict: Verdict
    if defect.caught_by is None:
        verdict = "fail" if failed else "pass"
        summary = f"harmless, but fails {_names(failed)}" if failed else "no check fails, rightly"
    elif clean[defect.caught_by].verdict == "fail":
        verdict = "inconclusive"
        summary = f"the calculator fails {defect.caught_by} without the defect"
    elif row[defect.caught_by].verdict == "fail":
        verdict = "pass"
        others = [check for check in failed if check.id != defect.caught_by]
        summary = f"caught by {defect.caught_by}: {row[defect.caught_by].summary}"
        summary += f"; also by {_names(others)}" if others else ""
    else:
        verdict = "fail"
        summary = f"{defect.caught_by} does not see it: {row[defect.caught_by].summary}"
        summary += f"; {_names(failed)} does" if failed else ""
    return _row_check(defect.id, defect.meaning, row, verdict, summary)


def _row_check(
    name: str, title: str, row: Mapping[str, Check], verdict: Verdict, summary: str
) -> Check:
    return Check(
        id=name,
        title=title[0].upper() + title[1:],
        verdict=verdict,
        value=None,
        unit="1",
        blind_to=_BLIND,
        summary=summary,
        source=_SOURCE,
        details={
            "verdicts": {check.id: check.verdict for check in row.values()},
            "values": {check.id: check.value for check in row.values()},
        },
    )


def _names(checks: Sequence[Check]) -> str:
    return ", ".join(check.id for check in checks)
