"""``mlff-md label``: make a training set."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_md.cli.output import say
from mlff_md.cli.parser import Parser, add_options, chosen, refuse_unused

if TYPE_CHECKING:
    from mlff_md.distill.labelling import LabelProgress

EXAMPLE = "mlff-md label --out labels/train --workers 2"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.distill.labelling import label
    from mlff_md.distill.recipe import label_training_set

    parser.add_argument(
        "--out",
        metavar="PATH",
        required=True,
        help="folder of the shards (run again to go on), or the .npz file of a held-out split",
    )
    parser.add_argument(
        "--split",
        choices=("train", "val", "test"),
        default="train",
        help="training set of the shipped students, or held-out molecules sampled by teacher MD "
        "at 300, 600 and 1000 K (default: train)",
    )
    add_options(parser, label_training_set, skip=("progress",), documented_in=label)


def run(arguments: argparse.Namespace) -> int:
    """Label a split of the shipped students' molecules, and print where it is."""
    from mlff_md.distill.labelling import failures
    from mlff_md.distill.molecules import hand_molecules
    from mlff_md.distill.recipe import label_test_set, label_training_set
    from mlff_md.errors import ConfigError

    if arguments.split == "train":
        options = chosen(arguments, label_training_set)
        label_training_set(arguments.out, progress=_print_progress, **options)
        count = len(failures(arguments.out))
        say(f"{count} frames could not be labelled; the reasons are in the shards")
    else:
        refuse_unused(arguments, arguments.parser, ("workers",), "for held-out splits")
        if Path(arguments.out).exists():
            raise ConfigError(f"{arguments.out} exists; choose another --out")
        label_test_set(
            hand_molecules(arguments.split),
            arguments.out,
            teacher=arguments.teacher,
            seed=arguments.seed,
            progress=_print,
        )
    say(f"labels: {arguments.out}")
    return 0


def _print_progress(state: LabelProgress) -> None:
    _print(
        f"{state.chunks_done} of {state.chunks} shards, {state.frames} frames, "
        f"{state.frames_per_minute:.0f} frames/min, {state.minutes_left:.0f} min left"
    )


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
