"""Limits of every check, each with the place it comes from; a user can override any of them."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from mlff_md.errors import ConfigError
from mlff_md.protocols.records import Threshold

_GROMACS = (
    "GROMACS reference manual, mdp option verlet-buffer-tolerance: default 0.005 kJ/mol/ps per "
    "particle, which is 0.05 meV/atom/ps"
)
_GROMACS_FLOOR = (
    "GROMACS reference manual, mdp option verlet-buffer-tolerance: constraints in single precision "
    "alone drift by about 0.0001 kJ/mol/ps per particle, which is 0.001 meV/atom/ps"
)
_ROUNDING = (
    "rounding floor of a model whose forces sum to zero but for {0} arithmetic; measured on "
    "ethanol over 2 ps: 3e-15 (EMT, float64), 2e-5 (GFN2-xTB, from its SCF tolerance)"
)

THRESHOLDS: Mapping[str, Threshold] = MappingProxyType(
    {
        "drift": Threshold(0.05, "meV/atom/ps", f"class B: {_GROMACS}"),
        "drift_class_a": Threshold(0.001, "meV/atom/ps", f"class A: {_GROMACS_FLOOR}"),
        "drift_per_100_steps": Threshold(
            0.1,
            "%",
            "acceptance criterion for distilled students: at most 0.1 % in 100 steps, over 1000 "
            "steps of 0.5 fs or more",
        ),
        "momentum": Threshold(1e-3, "1", _ROUNDING.format("float32")),
        "momentum_float64": Threshold(1e-8, "1", _ROUNDING.format("float64")),
        "temperature": Threshold(
            3.0, "sigma", "three standard errors (99.7 %), Student t over replicas"
        ),
        "stability": Threshold(
            100.0,
            "%",
            "every replica must reach its last step; stability as a gate: Fu et al., "
            "arXiv 2210.07237",
            sense="lower",
        ),
    }
)
"""Check id -> limit. ``drift`` is the limit that judges; ``drift_class_a`` names the better class;
``momentum_float64`` replaces ``momentum`` for calculators that say they compute in float64."""


def with_overrides(
    overrides: Mapping[str, float] | None,
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
) -> Mapping[str, Threshold]:
    """Return the thresholds with some limits replaced; each says that a user set it.

    Parameters
    ----------
    overrides
        Check id -> limit in the unit of that threshold; ``None`` changes nothing.
    thresholds
        What to start from.

    Raises
    ------
    ConfigError
        For an id that does not exist (with near matches), or a limit that is not a number.
    """
    changed = dict(thresholds)
    for name, value in (overrides or {}).items():
        if name not in thresholds:
            near = difflib.get_close_matches(name, thresholds, n=3)
            hint = (
                f"did you mean {' or '.join(near)}?" if near else "known: " + ", ".join(thresholds)
            )
            raise ConfigError(f"there is no threshold {name!r}; {hint}")
        if not (math.isfinite(value) and value >= 0.0):
            raise ConfigError(f"the threshold {name} must be a number, zero or more, got {value}")
        old = thresholds[name]
        unit = "" if old.unit == "1" else f" {old.unit}"
        source = f"set by the user (was {old.value:g}{unit}: {old.source})"
        changed[name] = dataclasses.replace(old, value=float(value), source=source)
    return MappingProxyType(changed)


def parse_overrides(texts: Iterable[str]) -> dict[str, float]:
    """Read ``drift=0.01`` as a command line gives it.

    Raises
    ------
    ConfigError
        If a text is not of the form ID=NUMBER, or an id comes twice.
    """
    overrides: dict[str, float] = {}
    for text in texts:
        name, equals, number = (part.strip() for part in text.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (name and equals and math.isfinite(value)):
            raise ConfigError(f"cannot read the threshold {text!r}; write it as drift=0.01")
        if name in overrides:
            raise ConfigError(f"the threshold {name} is given twice")
        overrides[name] = value
    return overrides
