"""The command line. Nothing heavy is imported before a command runs.

Exit codes: 0 pass, 1 fail, 2 inconclusive, 3 could not run.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NoReturn

from mlff_md._version import __version__
from mlff_md.cli.parser import COULD_NOT_RUN, Parser
from mlff_md.errors import MlffError
from mlff_md.hints import did_you_mean, hint

COMMANDS = {
    "validate-nve": "does a force field conserve energy in MD? K replicas, a report, a verdict",
    "validate-nvt": "does it sample the canonical ensemble? two temperatures, a report, a verdict",
    "forces": "compare each atom's force with the teacher's: R2, errors, angles, a verdict",
    "compare": "does MD with the model give what MD with its teacher gives? pairs of runs",
    "drift": "judge the energy conservation of a run that someone else made, by its log",
    "md": "run NVE or NVT molecular dynamics and write a trajectory",
    "lammps": "students in LAMMPS: which LAMMPS there are, write and run decks, compare with ASE",
    "models": "list the shipped students, or show one",
    "check": "the checklist before production: formats, shapes, batches, memory, latency, leaks",
    "export": "write a student as ONNX, TorchScript, AOTInductor or int8, proved equal to it",
    "bench": "time engines side by side on structures of several sizes",
    "report": "draw HTML, Markdown, JUnit XML and figures again from a report.json",
    "label": "sample molecules and label them with a teacher",
    "distill": "train a student on labelled frames",
    "completion": "print a script that lets bash, zsh or fish complete commands and options",
}
"""Command -> one line for ``--help``; the module is ``mlff_md.cli.<command>``."""

_USAGE = """usage: mlff-md COMMAND [OPTIONS]
       mlff-md help COMMAND

Small distilled machine-learning force fields, made fast, correct and trusted in MD.

commands:
{commands}

options of every command:
  -h, --help       show what it does, its options with units and defaults, and an example
  --debug          show the traceback of an error
  --version        show the version

example:
  mlff-md validate-nve aspirin.xyz --model tiny

exit codes: 0 pass, 1 fail, 2 inconclusive, 3 could not run, 130 interrupted, 143 terminated"""

_LONGEST_LINE = 800
"""Of an error, in characters; a damaged file can make one of any length."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if words[:1] in (["help"], ["-h"], ["--help"]) and words[1:]:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        lines = (f"  {name:<16} {text}" for name, text in COMMANDS.items())
        print(_USAGE.format(commands="\n".join(lines)))
        return 0 if words else COULD_NOT_RUN
    if words[0] in ("--version", "-V", "version"):
        print(f"mlff-md {__version__}")
        return 0
    name = words[0]
    try:
        with _unwinding():
            return _run(name, words[1:])
    except SystemExit as stop:  # argparse: --help, or a bad option already explained
        return stop.code if isinstance(stop.code, int) else COULD_NOT_RUN
    except KeyboardInterrupt:
        print(f"mlff-md {name}: interrupted", file=sys.stderr)
        return 130
    except TerminatedError:
        print(f"mlff-md {name}: terminated", file=sys.stderr)
        return 143
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"mlff-md {name}: error: {explain(error)}", file=sys.stderr)
        return COULD_NOT_RUN


class TerminatedError(BaseException):
    """The process was asked to end: unwinds it, so that files are closed."""


@contextlib.contextmanager
def _unwinding() -> Iterator[None]:
    """Let SIGTERM raise :class:`TerminatedError`; a program that calls us gets its own back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _terminate(_signal: int, _frame: object) -> NoReturn:
    raise TerminatedError


def explain(error: Exception) -> str:
    """Return one line for a person: what is wrong and, as far as known, what to do."""
    if isinstance(error, MlffError):
        return _one_line(str(error))
    # torch says so in a RuntimeError.
    if isinstance(error, MemoryError) or re.search("can't allocate|out of memory", str(error)):
        return "out of memory; use a smaller structure, batch or number of steps"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or 'output'}); free some space and run again"
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    kind = type(error).__name__
    return f"internal error, please report it: {kind}: {_one_line(str(error))} (see --debug)"


def _one_line(text: str) -> str:
    """Return a text that may quote a file of a stranger, such that it cannot steer a terminal."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} ..."


def _run(name: str, words: list[str]) -> int:
    if name.startswith("-"):
        print(f"mlff-md: error: {name} stands before the command; write it behind", file=sys.stderr)
        return COULD_NOT_RUN
    if name not in COMMANDS:
        if os.path.exists(name):
            print(
                f"mlff-md: error: a command stands before {name}, such as: {_first(name)}",
                file=sys.stderr,
            )
            return COULD_NOT_RUN
        within = [command for command in COMMANDS if name.lower() in command]
        meant = did_you_mean(within) if within else hint(name, COMMANDS)
        print(f"mlff-md: error: no command {name!r}; {meant}", file=sys.stderr)
        return COULD_NOT_RUN
    parser = build_parser(name)
    arguments = parser.parse_args(words)
    arguments.parser = parser
    code: int = _module(name).run(arguments)
    return code


def _first(path: str) -> str:
    """Return a command for a file that was given without one."""
    kinds = {".log": "drift", ".csv": "drift", ".xvg": "drift", ".traj": "drift", ".json": "report"}
    kinds |= {".safetensors": "models show", ".toml": "distill", ".lmp": "lammps run"}
    command = kinds.get(os.path.splitext(path)[1], "validate-nve")
    return f"mlff-md {command} {shlex.quote(path)}"


def build_parser(name: str) -> Parser:
    """Return the parser of a command of :data:`COMMANDS`."""
    module = _module(name)
    parser = Parser(prog=f"mlff-md {name}", example=module.EXAMPLE, about=COMMANDS[name])
    module.configure(parser)
    return parser


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"mlff_md.cli.{name.replace('-', '_')}")
