"""``mlff-md forces``: the force on each atom against the teacher's, with a report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_md.cli.judging import (
    add_report_options,
    given_thresholds,
    provenance,
    refuse_used,
    verdict_lines,
    write_and_print,
)
from mlff_md.cli.model import add_model_options, make_calculator, short_name
from mlff_md.cli.parser import Parser

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_md.protocols.records import Report
    from mlff_md.report import ReportPaths

EXAMPLE = "mlff-md forces tiny tests/data/gfn2-test.npz --out forces-tiny"

PANELS = "panels.png"
"""All figures in one image, beside them."""


def configure(parser: Parser) -> None:
    """Add the command's options."""
    add_model_options(parser, positional=True)
    parser.add_argument(
        "structures",
        metavar="STRUCTURES",
        help="frames: a data set (.npz or a folder of shards), any file that ASE reads (extxyz, "
        "traj, ...), or a list of molecules (.smi, 'SMILES name' a line) to be sampled by the "
        "teacher's MD at 300, 600 and 1000 K",
    )
    parser.add_argument(
        "--teacher",
        help="label all frames anew with this teacher (default: the labels in the file; where "
        "there are none, the student's own teacher, or gfn2-xtb)",
    )
    add_report_options(
        parser,
        out="folder of the report and the raw data (default: forces-STRUCTURES-STUDENT)",
        threshold="force_r2=0.997",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compare the forces, write the report and return the verdict's exit code."""
    from mlff_md.progress import ConsoleProgress
    from mlff_md.protocols import forces

    thresholds = given_thresholds(arguments)
    path = Path(arguments.structures)
    out = Path(arguments.out or f"forces-{path.stem}-{short_name(arguments.model)}")
    refuse_used(out, arguments, raw=True)
    calculator = make_calculator(arguments)
    with provenance() as facts:
        frames, teacher = _frames(path, arguments.teacher, calculator, out)
        raw = forces.run(
            frames,
            calculator,
            out,
            teacher=teacher,
            source=path.name,
            overwrite=arguments.force,
            progress=ConsoleProgress(),
        )
        report = forces.analyze(raw, thresholds)
    return write_and_print(report, out, facts, arguments, lines=_lines, write=_write)


def _frames(
    path: Path, teacher: str | None, calculator: Any, out: Path
) -> tuple[Iterable[Atoms], Any]:
    """Return the frames, and the teacher's calculator if they are to be labelled."""
    from mlff_md.protocols.forces import labelled
    from mlff_md.teachers import teacher as make_teacher

    name = teacher or _own_teacher(calculator)
    if path.suffix == ".smi":
        return _sampled(path, name, out), None
    if path.is_dir() or path.suffix == ".npz":
        from mlff_md.distill.dataset import Dataset

        frames: Iterable[Atoms] = Dataset.load(path)
    else:
        from mlff_md.structures import read_structures

        frames = read_structures(path)
    if teacher is None and labelled(frames):
        return frames, None
    if teacher is None:
        _tell(f"not every frame carries forces of a teacher: labelling all of them with {name}")
    return frames, make_teacher(name)


def _sampled(path: Path, teacher: str, out: Path) -> Iterable[Atoms]:
    """Sample a list of molecules by the teacher's MD and keep the frames beside the report."""
    from mlff_md.distill.molecules import read_molecules
    from mlff_md.distill.recipe import label_test_set

    molecules = read_molecules(path)
    _tell(
        f"sampling {len(molecules)} molecules by MD with {teacher}; frames go to {out}/frames.npz"
    )
    return label_test_set(molecules, out / "frames.npz", teacher=teacher, progress=_tell)


def _own_teacher(calculator: Any) -> str:
    from mlff_md.teachers import DEFAULT_TEACHER, is_teacher

    student = getattr(calculator, "student", None)
    name = student.manifest.teacher.get("name") if student is not None else None
    return name if isinstance(name, str) and is_teacher(name) else DEFAULT_TEACHER


def _write(report: Report, out: Path, *, overwrite: bool) -> ReportPaths:
    from mlff_md.files import write_atomically
    from mlff_md.protocols.records import FIGURES_FOLDER
    from mlff_md.report import write_report
    from mlff_md.report.figures import draw_panels

    paths = write_report(report, out, overwrite=overwrite)
    write_atomically(out / FIGURES_FOLDER / PANELS, draw_panels(report.figures))
    return paths


def _lines(report: Report) -> Iterator[str]:
    yield from verdict_lines(report)
    for quantity in report.quantities:
        yield f"  {quantity.value:12.5g} {quantity.unit:<9} {quantity.title}"
    for name in ("elements", "temperatures"):
        rows = report.checks[0].details.get(name) or []
        for row in rows:
            label = row.get("element") or f"{row.get('temperature_K'):g} K"
            angle = row["angle_deg"]
            yield (
                f"  {label:<8} R2 {row['r2']:.5f}  MAE {row['mae_eV_per_A']:.4f}  "
                f"RMSE {row['rmse_eV_per_A']:.4f} eV/Å  "
                f"angle {'-' if angle is None else f'{angle:.2f}'}°  {row['atoms']} atoms"
            )


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
