"""Command-line options made from the signatures and docstrings of the functions they call.

An option is written once: its type and default come from the signature, its help from the
function's numpydoc ``Parameters`` section.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

from mlff_md.cli.choices import ALL, known
from mlff_md.errors import ConfigError
from mlff_md.hints import did_you_mean, hint, near_names

COULD_NOT_RUN = 3


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line and exit with 3, not with 2."""

    def __init__(self, prog: str, about: str, example: str) -> None:
        super().__init__(
            prog=prog,
            description=about[0].upper() + about[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Print one line with the nearest option that exists, and leave."""
        unknown = re.match(r"unrecognized arguments: (-[\w-]+)", message)
        if unknown:
            options = [name for action in self._actions for name in action.option_strings]
            near = _meant(unknown[1], options)
            message = f"no option {unknown[1]}" + (f"; {did_you_mean(near)}" if near else "")
        surplus = re.match(r"unrecognized arguments: ([^-].*)", message)
        if surplus:
            message = f"nothing takes the word {surplus[1]!r}; options begin with --"
            if surplus[1] in known().get("model", ()) and "--model" in self._option_string_actions:
                message = (
                    f"nothing takes the word {surplus[1]!r}; did you mean --model {surplus[1]}?"
                )
        lacking = re.match(r"the following arguments are required: (.+)", message)
        if lacking:
            verb = "are" if "," in lacking[1] else "is"
            message = f"{lacking[1]} {verb} missing" + self._words(lacking[1])
        message = re.sub(r"^argument (\S+): not ", r"\1 is not ", message)
        wrong = re.match(r"argument (\S+): invalid choice: '(.*?)' \(choose", message)
        if wrong:
            message = f"{wrong[1]} cannot be {wrong[2]!r}" + self._words(wrong[1], wrong[2])
        self.exit(COULD_NOT_RUN, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def _words(self, name: str, typed: str = "") -> str:
        """Return what an error adds about the words that an argument takes."""
        for action in self._actions:
            if name in (action.metavar, action.dest, *action.option_strings) and action.choices:
                return f"; {hint(typed, action.choices)}"
        return ""


_ELSEWHERE = {"--dt": "--timestep-fs", "--output": "--out", "-o": "--out", "-n": "--steps"}
_ELSEWHERE |= {"-T": "--temperature-K", "-m": "--model", "-t": "--threads", "-f": "--force"}
"""What other programs call our options."""


def _meant(typed: str, options: Sequence[str]) -> Sequence[str]:
    """Return the options that were probably meant: those that it begins, or else similar ones."""
    if _ELSEWHERE.get(typed) in options:
        return [_ELSEWHERE[typed]]
    begun = [name for name in options if typed.startswith("--") and name.startswith(typed)]
    return begun or near_names(typed, options)[:1]


def add_options(
    parser: argparse.ArgumentParser,
    function: Callable[..., Any],
    skip: Collection[str] = (),
    documented_in: Callable[..., Any] | None = None,
) -> None:
    """Add an option for every keyword-only parameter of a function.

    Parameters
    ----------
    parser
        Where to add them.
    function
        Its parameters ``timestep_fs: float = 0.5`` become ``--timestep-fs FS``.
    skip
        Parameters that are no options.
    documented_in
        Function whose docstring describes parameters that ``function`` leaves to it.
    """
    texts = {
        **(parameter_texts(documented_in) if documented_in else {}),
        **parameter_texts(function),
    }
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or name in skip:
            continue
        flag = "--" + name.replace("_", "-")
        default = parameter.default
        text = texts[name].replace("%", "%%")
        kind = str(parameter.annotation).split(" | ")[0]
        if kind == "bool":
            parser.add_argument(
                flag,
                action=argparse.BooleanOptionalAction,
                default=default,
                help=text + ("" if default is None else f" (default: {_YES_NO[default]})"),
            )
            continue
        words = ALL[name]() if name in ALL else None
        if kind == "tuple[float, ...]":
            default_text = ",".join(f"{value:g}" for value in default)
            shown = f" (default: {default_text or 'none'})"
        else:
            shown = "" if default is None else f" (default: {default})"
        parser.add_argument(
            flag,
            type=str.lower if words else _TYPES.get(kind, str),
            default=default,
            choices=words,
            metavar=None if words else _metavar(name, kind),
            help=text + shown,
        )


_YES_NO = {True: "yes", False: "no"}


def _floats(text: str) -> tuple[float, ...]:
    """Parse numbers separated by commas."""
    try:
        return tuple(_number(item) for item in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"not numbers separated by commas: {text!r}") from None


def whole_number(text: str) -> int:
    """Parse a whole number, also one written as 1e6."""
    try:
        return int(text)
    except ValueError:
        pass
    with contextlib.suppress(ValueError):
        value = float(text)
        if value.is_integer() and abs(value) < _LARGEST_WHOLE:
            return int(value)
    raise argparse.ArgumentTypeError(f"not a whole number: {text!r}")


_LARGEST_WHOLE = 2.0**53
"""Up to here floats tell whole numbers apart."""


def _number(text: str) -> float:
    """Parse a number; what is none to compute with is refused before anything runs."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from None
    if math.isnan(value):
        raise argparse.ArgumentTypeError(f"not a number: {text!r}")
    return value


_TYPES: Mapping[str, Callable[[str], Any]] = {
    "int": whole_number,
    "float": _number,
    "tuple[float, ...]": _floats,
}
"""What reads an option of each annotation; all else is text."""


def refuse_unused(
    arguments: argparse.Namespace, parser: argparse.ArgumentParser, names: Collection[str], why: str
) -> None:
    """Refuse options that were set to something else than their default and would do nothing.

    Raises
    ------
    ConfigError
        Naming the first of them.
    """
    for name in names:
        if getattr(arguments, name) != parser.get_default(name):
            raise ConfigError(f"--{name.replace('_', '-')} does nothing {why}; leave it out")


def chosen(arguments: argparse.Namespace, function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the parsed options that are keyword-only parameters of a function."""
    names = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and hasattr(arguments, name)
    ]
    return {name: getattr(arguments, name) for name in names}


def parameter_texts(function: Callable[..., Any]) -> Mapping[str, str]:
    """Return the description of each parameter in a numpydoc docstring, on one line each.

    Parameters that are only said to be "as in" another function are left out.
    """
    text = inspect.getdoc(function) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n-{3,}\n|\Z)", text, re.S | re.M)
    texts: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", section[1] if section else ""):
        names, _, description = block.partition("\n")
        line = " ".join(description.split()).rstrip(".")
        line = line.replace("``", "")
        for name in names.split(","):
            if line and not line.startswith("As in "):
                # Not the first letter of a name such as LAMMPS.
                start = line[0] if line[1:2].isupper() else line[0].lower()
                texts[name.strip()] = start + line[1:]
    return texts


def _metavar(name: str, kind: str) -> str:
    unit = name.rsplit("_", 1)[-1] if "_" in name else ""
    if unit in ("fs", "ps", "s", "K", "A", "bar"):
        shown = unit.upper() if unit != "A" else "ANGSTROM"
        return f"1/{shown}" if f"_per_{unit}" in name else shown
    return {"int": "N", "float": "X"}.get(kind, name.upper())
