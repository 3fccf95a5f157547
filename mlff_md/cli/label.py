"""``mlff-md label``: make a training set."""

from __future__ import annotations

import argparse
import sys

from mlff_md.cli.parser import Parser, add_options, chosen

EXAMPLE = "mlff-md label --out labels --workers 2"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.distill.labelling import label
    from mlff_md.distill.recipe import label_training_set

    parser.add_argument(
        "--out", metavar="DIR", required=True, help="folder of the shards; run again to go on"
    )
    add_options(parser, label_training_set, skip=("progress",), documented_in=label)


def run(arguments: argparse.Namespace) -> int:
    """Label the training set of the shipped students, and print where it is."""
    from mlff_md.distill.recipe import label_training_set

    folder = label_training_set(
        arguments.out,
        progress=lambda state: print(state, file=sys.stderr, flush=True),
        **chosen(arguments, label_training_set),
    )
    print(f"labels: {folder}")
    return 0
