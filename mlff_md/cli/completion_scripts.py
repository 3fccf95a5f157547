"""Completion scripts: the words of the commands as bash, zsh and fish want them."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mlff_md._version import __version__

if TYPE_CHECKING:
    from mlff_md.cli.completion import Command, Option, Value

_BASH = """\
# {title}
_mlff_md() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local command=${{COMP_WORDS[1]}} words=
    # bash takes "--option=value" for three words.
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]]; then
        previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    if ((COMP_CWORD > 2)); then
        case "$command ${{COMP_WORDS[2]}}" in
            {actions}) command+=" ${{COMP_WORDS[2]}}" ;;
        esac
    fi
    if ((COMP_CWORD == 1)); then
        words={commands}
    else
        case "$command:$previous" in
{values}
            *)
                case "$command:$current" in
{places}
                esac
                ;;
        esac
    fi
    # Where no word fits, bash offers files, unless a number or a new word is wanted.
    if [[ $words == - ]]; then
        compopt +o default 2>/dev/null
        words=
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -o default -F _mlff_md mlff-md
"""

_ZSH = """\
#compdef mlff-md
# {title}
_mlff-md-names() {{ (( $# )) && compadd -- "$@"; _files }}
_mlff-md() {{
    local command=$words[2]
    local -a found
    if (( CURRENT == 2 )); then
        found=(
{commands}
        )
        _describe command found
        return
    fi
    # _arguments takes the first word for the name of the program.
    shift words
    (( CURRENT-- ))
    if (( CURRENT > 2 )); then
        case "$command $words[2]" in
            ({actions}) command+=" $words[2]"; shift words; (( CURRENT-- )) ;;
        esac
    fi
    case $command in
{cases}
    esac
}}
if [[ $funcstack[1] == _mlff-md ]]; then
    _mlff-md "$@"
else
    compdef _mlff-md mlff-md
fi
"""


def bash(commands: Sequence[Command]) -> str:
    """Return the script for bash, 4.0 or later."""
    # One line for all options that take the same words.
    after: dict[str, list[str]] = {}
    places = []
    for command in commands:
        name = " ".join(command.path)
        for option in command.options:
            if option.value is not None:
                patterns = [shlex.quote(f"{name}:{flag}") for flag in option.flags]
                after.setdefault(_bash_words(option.value), []).extend(patterns)
        flags = shlex.quote(" ".join(_flags(command)))
        words = shlex.quote(" ".join(_words(command)))
        places += [
            f"                    {shlex.quote(name)}:-*) words={flags} ;;",
            f"                    {shlex.quote(name)}:*) words={words} ;;",
        ]
    values = [f"            {'|'.join(found)}) words={words} ;;" for words, found in after.items()]
    return _BASH.format(
        title=_title("bash"),
        actions=_actions(commands, "|"),
        commands=shlex.quote(" ".join(_top(commands))),
        values="\n".join(values),
        places="\n".join(places),
    )


def zsh(commands: Sequence[Command]) -> str:
    """Return the script for zsh, an autoloaded function or a file to source."""
    cases = []
    for command in commands:
        specs = [spec for option in command.options for spec in _zsh_option(option)]
        specs += [_zsh_argument(i, command) for i in range(len(command.arguments))]
        if command.actions:
            specs.append(f"1:action:({' '.join(command.actions)})")
        lines = " \\\n".join(f"            {shlex.quote(spec)}" for spec in specs)
        name = shlex.quote(" ".join(command.path))
        cases.append(f"        ({name}) _arguments \\\n{lines} ;;")
    top = (
        "            " + shlex.quote(f"{command.path[0]}:{command.about}")
        for command in commands
        if len(command.path) == 1
    )
    return _ZSH.format(
        title=_title("zsh"),
        actions=_actions(commands, "|"),
        commands="\n".join(top),
        cases="\n".join(cases),
    )


def fish(commands: Sequence[Command]) -> str:
    """Return the script for fish, 3.0 or later."""
    return "\n".join([f"# {_title('fish')}", *_fish_lines(commands)]) + "\n"


SCRIPTS: Mapping[str, Callable[[Sequence[Command]], str]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
}


def _title(shell: str) -> str:
    return f"Completion of mlff-md {__version__}, made by: mlff-md completion {shell}"


def _top(commands: Iterable[Command]) -> list[str]:
    return [command.path[0] for command in commands if len(command.path) == 1]


def _flags(command: Command) -> Iterator[str]:
    return (flag for option in command.options for flag in option.flags)


def _words(command: Command) -> list[str]:
    """Return the words that may stand where no option does."""
    words = [word for value in command.arguments for word in value.words]
    return [*command.actions, *words]


def _actions(commands: Iterable[Command], separator: str) -> str:
    names = (" ".join(command.path) for command in commands if len(command.path) == 2)
    return separator.join(shlex.quote(name) for name in names)


def _bash_words(value: Value) -> str:
    if not value.words and not value.files:
        return "-"
    return shlex.quote(" ".join(value.words))


def _about(option: Option) -> str:
    """Return the first clause of the help: what fits beside an option."""
    return textwrap.shorten(option.about.split(";")[0], 72, placeholder=" ...")


def _zsh_option(option: Option) -> Iterator[str]:
    about = _about(option).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    for flag in option.flags:
        if option.value is None:
            yield f"{flag}[{about}]"
        else:
            equals = "=" if flag.startswith("--") else ""
            yield f"*{flag}{equals}[{about}]:{_zsh_value(option.value)}"


def _zsh_argument(index: int, command: Command) -> str:
    last = index == len(command.arguments) - 1
    return f"{'*' if last else index + 1}:{_zsh_value(command.arguments[index])}"


def _zsh_value(value: Value) -> str:
    name = value.name.lower().replace(":", " ")
    if value.files:
        return f"{name}: _mlff-md-names {' '.join(value.words)}"
    return f"{name}:({' '.join(value.words)})" if value.words else f"{name}: "


def _fish_lines(commands: Iterable[Command]) -> Iterator[str]:
    yield "complete -c mlff-md -f"
    for command in commands:
        if len(command.path) == 1:
            about = _fish_quote(command.about)
            name = command.path[0]
            yield f"complete -c mlff-md -n __fish_use_subcommand -a {name} -d {about}"
    for command in commands:
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in command.path)
        start = f"complete -c mlff-md -n {_fish_quote(seen)}"
        for option in command.options:
            yield f"{start}{_fish_option(option)} -d {_fish_quote(_about(option))}"
        words = _words(command)
        if words:
            yield f"{start} -a {_fish_quote(' '.join(words))}"
        if any(value.files for value in command.arguments):
            yield f"{start} -F"


def _fish_option(option: Option) -> str:
    text = "".join(
        f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}" for flag in option.flags
    )
    if option.value is None:
        return text
    text += " -r -F" if option.value.files else " -x"
    words = " ".join(option.value.words)
    return f"{text} -a {_fish_quote(words)}" if words else text


def _fish_quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
