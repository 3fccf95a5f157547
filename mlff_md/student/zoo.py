"""The shipped students, by name. No torch."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

from mlff_md.errors import StudentFileError

FOLDER = Path(__file__).parent / "zoo"

ALIASES: Mapping[str, str] = {
    "original": "gfn2-original-v1",
    "tiny": "gfn2-tiny-v2",
    "ultra-tiny": "gfn2-ultra-tiny-v2",
    "si-sw": "sw-si-v1",
}
"""Short names of the newest version of each shipped student."""


def shipped() -> tuple[str, ...]:
    """Return the full names of the shipped students."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors")))


def names() -> tuple[str, ...]:
    """Return every name that can be loaded: aliases first, then full names."""
    full = shipped()
    return (*(alias for alias, name in ALIASES.items() if name in full), *full)


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file of a student.

    A shipped name wins over a file of the same name in the working folder; write ``./tiny`` for
    the file.

    Raises
    ------
    StudentFileError
        If there is neither; the message names the near matches.
    """
    text = os.fspath(name_or_path)
    name = ALIASES.get(text, text)
    if name in shipped():
        return FOLDER / f"{name}.safetensors"
    path = Path(text)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise StudentFileError(
                f"{text} is not a .safetensors student file; students are made by 'mlff-md distill'"
            )
        return path
    if path.suffix or os.sep in text:
        raise StudentFileError(f"no student file {text}; shipped students: {', '.join(names())}")
    near = difflib.get_close_matches(text, names(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names())}"
    raise StudentFileError(f"no student is called {text!r}; {hint} (or give a .safetensors file)")
