"""What ``--model`` may be: a shipped student, a student file, or any teacher."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from mlff_md.cli.parser import add_options, chosen, refuse_unused

if TYPE_CHECKING:
    from ase import Atoms


def add_model_options(parser: argparse.ArgumentParser, *, positional: bool = False) -> None:
    """Add ``--model``, or an argument in its place, and the options of the student's calculator."""
    from mlff_md.calculator import StudentForceFieldCalculator

    text = (
        "student (see mlff-md models), .safetensors file, or a teacher: gfn2-xtb, emt, "
        "lammps:..., module:Class"
    )
    if positional:
        parser.add_argument("model", metavar="STUDENT", help=text)
    else:
        parser.add_argument("--model", default="tiny", help=f"{text} (default: tiny)")
    group = parser.add_argument_group("how a student is run")
    group.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    add_options(
        group,  # type: ignore[arg-type]
        StudentForceFieldCalculator.__init__,
        documented_in=StudentForceFieldCalculator,
    )


def make_calculator(arguments: argparse.Namespace) -> Any:
    """Return the ASE calculator that ``--model`` names."""
    from mlff_md.calculator import StudentForceFieldCalculator
    from mlff_md.student import zoo
    from mlff_md.teachers import TEACHERS, is_teacher, teacher

    model = arguments.model
    if not os.path.isfile(model):
        if is_teacher(model):
            names = ("device", "engine", "dtype", "skin_A", "threads")
            refuse_unused(arguments, arguments.parser, names, f"for the teacher {model}")
            return teacher(model)
        if model not in zoo.names():
            _refuse_other(model, [*zoo.names(), *TEACHERS])
    options = chosen(arguments, StudentForceFieldCalculator.__init__)
    return StudentForceFieldCalculator(model, arguments.device, **options)


def _refuse_other(model: str, known: Sequence[str]) -> NoReturn:
    from mlff_md.errors import ConfigError
    from mlff_md.hints import hint
    from mlff_md.student import zoo

    if model.endswith((".onnx", ".pt", ".pt2")) and not os.path.isdir(model):
        raise ConfigError(f"there is no file {model}; 'mlff-md export' writes such files")
    if model.endswith(".safetensors") or os.sep in model or os.path.isdir(model):
        zoo.find(model)  # says what is wrong with it
    raise ConfigError(
        f"no student, student file or teacher is called {model!r}; {hint(model, known, cutoff=0.5)}"
    )


def warn_of_electrons(calculator: Any, atoms: Atoms) -> None:
    """Warn of an odd number of electrons, if the student of a calculator was trained on none."""
    manifest = getattr(getattr(calculator, "student", None), "manifest", None)
    count = int(atoms.numbers.sum())
    if manifest is not None and manifest.domain.get("even_electrons") and count % 2:
        warnings.warn(
            f"neutral, this has {count} electrons, an odd number: a radical, or an ion whose "
            f"charge the file does not tell; {manifest.name} was trained on closed shells alone",
            stacklevel=2,
        )


def refuse_teachers(*names: str) -> None:
    """Refuse what names a teacher where only a student will do.

    Raises
    ------
    ConfigError
        If one does.
    """
    from mlff_md.errors import ConfigError
    from mlff_md.teachers import is_teacher

    for name in names:
        if not os.path.exists(name) and is_teacher(name):
            raise ConfigError(
                f"{name} is a teacher, and this is for students; 'mlff-md models' lists those "
                "that are there, 'mlff-md distill' makes one from a teacher"
            )


def short_name(model: str) -> str:
    """Return a name for ``--model`` that is fit for a folder's name."""
    stem = os.path.basename(model).removesuffix(".safetensors")
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in stem)[:60]
