"""What ``--model`` may be: a shipped student, a student file, or any teacher."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Sequence
from typing import Any

from mlff_md.cli.parser import add_options, chosen, refuse_unused


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
    from mlff_md.errors import ConfigError
    from mlff_md.student import zoo
    from mlff_md.teachers import TEACHERS, is_teacher, teacher

    model = arguments.model
    if not os.path.isfile(model):
        if is_teacher(model):
            names = ("device", "engine", "dtype", "skin_A", "threads")
            refuse_unused(arguments, arguments.parser, names, f"for the teacher {model}")
            return teacher(model)
        if model not in zoo.names() and not model.endswith(".safetensors"):
            raise ConfigError(_no_such_model(model, [*zoo.names(), *TEACHERS]))
    options = chosen(arguments, StudentForceFieldCalculator.__init__)
    return StudentForceFieldCalculator(model, arguments.device, **options)


def _no_such_model(model: str, known: Sequence[str]) -> str:
    if os.path.isdir(model):
        return f"{model} is a folder; give the .safetensors file in it"
    if model.endswith((".onnx", ".pt", ".pt2")):
        return f"there is no file {model}; 'mlff-md export' writes such files"
    near = difflib.get_close_matches(model.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return f"no student, student file or teacher is called {model!r}; {hint}"


def short_name(model: str) -> str:
    """Return a name for ``--model`` that is fit for a folder's name."""
    stem = os.path.basename(model).removesuffix(".safetensors")
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in stem)[:60]
