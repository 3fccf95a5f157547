"""``mlff-md completion``: what a shell needs to complete commands, options and names.

The words are read from the parsers of the commands, so they cannot differ from what is accepted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlff_md.cli.choices import known
from mlff_md.cli.output import say
from mlff_md.cli.parser import Parser

EXAMPLE = "mlff-md completion bash > ~/.local/share/bash-completion/completions/mlff-md"

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Value:
    """What may stand in one place.

    Attributes
    ----------
    words
        Words that are known beforehand.
    files
        Whether the name of a file may stand there, too.
    name
        What ``--help`` calls it.
    """

    words: tuple[str, ...] = ()
    files: bool = False
    name: str = ""


@dataclass(frozen=True)
class Option:
    """An option of a command; ``value`` is None for one that takes none."""

    flags: tuple[str, ...]
    about: str
    value: Value | None


@dataclass(frozen=True)
class Command:
    """What can follow a command, such as ``md`` or ``lammps deck``."""

    path: tuple[str, ...]
    about: str
    options: tuple[Option, ...]
    arguments: tuple[Value, ...]
    actions: tuple[str, ...] = ()


def configure(parser: Parser) -> None:
    """Add the command's argument."""
    parser.add_argument(
        "shell",
        choices=SHELLS,
        help="bash, zsh or fish; save what is printed where the shell looks for completions "
        "(make that folder first), for zsh as _mlff-md in a folder of $fpath, for fish as "
        "~/.config/fish/completions/mlff-md.fish",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    from mlff_md.cli.completion_scripts import SCRIPTS

    say(SCRIPTS[arguments.shell](list(read_commands())), end="")
    return 0


def read_commands() -> Iterator[Command]:
    """Yield every command, those of one more word after the one that they belong to."""
    from mlff_md.cli import COMMANDS, build_parser

    names = known()
    for command, about in COMMANDS.items():
        parser = build_parser(command)
        yield _read(parser, (command,), about, names)
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                abouts = {item.dest: item.help or "" for item in action._choices_actions}
                for name, child in action.choices.items():
                    yield _read(child, (command, name), abouts[name], names)


def _read(
    parser: argparse.ArgumentParser,
    path: tuple[str, ...],
    about: str,
    names: Mapping[str, Sequence[str]],
) -> Command:
    options, arguments, actions = [], [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            actions += list(action.choices)
        elif action.option_strings:
            text = " ".join((action.help or "").replace("%%", "%").split())
            value = None if action.nargs == 0 else _value(action, names)
            options.append(Option(tuple(action.option_strings), text, value))
        else:
            arguments.append(_value(action, names))
    return Command(path, about, tuple(options), tuple(arguments), tuple(actions))


def _value(action: argparse.Action, names: Mapping[str, Sequence[str]]) -> Value:
    shown = action.metavar if isinstance(action.metavar, str) else action.dest
    if action.choices:
        return Value(tuple(map(str, action.choices)), name=shown)
    is_text = action.type in (None, str)
    return Value(tuple(names.get(action.dest, ())), files=is_text, name=shown)
