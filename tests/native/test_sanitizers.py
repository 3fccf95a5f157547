"""The native engine under the address and undefined-behaviour sanitizers, driven from plain C."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import mlff_md

SOURCES = Path(mlff_md.__file__).parent / "native" / "src"
CASE = Path(__file__).with_name("small_case.c")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    flags = ["-O1", "-g", "-fno-omit-frame-pointer", "-pthread", f"-I{SOURCES}"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    objects = []
    jobs = []
    for source in [*sorted(SOURCES.glob("*.cpp")), CASE]:
        standard = "-std=c11" if source.suffix == ".c" else "-std=c++17"
        compiler = "gcc" if source.suffix == ".c" else "g++"
        objects.append(str(tmp_path / f"{source.stem}.o"))
        command = [compiler, standard, "-Wall", "-Wextra", *flags, "-c", str(source)]
        jobs.append([*command, "-D_GNU_SOURCE", "-o", objects[-1]])
    for job in jobs:
        subprocess.run(job, check=True)
    program = tmp_path / "small_case"
    subprocess.run(["g++", *flags, *objects, "-lm", "-o", str(program)], check=True)
    result = subprocess.run([str(program)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout == "ok\n"
    assert result.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None or shutil.which("nm") is None, reason="needs g++ and nm"
)
@pytest.mark.parametrize("name", ["avx2", "avx512"])
def test_special_instructions_stay_in_their_file(name: str, tmp_path: Path) -> None:
    """A function that the linker could share would crash on machines without the instructions."""
    compiled = tmp_path / "kernel.o"
    flags = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC"]
    subprocess.run(
        ["g++", *flags, "-c", str(SOURCES / f"{name}.cpp"), "-o", str(compiled)], check=True
    )
    listed = subprocess.run(
        ["nm", "--demangle", str(compiled)], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    shared = [line for line in listed if " W " in line or " V " in line]
    offered = [line for line in listed if " T " in line]
    assert not [line for line in shared if "DW.ref" not in line]
    assert [line.split(" T ")[1] for line in offered] == [f"mlff::{name}_kernel(bool)"]
