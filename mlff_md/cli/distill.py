"""``mlff-md distill``: train a student."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any

from mlff_md.cli.output import say, told_warnings
from mlff_md.cli.parser import Parser, whole_number
from mlff_md.errors import ConfigError

EXAMPLE = "mlff-md distill inputs/training/tiny.toml --out tiny-run"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    parser.add_argument("config", help="TOML file: student, data, training (see inputs/training)")
    parser.add_argument(
        "--out",
        metavar="DIR",
        required=True,
        help="folder of checkpoints, log.jsonl and the student; run again to go on",
    )
    parser.add_argument(
        "--from-flagged",
        metavar="FILE",
        nargs="+",
        help="frames that a guard wrote (mlff-md md --guard): label them with the teacher and "
        "train a finished student on them for some minutes, instead of a new one",
    )
    parser.add_argument(
        "--student",
        metavar="STUDENT",
        help="with --from-flagged: which student (default: that of the configuration)",
    )
    parser.add_argument(
        "--threads", type=whole_number, default=1, metavar="N", help="threads of torch (default: 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, and print where the student is."""
    if arguments.threads < 1:
        raise ConfigError(f"--threads must be at least 1, got {arguments.threads}")
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads))
    import torch

    torch.set_num_threads(arguments.threads)
    if arguments.from_flagged:
        return _repair(arguments)
    if arguments.student:
        raise ConfigError("--student does nothing without --from-flagged; leave it out")
    from mlff_md.distill.train import distill

    with told_warnings():
        student = distill(arguments.config, arguments.out, log=_print)
    path = os.path.join(arguments.out, f"{student.name}.safetensors")
    accuracy = student.manifest.accuracy["validation"]["all"]
    say(f"validation force R2 {accuracy['r2']:.5f}, MAE {accuracy['mae_eV_per_A']:.4f} eV/Å")
    say(f"student: {path}")
    return 0


def _repair(arguments: argparse.Namespace) -> int:
    from mlff_md.distill.flagged import repair

    done = repair(
        arguments.config,
        arguments.from_flagged,
        arguments.out,
        student=arguments.student,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    for what, before, after in (
        ("flagged frames kept out of training", done.before, done.after),
        ("validation", done.validation_before, done.validation_after),
    ):
        say(
            f"{what}: force MAE {before.mae_eV_per_A:.3f} -> {after.mae_eV_per_A:.3f} eV/Å, "
            f"R2 {before.r2:.5f} -> {after.r2:.5f}"
        )
    say(f"student: {done.path}")
    return 0


def _print(record: Mapping[str, Any]) -> None:
    text = f"step {record['step']}  force loss {record['force_loss']:.4f}"
    if "validation" in record:
        text += f"  validation R2 {record['validation']['r2']:.5f}"
    print(text, file=sys.stderr, flush=True)
