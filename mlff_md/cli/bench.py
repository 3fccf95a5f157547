"""``mlff-md bench``: engines side by side."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from mlff_md.cli.output import say
from mlff_md.cli.parser import Parser, add_options, chosen

EXAMPLE = "mlff-md bench tiny --engines native,torchscript --atoms 21,500"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.bench import bench

    parser.add_argument(
        "students", nargs="*", metavar="STUDENT", default=["tiny"], help="names or files"
    )
    add_options(parser, bench, skip=("progress", "engines", "peers", "atoms"))
    parser.add_argument(
        "--engines",
        metavar="NAMES",
        default="native,torchscript,torch,ase-step",
        help="engines to compare, the first is what ratios refer to; ase-step is a step of ASE's "
        "VelocityVerlet with the fastest engine (default: native,torchscript,torch,ase-step)",
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
    parser.add_argument("--json", metavar="FILE", help="write all numbers to this file")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark and print the table."""
    from mlff_md.bench import bench
    from mlff_md.errors import ConfigError
    from mlff_md.files import write_atomically

    try:
        sizes = [int(word) for word in arguments.atoms.split(",")]
    except ValueError as error:
        raise ConfigError(f"--atoms takes whole numbers, got {arguments.atoms!r}") from error
    result = bench(
        arguments.students,
        engines=arguments.engines.split(","),
        peers=arguments.peers.split(",") if arguments.peers else (),
        atoms=sizes,
        progress=lambda line: print(line, file=sys.stderr),
        **{
            key: value
            for key, value in chosen(arguments, bench).items()
            if key not in ("engines", "peers", "atoms")
        },
    )
    say(result.markdown())
    say(f"\n{result.machine['processor']}; allocator: {result.machine['allocator']}")
    if arguments.json:
        content = json.dumps(dataclasses.asdict(result), indent=2) + "\n"
        write_atomically(Path(arguments.json), content.encode())
        say(f"numbers: {arguments.json}")
    return 0
