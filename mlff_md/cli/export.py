"""``mlff-md export``: a student as a file for other programs."""

from __future__ import annotations

import argparse

from mlff_md.cli.model import refuse_teachers
from mlff_md.cli.output import say, told_warnings
from mlff_md.cli.parser import Parser, add_options

EXAMPLE = "mlff-md export tiny --format onnx --out tiny.onnx"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.exporters import export

    parser.add_argument("student", help="name of a shipped student, or a .safetensors file")
    parser.add_argument("--out", metavar="FILE", help="default: the student's name and a suffix")
    add_options(parser, export, skip=("calibration", "overwrite"))
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        help="for onnx-int8: structures like those that it will be used on, any file that ASE "
        "reads (default: rattled molecules of the student's elements)",
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")


def run(arguments: argparse.Namespace) -> int:
    """Export, and print what was written and how close it is."""
    from mlff_md.exporters import export
    from mlff_md.student import load_student

    refuse_teachers(arguments.student)
    student = load_student(arguments.student)
    frames = None
    if arguments.calibration:
        from mlff_md.structures import read_structures

        frames = read_structures(arguments.calibration)
    with told_warnings():
        result = export(
            student,
            arguments.out,
            format=arguments.format,
            calibration=frames,
            overwrite=arguments.force,
        )
    found = result.parity
    say(f"{result.path}: {result.size_bytes:,} bytes")
    say(
        f"against torch in float64, {found.cases} cases: forces within "
        f"{found.max_force_error_eV_per_A:.1e} eV/Å, energies within "
        f"{found.max_energy_error_eV:.1e} eV/atom"
    )
    if result.force_change is not None and result.student_path is not None:
        say(f"{result.student_path}: {result.student_path.stat().st_size:,} bytes")
        say(f"quantising changes the forces by {100 * result.force_change:.2f} % of their RMS")
    return 0
