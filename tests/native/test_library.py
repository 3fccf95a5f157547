"""Finding and loading the native library, and what is said where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms

from mlff_md import native
from mlff_md._version import __version__
from mlff_md.engines import make_engine
from mlff_md.errors import MissingDependencyError
from mlff_md.graph import species_index
from mlff_md.native import NativeKernel, library
from mlff_md.student import Student, save_student

built = pytest.mark.skipif(not native.available(), reason="the native engine was not built")


@pytest.fixture
def unloaded() -> Iterator[pytest.MonkeyPatch]:
    """Nothing loaded, to be patched; afterwards all is as it was."""
    with pytest.MonkeyPatch.context() as patch:
        library.load.cache_clear()
        yield patch
    library.load.cache_clear()


# ---- there is one -------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_a_compiler_is_enough() -> None:
    assert native.why_unavailable() is None
    assert native.available()


@built
def test_what_is_found() -> None:
    path = native.library_path()
    assert path is not None
    assert path.is_file()
    assert library.load() is library.load()
    found = native.instruction_sets()
    assert found[-1] == "plain"  # runs everywhere, and is the slowest
    assert set(found) <= {"avx512", "avx2", "plain"}
    assert len(set(found)) == len(found)


@built
def test_auto_takes_it(random_student: Student) -> None:
    assert make_engine(random_student).describe()["engine"] == "native"


NO_TORCH = """
import json, sys
import numpy as np
from mlff_md.native import NativeKernel
from mlff_md.student import load_student
given = list(np.load(sys.argv[2]).values())
energies, forces, virial = NativeKernel(load_student(sys.argv[1])).compute(*given)
loaded = sorted({"torch", "scipy", "matplotlib"} & set(sys.modules))
print(json.dumps([forces.tolist(), loaded]))
"""


@built
def test_evaluates_without_torch(random_student: Student, ethanol: Atoms, tmp_path: Path) -> None:
    student_file, arrays_file = tmp_path / "student.safetensors", tmp_path / "ethanol.npz"
    save_student(student_file, random_student.manifest, random_student.weights)
    species = species_index(ethanol.numbers, random_student.elements)
    given = species, ethanol.positions, ethanol.cell.array, ethanol.pbc
    np.savez(arrays_file, *given)
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, student_file, arrays_file],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    forces, loaded = json.loads(done.stdout)
    assert "torch" not in loaded
    assert np.array_equal(forces, NativeKernel(random_student).compute(*given)[1])


# ---- there is none ------------------------------------------------------------------------------


def test_not_built(unloaded: pytest.MonkeyPatch, random_student: Student) -> None:
    unloaded.setattr(library, "library_path", lambda: None)
    assert not native.available()
    why = native.why_unavailable()
    assert why is not None
    assert "\n" not in why
    for ask in (
        native.instruction_sets,
        lambda: NativeKernel(random_student),
        lambda: make_engine(random_student, "native"),
    ):
        with pytest.raises(MissingDependencyError, match="was not built") as raised:
            ask()
        assert str(raised.value) == why
    for advice in ("install a C++ compiler", "install mlff-md again", "torchscript"):
        assert advice in why
    assert make_engine(random_student, "auto").describe()["engine"] == "torchscript"


def test_damaged(unloaded: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "_kernel.so"
    path.write_bytes(b"\x7fELF and no more")
    unloaded.setattr(library, "library_path", lambda: path)
    why = native.why_unavailable()
    assert why is not None
    assert "cannot be loaded" in why
    assert "install mlff-md again" in why
    assert "\n" not in why


def test_another_library(unloaded: pytest.MonkeyPatch) -> None:
    # A library that can be loaded but is not ours.
    unloaded.setattr(library, "library_path", lambda: Path(np.random.mtrand.__file__))
    why = native.why_unavailable()
    assert why is not None
    assert "cannot be loaded" in why
    assert "mlff_abi" in why


@built
def test_another_version(unloaded: pytest.MonkeyPatch, random_student: Student) -> None:
    wanted = library.ABI + 1
    unloaded.setattr(library, "ABI", wanted)
    message = f"has interface {library.ABI - 1}, this version needs {wanted}: install mlff-md again"
    with pytest.raises(MissingDependencyError, match=message):
        make_engine(random_student, "native")
    assert make_engine(random_student, "auto").describe()["engine"] == "torchscript"


@pytest.mark.parametrize(
    ("marker", "version", "taken"),
    [
        ("pyproject.toml", __version__, True),
        ("pyproject.toml", "0.0.0", False),
        ("numpy", __version__, False),
    ],
    ids=["source tree", "another version", "installed itself"],
)
def test_a_source_tree_takes_the_installed_one(
    marker: str, version: str, taken: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    suffix = library.importlib.machinery.EXTENSION_SUFFIXES[0]
    installed = tmp_path / "site-packages" / "mlff_md" / "native"
    installed.mkdir(parents=True)
    (installed / f"_kernel{suffix}").touch()
    distribution = SimpleNamespace(
        version=version, locate_file=lambda name: tmp_path / "site-packages" / name
    )
    source = tmp_path / "source" / "mlff_md" / "native"
    source.mkdir(parents=True)
    (tmp_path / "source" / marker).touch()
    monkeypatch.setattr(library, "__file__", str(source / "library.py"))
    egg_info = SimpleNamespace(version=version, locate_file=lambda name: tmp_path / name)
    monkeypatch.setattr(
        library.importlib.metadata, "distributions", lambda name: [egg_info, distribution]
    )
    assert library.library_path() == (installed / f"_kernel{suffix}" if taken else None)
