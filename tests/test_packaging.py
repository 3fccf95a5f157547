"""Source distribution and wheel hold all that is needed, and the wheel runs on its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from mlff_md.student import zoo

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PARTS = ("mlff_md", "lammps_plugin", "pyproject.toml", "setup.py", "README.md", "LICENSE")
BUILD = "import sys, setuptools.build_meta as backend; print(backend.build_{}(sys.argv[1]))"


def run(*command: object, **options: object) -> str:
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, made from a copy of what is under version control."""
    try:
        version = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        version = "0"
    if int(version.partition(".")[0]) < 77:
        pytest.skip(f"building without the network needs setuptools 77 here, there is {version}")
    tree = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, tree / name)
    run(sys.executable, "-c", BUILD.format("sdist"), tree / "dist", cwd=tree)
    return next((tree / "dist").glob("mlff_md-*.tar.gz"))


def wheel_of(sdist: Path, folder: Path, **environment: str) -> Path:
    """Build a wheel from nothing but the source distribution."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    source = folder / sdist.name.removesuffix(".tar.gz")
    run(
        *(sys.executable, "-c", BUILD.format("wheel"), folder),
        cwd=source,
        env={**os.environ, **environment},
    )
    return next(folder.glob("mlff_md-*.whl"))


def installed(wheel: Path, folder: Path) -> Path:
    """The folder of the programs of a new environment that has the wheel, and our packages."""
    run(sys.executable, "-m", "venv", folder)
    packages = next(folder.glob("lib/python*/site-packages"))
    ours = [path for path in sys.path if path.endswith("site-packages")]
    # Packages beside the wheel's; a link to the source tree is not followed from here.
    (packages / "beside.pth").write_text("\n".join(ours), encoding="utf-8")
    pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--no-index", "--no-deps", "--force-reinstall", wheel)
    return folder / "bin"


def needed() -> set[str]:
    """Files that are no Python modules, as they lie in the package once it is installed."""
    found = {"mlff_md/py.typed", "mlff_md/protocols/report.schema.json"}
    for pattern in ("bench/*.xyz", "distill/*.smi", "native/src/*", "student/zoo/*.safetensors"):
        paths = [path.relative_to(ROOT).as_posix() for path in (ROOT / "mlff_md").glob(pattern)]
        assert paths
        found |= set(paths)
    plugin = ROOT / "lammps_plugin"
    sources = [path for path in plugin.rglob("*") if path.is_file()]
    return found | {f"mlff_md/lammps/src/{path.relative_to(plugin)}" for path in sources}


def modules() -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / "mlff_md").rglob("*.py")}


def test_source_distribution(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    in_tree = {name.replace("mlff_md/lammps/src/", "lammps_plugin/") for name in needed()}
    assert in_tree | modules() | {"LICENSE", "README.md", "pyproject.toml", "setup.py"} <= names
    assert not [name for name in names if name.startswith(("labels", "scratch", "tests/data"))]


def test_wheel(sdist: Path, tmp_path: Path) -> None:
    wheel = wheel_of(sdist, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        declared = archive.read(entry_points).decode()
    assert needed() | modules() <= names
    assert "mlff-md = mlff_md.cli:main" in declared
    assert "[lammps.plugins]" in declared

    programs = installed(wheel, tmp_path / "environment")
    assert run(programs / "mlff-md", "--version", cwd=tmp_path).startswith("mlff-md ")
    listed = run(programs / "mlff-md", "models", cwd=tmp_path)
    assert all(f"{alias} " in listed for alias in zoo.ALIASES)
    code = (
        "import mlff_md; from ase.build import molecule; atoms = molecule('CH3CH2OH');"
        "atoms.calc = mlff_md.StudentForceFieldCalculator('tiny');"
        "print(mlff_md.__file__, atoms.calc.engine.name, atoms.get_potential_energy())"
    )
    file, engine, _ = run(programs / "python", "-c", code, cwd=tmp_path).split()
    assert Path(file).is_relative_to(tmp_path)
    if shutil.which("c++") or shutil.which("g++"):
        assert engine == "native"


def test_without_a_compiler(sdist: Path, tmp_path: Path) -> None:
    """The installation succeeds, the students run, and the message says what to install."""
    (tmp_path / "empty").mkdir()
    without = {"PATH": str(tmp_path / "empty"), "CC": "no-cc", "CXX": "no-c++"}
    wheel = wheel_of(sdist, tmp_path, **without)
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
    programs = installed(wheel, tmp_path / "environment")
    structure = ROOT / "inputs" / "structures" / "ethanol.xyz"
    md = (programs / "mlff-md", "md", structure, "--steps", "2", "--out")
    environment = {**os.environ, "PATH": without["PATH"]}
    run(*md, tmp_path / "md.traj", cwd=tmp_path, env=environment)
    refused = subprocess.run(
        [*map(str, md), "native.traj", "--engine", "native"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 3
    assert "apt install g++" in refused.stderr
