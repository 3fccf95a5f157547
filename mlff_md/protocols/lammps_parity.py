"""The report of ``mlff-md lammps parity``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlff_md.lammps.parity import Evaluated, Parity
from mlff_md.protocols.provenance import describe_calculator, describe_structure, environment
from mlff_md.protocols.records import Check, Report, Threshold, overall_verdict
from mlff_md.protocols.thresholds import THRESHOLDS

_BLIND_TO = "whether the student is right: both sides run the same one; what happens in motion"


def parity_report(
    evaluated: Evaluated,
    parity: Parity,
    calculator: Any,
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
) -> Report:
    """Judge how far LAMMPS and the ASE calculator are apart.

    Parameters
    ----------
    evaluated, parity
        From :mod:`mlff_md.lammps.parity`.
    calculator
        The ASE calculator; its dtype chooses the limits.
    thresholds
        Limits.
    """
    description = describe_calculator(calculator)
    suffix = "_float64" if description.get("dtype") == "float64" else ""
    values = {
        "lammps_force": ("Forces", parity.force_eV_per_A),
        "lammps_energy": ("Energy", parity.energy_eV_per_atom),
    }
    checks = [
        _check(name, title, value, thresholds[f"{name}{suffix}"])
        for name, (title, value) in values.items()
    ]
    if parity.pressure is not None:
        checks.append(
            _check("lammps_pressure", "Pressure", parity.pressure, thresholds["lammps_pressure"])
        )
    student = description.get("student", "calculator")
    formula = evaluated.atoms().get_chemical_formula()
    return Report(
        command="lammps parity",
        title=f"{student} in LAMMPS and in ASE, {formula}",
        verdict=overall_verdict(checks),
        checks=tuple(checks),
        provenance={
            **environment(),
            "lammps": evaluated.lammps,
            "calculator": description,
            "structure": describe_structure(evaluated.atoms()),
        },
    )


def _check(name: str, title: str, value: float, limit: Threshold) -> Check:
    unit = "" if limit.unit == "1" else f" {limit.unit}"
    return Check(
        id=name,
        title=f"{title} are those of ASE" if title == "Forces" else f"{title} is that of ASE",
        verdict="pass" if value <= limit.value else "fail",
        value=value,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to=_BLIND_TO,
        summary=f"largest difference {value:.1e}{unit} (limit {limit.value:.0e})",
    )
