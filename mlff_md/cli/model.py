"""What ``--model`` may be: a shipped student, a student file, or any teacher."""

from __future__ import annotations

import argparse
import os
from typing import Any

from mlff_md.cli.parser import add_options, chosen


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` and the options of the student's calculator."""
    from mlff_md.calculator import StudentForceFieldCalculator

    parser.add_argument(
        "--model",
        default="tiny",
        help="student (see mlff-md models), .safetensors file, or a teacher: gfn2-xtb, emt, "
        "lammps:..., module:Class (default: tiny)",
    )
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
    from mlff_md.teachers import is_teacher, teacher

    if is_teacher(arguments.model) and not os.path.exists(arguments.model):
        return teacher(arguments.model)
    options = chosen(arguments, StudentForceFieldCalculator.__init__)
    return StudentForceFieldCalculator(arguments.model, arguments.device, **options)


def short_name(model: str) -> str:
    """Return a name for ``--model`` that is fit for a folder's name."""
    stem = os.path.basename(model).removesuffix(".safetensors")
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in stem)[:60]
