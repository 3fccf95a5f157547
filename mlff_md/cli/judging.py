"""What the commands that end in a report share: options, its folder, provenance, printing."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_md.cli.output import say, told_warnings
from mlff_md.cli.parser import Parser
from mlff_md.errors import ConfigError

if TYPE_CHECKING:
    from mlff_md.protocols.records import Report, Threshold
    from mlff_md.report import ReportPaths


def add_report_options(
    parser: Parser,
    *,
    out: str,
    threshold: str,
    force: str = "replace what --out already holds",
) -> None:
    """Add ``--out``, ``--force``, ``--threshold`` and ``--json``.

    Parameters
    ----------
    parser
        The parser of a command.
    out
        Help of ``--out``.
    threshold
        An example for the help of ``--threshold``, such as ``drift=0.01``.
    force
        Help of ``--force``.
    """
    parser.add_argument("--out", metavar="DIR", help=out)
    parser.add_argument("--force", action="store_true", help=force)
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="ID=LIMIT",
        help=f"another limit for a check, such as {threshold}; can be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print report.json instead of a table")


def given_thresholds(arguments: argparse.Namespace) -> Mapping[str, Threshold]:
    """Return the thresholds with the limits of ``--threshold``; a ConfigError for a bad one."""
    from mlff_md.protocols.thresholds import parse_overrides, with_overrides

    return with_overrides(parse_overrides(arguments.threshold))


def refuse_used(out: Path, arguments: argparse.Namespace, *, raw: bool = False) -> None:
    """Raise a ConfigError if the folder holds a report and there is no ``--force``.

    Parameters
    ----------
    out
        The folder of the report.
    arguments
        The command's arguments.
    raw
        Raw data without a report, which an interrupted run leaves, are refused as well.
    """
    from mlff_md.protocols.records import DERIVED_FILES, REPORT_JSON

    if arguments.force:
        return
    if any((out / name).exists() for name in (REPORT_JSON, *DERIVED_FILES)):
        raise ConfigError(f"{out} already holds a report; choose another --out or pass --force")
    if raw and (out / "raw").exists():
        raise ConfigError(
            f"{out} holds raw data without a report, perhaps of an interrupted run; pass --force "
            "to replace them" + (", or --resume to go on" if "resume" in arguments else "")
        )


@contextmanager
def provenance() -> Iterator[dict[str, Any]]:
    """Collect what the report says of the command: its line, its wall time, its warnings."""
    facts: dict[str, Any] = {"command_line": shlex.join(["mlff-md", *sys.argv[1:]])}
    started = time.perf_counter()
    with told_warnings() as told:
        yield facts
    facts["wall_time_s"] = round(time.perf_counter() - started, 1)
    facts["warnings"] = told


def write_and_print(
    report: Report,
    out: Path,
    facts: Mapping[str, Any],
    arguments: argparse.Namespace,
    *,
    overwrite: bool | None = None,
    lines: Callable[[Report], Iterator[str]] | None = None,
    write: Callable[..., ReportPaths] | None = None,
) -> int:
    """Write the report, print it and return the verdict's exit code.

    Parameters
    ----------
    report
        The judged report.
    out
        Its folder.
    facts
        Further provenance, by :func:`provenance`.
    arguments
        The command's arguments: ``json`` and ``force``.
    overwrite
        Replace a report that is there (default: ``--force``).
    lines
        The lines to print (default: the verdict and a line for each check).
    write
        What writes it (default: :func:`mlff_md.report.write_report`).
    """
    from mlff_md.protocols.records import EXIT_CODES
    from mlff_md.report import write_report

    report = replace(report, provenance={**report.provenance, **facts})
    overwrite = arguments.force if overwrite is None else overwrite
    paths = (write or write_report)(report, out, overwrite=overwrite)
    if arguments.json:
        say(report.to_json(), end="")
    else:
        for line in (lines or verdict_lines)(report):
            say(line)
        say(f"report: {paths.html}")
    return EXIT_CODES[report.verdict]


def verdict_lines(report: Report) -> Iterator[str]:
    """Yield the verdict and a line for each check."""
    yield f"{report.title}: {report.verdict.upper()}"
    for check in report.checks:
        yield f"  {check.verdict:<12} {check.title}: {check.summary}"
