"""The words that an option takes: all there are for some options, those that are known for others.

Looked up by the option's name, when a command has such an option and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence


def _formats() -> Sequence[str]:
    from mlff_md.exporters import FORMATS

    return tuple(FORMATS)


def _policies() -> Sequence[str]:
    from mlff_md.guard import POLICIES

    return POLICIES


def _ensembles() -> Sequence[str]:
    from mlff_md.lammps.deck import ENSEMBLES

    return ENSEMBLES


def _styles() -> Sequence[str]:
    from mlff_md.lammps.deck import STYLES

    return STYLES


ALL: Mapping[str, Callable[[], Sequence[str]]] = {
    "dtype": lambda: ("float32", "float64"),
    "ensemble": _ensembles,
    "format": _formats,
    "guard": _policies,
    "style": _styles,
}
"""Parameter -> every word that it takes: argparse refuses others, and ``--help`` lists them."""


def known() -> Mapping[str, Sequence[str]]:
    """Return what is known of values that may be other text as well, by the option's name."""
    from mlff_md.engines import ENGINES
    from mlff_md.protocols.drift_lammps import UNITS
    from mlff_md.student import zoo
    from mlff_md.teachers import TEACHERS

    students = zoo.names()
    return {
        "student": students,
        "students": students,
        "words": ("show", "measure", *students),
        "model": (*students, *TEACHERS),
        "teacher": tuple(TEACHERS),
        "engine": ("auto", *ENGINES),
        "device": ("cpu", "cuda"),
        "units": tuple(UNITS),
        "md": ("ase", "lammps", *(f"lammps:{style}" for style in _styles())),
    }
