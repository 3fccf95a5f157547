"""The shipped students, by name. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mlff_md.errors import StudentFileError
from mlff_md.hints import did_you_mean, hint, near_names

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
        If there is neither; the message names the near matches, or what a folder lacks.
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
    if path.is_dir():
        raise StudentFileError(_no_file_but_folder(path))
    if path.suffix or os.sep in text:
        near = near_names(path.stem, (Path(name).stem for name in _students_in(path.parent)))
        files = [str(path.with_name(f"{stem}.safetensors")) for stem in near]
        meant = did_you_mean(files) if near else f"shipped students: {', '.join(names())}"
        raise StudentFileError(f"there is no student file {text}; {meant}")
    meant = hint(text, names(), cutoff=0.5)
    raise StudentFileError(f"no student is called {text!r}; {meant} (or give a .safetensors file)")


def _no_file_but_folder(folder: Path) -> str:
    """Return what to say where a student file is wanted and a folder was given."""
    found = _students_in(folder)
    if found:
        return f"{folder} is a folder; give the student in it: {folder / found[0]}"
    if (folder / "checkpoint.pt").exists():
        return (
            f"{folder} holds a distillation that is not finished: there are checkpoints, and no "
            f".safetensors file yet; go on with it: mlff-md distill CONFIG --out {folder}"
        )
    return (
        f"{folder} is a folder without a .safetensors file, which is what a student is; shipped "
        f"students: {', '.join(names())}"
    )


def _students_in(folder: Path) -> list[str]:
    """Return the names of the student files of a folder, the newest first."""
    try:
        found = [(path.stat().st_mtime, path.name) for path in folder.glob("*.safetensors")]
    except OSError:
        return []
    return [name for _, name in sorted(found, reverse=True)]
