"""``mlff-md label``: make a training set, or a held-out one."""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_md.cli.output import say
from mlff_md.cli.parser import Parser, add_options, chosen, refuse_unused

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlff_md.distill.labelling import LabelProgress

EXAMPLE = "mlff-md label --out labels/train --workers 2"

_OWN_LIST = ("frames_per_molecule", "dimer_fraction", "scans", "chunk_items")
"""Options that the recipe of the shipped students fixes."""


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.distill.bulk_labelling import label_structures
    from mlff_md.distill.labelling import label
    from mlff_md.distill.recipe import label_training_set

    parser.add_argument(
        "--out",
        metavar="PATH",
        required=True,
        help="folder of the shards (run again to go on), or the .npz file of a held-out split",
    )
    parser.add_argument(
        "--molecules",
        metavar="FILE",
        help="list of molecules, 'SMILES name' a line (default: those of the shipped students)",
    )
    parser.add_argument(
        "--structure",
        metavar="FILE",
        nargs="+",
        help="periodic structures to sample by teacher MD, instead of molecules",
    )
    parser.add_argument(
        "--split",
        choices=("train", "val", "test"),
        default="train",
        help="train: sampled for training; val, test: held out, sampled by teacher MD alone, "
        "molecules at 300, 600 and 1000 K (default: train)",
    )
    add_options(parser, label_training_set, skip=("progress",), documented_in=label)
    group = parser.add_argument_group("with --molecules, for training")
    others = [name for name in _keywords(label) if name not in _OWN_LIST]
    add_options(group, label, skip=others)  # type: ignore[arg-type]
    group = parser.add_argument_group("with --structure")
    shared = ("split", *_keywords(label_training_set))
    add_options(group, label_structures, skip=shared)  # type: ignore[arg-type]


def run(arguments: argparse.Namespace) -> int:
    """Label molecules, and print where the labels are."""
    from mlff_md.distill.label_folder import failures
    from mlff_md.distill.labelling import label
    from mlff_md.distill.molecules import read_molecules
    from mlff_md.distill.recipe import label_training_set

    if arguments.structure is not None:
        return _structures(arguments)
    refuse_unused(arguments, arguments.parser, _of_structures(), "without --structure")
    if arguments.split != "train":
        return _held_out(arguments)
    if arguments.molecules is None:
        refuse_unused(arguments, arguments.parser, _OWN_LIST, "without --molecules")
        options = chosen(arguments, label_training_set)
        label_training_set(arguments.out, progress=_print_progress, **options)
    else:
        molecules = read_molecules(arguments.molecules)
        label(molecules, arguments.out, progress=_print_progress, **chosen(arguments, label))
    _say_failures(len(failures(arguments.out)))
    say(f"labels: {arguments.out}")
    return 0


def _structures(arguments: argparse.Namespace) -> int:
    from mlff_md.distill.bulk_labelling import label_structures
    from mlff_md.distill.label_folder import failures

    refuse_unused(arguments, arguments.parser, ("molecules", *_OWN_LIST), "with --structure")
    held_out = arguments.split != "train"
    if held_out:
        refuse_unused(arguments, arguments.parser, ("workers", "executor"), "for held-out splits")
    options = chosen(arguments, label_structures)
    label_structures(arguments.structure, arguments.out, progress=_print_progress, **options)
    if not held_out:
        _say_failures(len(failures(arguments.out)))
    say(f"labels: {arguments.out}")
    return 0


def _of_structures() -> list[str]:
    """Return the options that only periodic structures have."""
    from mlff_md.distill.bulk_labelling import label_structures
    from mlff_md.distill.recipe import label_training_set

    shared = {"split", *_keywords(label_training_set)}
    return [name for name in _keywords(label_structures) if name not in shared]


def _say_failures(count: int) -> None:
    if count:
        say(f"{count} frames could not be labelled; the reasons are in the shards")
    else:
        say("all frames were labelled")


def _held_out(arguments: argparse.Namespace) -> int:
    from mlff_md.distill.molecules import hand_molecules, read_molecules
    from mlff_md.distill.recipe import label_test_set
    from mlff_md.errors import ConfigError

    unused = ("workers", "executor", *_OWN_LIST)
    refuse_unused(arguments, arguments.parser, unused, "for held-out splits")
    if Path(arguments.out).exists():
        raise ConfigError(f"{arguments.out} exists; choose another --out")
    if Path(arguments.out).suffix != ".npz":
        raise ConfigError(f"a held-out set is written as .npz, not {arguments.out!r}")
    given = arguments.molecules
    label_test_set(
        read_molecules(given) if given else hand_molecules(arguments.split),
        arguments.out,
        teacher=arguments.teacher,
        seed=arguments.seed,
        progress=_print,
    )
    say(f"labels: {arguments.out}")
    return 0


def _keywords(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [item.name for item in parameters if item.kind is item.KEYWORD_ONLY]


def _print_progress(state: LabelProgress) -> None:
    _print(
        f"{state.chunks_done} of {state.chunks} shards, {state.frames} frames, "
        f"{state.frames_per_minute:.0f} frames/min, {state.minutes_left:.0f} min left"
    )


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
