"""``mlff-md bench``: engines side by side."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_md.cli.model import refuse_teachers
from mlff_md.cli.output import say
from mlff_md.cli.parser import Parser, add_options, chosen, refuse_unused

if TYPE_CHECKING:
    from mlff_md.bench import BenchResult

EXAMPLE = "mlff-md bench tiny --engines native,torchscript --atoms 21,500"

LISTS = ("progress", "engines", "peers", "atoms", "batches")
"""Parameters of the function that the options below stand for."""

RESULT = "bench.json"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.bench import DEFAULT_ENGINES, bench

    parser.add_argument(
        "students", nargs="*", metavar="STUDENT", default=["tiny"], help="names or files"
    )
    add_options(parser, bench, skip=LISTS)
    parser.add_argument(
        "--engines",
        metavar="NAMES",
        default=",".join(DEFAULT_ENGINES),
        help="engines to compare, the first is what ratios refer to: also onnx-int8 and aoti, "
        "which are made once and kept; ase-step is a step of ASE's VelocityVerlet with the fastest "
        f"engine (default: {','.join(DEFAULT_ENGINES)})",
    )
    parser.add_argument(
        "--peers",
        metavar="NAMES",
        default="",
        help="other force fields to time beside, with random weights, where their packages are "
        "installed: all, or beginnings of names such as torchmd-net,nequip (compiling some takes "
        "minutes; default: none)",
    )
    parser.add_argument(
        "--atoms",
        metavar="SIZES",
        default="9,21,100,500",
        help="numbers of atoms: 9 is ethanol, 21 aspirin, more are water boxes "
        "(default: 9,21,100,500)",
    )
    parser.add_argument(
        "--batches",
        metavar="SIZES",
        default="1",
        help="how many structures at once, such as 1,2,4,8,16,32 (default: 1)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="half a second for each of 9, 21 and 100 atoms"
    )
    parser.add_argument("--json", metavar="FILE", help="write all numbers to this file")
    parser.add_argument(
        "--out", metavar="DIR", help="write bench.json, bench.md and figures to this folder"
    )
    parser.add_argument("--force", action="store_true", help="replace what --out already holds")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark and print the table."""
    from mlff_md.bench import bench
    from mlff_md.errors import ConfigError
    from mlff_md.files import write_atomically

    if arguments.quick:
        refuse_unused(arguments, arguments.parser, ("atoms", "seconds"), "with --quick")
        arguments.atoms, arguments.seconds = "9,21,100", 0.5
    if arguments.out and not arguments.force and Path(arguments.out, RESULT).exists():
        raise ConfigError(
            f"{arguments.out} holds a benchmark; choose another --out or pass --force"
        )
    students = [name for word in arguments.students for name in word.split(",")]
    refuse_teachers(*students)
    result = bench(
        students,
        engines=arguments.engines.split(","),
        peers=arguments.peers.split(",") if arguments.peers else (),
        atoms=_numbers(arguments.atoms, "--atoms"),
        batches=_numbers(arguments.batches, "--batches"),
        progress=lambda line: print(line, file=sys.stderr),
        **{key: value for key, value in chosen(arguments, bench).items() if key not in LISTS},
    )
    say(result.markdown())
    say(f"\n{result.machine['processor']}; allocator: {result.machine['allocator']}")
    if arguments.json:
        content = json.dumps(dataclasses.asdict(result), indent=2) + "\n"
        write_atomically(Path(arguments.json), content.encode())
        say(f"numbers: {arguments.json}")
    if arguments.out:
        _write(Path(arguments.out), result)
        say(f"benchmark: {Path(arguments.out, 'bench.md')}")
    return 0


def _numbers(text: str, option: str) -> list[int]:
    from mlff_md.errors import ConfigError

    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{option} takes whole numbers, got {text!r}") from error


def _write(folder: Path, result: BenchResult) -> None:
    from mlff_md.bench.figures import figures
    from mlff_md.files import write_files
    from mlff_md.report.figures import draw_figure

    machine = result.machine
    lines = [
        "# Benchmark",
        "",
        f"{machine['processor']}; allocator: {machine['allocator']}; medians, interleaved.",
        "",
        result.markdown(),
    ]
    files: dict[str, bytes] = {}
    for figure in figures(result.rows):
        svg, png = draw_figure(figure)
        files |= {f"{figure.id}.svg": svg.encode(), f"{figure.id}.png": png}
        lines += ["", f"![{figure.title}]({figure.id}.png)", "", figure.caption]
    files["bench.md"] = ("\n".join(lines) + "\n").encode()
    files[RESULT] = (json.dumps(dataclasses.asdict(result), indent=2) + "\n").encode()
    write_files(folder, files, "the benchmark")
