"""The house's own rules: imports run one way, nothing heavy at import, constants agree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mlff_md

PACKAGE = Path(mlff_md.__file__).parent

# Each layer may import from itself and from the layers named; see docs/how-it-works.md.
BASE = {"_version", "errors", "hints", "units", "files", "folder_lock", "mpich"}
GRAPH = {*BASE, "structures", "neighbors", "pairs", "graph"}
ENGINES = {*GRAPH, "student", "native", "engines"}
LOOP = {
    *BASE,
    "progress",
    "trajectory",
    "velocities",
    "md_record",
    "restart",
    "restart_state",
    "md_loop",
}
RUN = {
    *ENGINES,
    *LOOP,
    "calculator",
    "teachers",
    "statistics",
    "memory",
    "limits",
    "paired",
    "force_errors",
    "guard",
    "md",
}
ALLOWED = {
    "_version": set(),
    "errors": set(),
    "hints": set(),
    "units": set(),
    "files": BASE,
    "folder_lock": BASE,
    "mpich": set(),
    "structures": GRAPH,
    "neighbors": GRAPH,
    "pairs": GRAPH,
    "graph": GRAPH,
    "student": {*BASE, "student"},
    "native": {*BASE, "student", "native"},
    "engines": ENGINES,
    "exporters": {*ENGINES, "exporters"},
    "calculator": {*ENGINES, "limits", "calculator"},
    "lammps": {*ENGINES, "guard", "lammps"},
    "teachers": {*GRAPH, "teachers"},
    "statistics": BASE,
    "paired": {*BASE, "statistics"},
    "force_errors": BASE,
    "progress": BASE,
    "memory": BASE,
    "limits": {*BASE, "memory", "student"},
    "velocities": BASE,
    "trajectory": BASE,
    "restart_state": {*BASE, "trajectory"},
    "restart": {*BASE, "trajectory", "velocities", "md_record", "restart_state"},
    "md_record": {*BASE, "velocities"},
    "guard": {*ENGINES, "guard"},
    "md_loop": {*LOOP, "guard"},
    "md": {*LOOP, "guard", "md"},
    "protocols": {*RUN, "lammps", "exporters", "protocols"},
    "report": {*BASE, "protocols", "report"},
    "bench": {*RUN, "protocols", "bench"},
    "distill": {*ENGINES, "teachers", "progress", "force_errors", "distill"},
    "cards": {*RUN, "protocols", "bench", "distill", "cards"},
    "__main__": {"cli"},
    "cli": {*RUN, "lammps", "protocols", "report", "distill", "bench", "exporters", "cards", "cli"},
    "__init__": {"_version"},
}


def imported_parts(path: Path) -> set[str]:
    """Names of the package's parts that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules = [node.module]
            if node.module == "mlff_md":
                modules = [f"mlff_md.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path} uses a relative import")
        else:
            continue
        found |= {module.split(".")[1] for module in modules if module.startswith("mlff_md.")}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    part = part_of(path)
    assert part in ALLOWED, f"{part} is new: say in this test what it may import"
    # The lazy public names of __init__ are type-checking imports only.
    if part == "__init__":
        return
    strangers = imported_parts(path) - ALLOWED[part] - {part}
    assert not strangers, f"{path.name} imports {sorted(strangers)}"


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_nothing_heavy_at_import() -> None:
    heavy = "{'torch', 'scipy', 'matplotlib', 'ase', 'numpy'}"
    loaded = run_python(f"import sys, mlff_md, mlff_md.cli; print({heavy} & set(sys.modules))")
    assert loaded.strip() == "set()"


def test_student_files_need_no_torch() -> None:
    code = (
        "import sys, mlff_md.student, mlff_md.graph, mlff_md.engines, mlff_md.protocols.nve,"
        " mlff_md.report; print({'torch', 'matplotlib'} & set(sys.modules))"
    )
    assert run_python(code).strip() == "set()"


def test_every_public_name_resolves() -> None:
    for name in mlff_md.__all__:
        assert getattr(mlff_md, name) is not None
    assert set(mlff_md.__all__) <= set(dir(mlff_md))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mlff_md.nonsense


def test_units_are_those_of_ase() -> None:
    import ase.units

    from mlff_md import units

    assert units.ASE_TIME_UNIT_FS * ase.units.fs == pytest.approx(1.0, rel=1e-14)
    assert units.BOLTZMANN_EV_PER_K == pytest.approx(ase.units.kB, rel=1e-14)
    assert units.KJ_PER_MOL_PER_EV * ase.units.kJ / ase.units.mol == pytest.approx(1, rel=1e-14)
    assert units.BOHR_A == pytest.approx(ase.units.Bohr, rel=1e-9)
