"""What the pages show runs: each code block, page by page, as a reader would run it.

A page's blocks run in order in one folder, the Python ones in one session. Where that would take
too long, or needs what is not there, the line above the block says ``<!-- not run: why -->``; its
Python is then compiled and its commands are parsed.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

import pytest

from mlff_md.cli import COMMANDS, build_parser
from mlff_md.distill.config import DistillConfig
from mlff_md.student import load_student

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "inputs/*/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
SLOW = {
    "docs/choosing.md",
    "docs/exporting.md",
    "docs/forces.md",
    "docs/guard.md",
    "docs/running-long.md",
    "docs/validating.md",
    "inputs/structures/README.md",
}
"""More than five seconds on one core."""
LAMMPS = {"docs/lammps.md", "inputs/lammps/README.md"}
OPTIONAL = {
    "docs/exporting.md": ("onnx", "onnxruntime"),
    "docs/lammps.md": ("lammps",),
    "inputs/lammps/README.md": ("lammps",),
    "inputs/structures/README.md": ("rdkit", "tblite"),
}
"""Packages without which a page does not run."""

RUN_ALL = """
import subprocess, sys
session = {"__name__": "__main__"}
for file in sys.argv[1:]:
    with open(file, encoding="utf-8") as text:
        code = text.read()
    if file.endswith(".sh"):
        subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True)
    else:
        exec(compile(code, file, "exec"), session)
"""


@dataclass(frozen=True)
class Block:
    """A code block: where it starts, its language, its code, and whether it is to be run."""

    line: int
    language: str
    code: str
    runs: bool


def blocks(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    pattern = r"^(<!-- [^\n]* -->\n)?```(\w*)\n(.*?)^```$"
    for found in re.finditer(pattern, text, re.M | re.S):
        marker = found[1] or ""
        assert re.match(r"<!-- (not run|command): \S|$", marker), marker
        line = text.count("\n", 0, found.start(3)) + 1
        yield Block(line, found[2], found[3], not marker)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def pages_that_run() -> Iterator[object]:
    for path in PAGES:
        if any(block.runs and block.language in ("bash", "python") for block in blocks(path)):
            name = name_of(path)
            marks = [pytest.mark.slow] if name in SLOW else []
            marks += [pytest.mark.lammps] if name in LAMMPS else []
            yield pytest.param(path, marks=marks, id=name)


@pytest.mark.parametrize("path", list(pages_that_run()))
def test_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in OPTIONAL.get(name_of(path), ()):
        pytest.importorskip(package)
    files = []
    for block in blocks(path):
        if block.runs and block.language in ("bash", "python"):
            suffix = "sh" if block.language == "bash" else "py"
            file = tmp_path / f"{path.stem}-line-{block.line}.{suffix}"
            file.write_text(block.code, encoding="utf-8")
            files.append(file.name)
    for name in ("inputs", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN_ALL, *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def commands(code: str) -> Iterator[list[str]]:
    """Words of each ``mlff-md`` in a shell script, after its name."""
    variables = dict(re.findall(r'^(\w+)="(.*)"$', code, re.M))
    filled = Template(code.replace("\\\n", " ")).safe_substitute(variables)
    for line in filled.splitlines():
        words = shlex.split(line, comments=True)
        while "mlff-md" in words:
            words = words[words.index("mlff-md") + 1 :]
            ends = (i for i, word in enumerate(words) if word in ("&&", "|", ";", ">"))
            yield words[: next(ends, len(words))]


def commands_of_all_pages() -> Iterator[object]:
    for path in PAGES:
        for block in blocks(path):
            for words in commands(block.code) if block.language == "bash" else ():
                yield pytest.param(words, id=f"{path.name}:{block.line} {' '.join(words)}")


@pytest.mark.parametrize("words", list(commands_of_all_pages()))
def test_commands_are_understood(words: list[str]) -> None:
    if words[0].startswith("-"):
        assert words[0] in ("--help", "--version")
        return
    assert words[0] in COMMANDS
    build_parser(words[0]).parse_args(words[1:])


def test_python_and_toml_are_understood(tmp_path: Path) -> None:
    for path in PAGES:
        for block in blocks(path):
            if block.language == "python":
                compile(block.code, f"{path.name}:{block.line}", "exec")
            elif block.language == "toml":
                configuration = tmp_path / "student.toml"
                configuration.write_text(block.code, encoding="utf-8")
                assert DistillConfig.load(configuration).student.name


def source_texts() -> str:
    """Every text in the sources, those of formatted strings in pieces."""
    texts = []
    for path in (ROOT / "mlff_md").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    for path in (ROOT / "lammps_plugin").glob("*.cpp"):
        texts.append(re.sub(r'"\s*"', "", path.read_text(encoding="utf-8")))
    return "\n".join(texts)


FOREIGN = ("Unrecognized pair style", "MPI processor grid", "Cannot open", "cannot open")
"""Beginnings of what others say: LAMMPS, the linker."""


def test_quoted_messages_are_those_of_the_sources() -> None:
    texts = source_texts()
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    symptoms = re.findall(r"^\| (?!symptom|---)(.*?) \| ", page, re.M)
    messages = [quoted for symptom in symptoms for quoted in re.findall(r"`([^`]{25,})`", symptom)]
    assert len(messages) > 25
    for message in messages:
        if any(words in message for words in FOREIGN):
            continue
        for piece in message.split("..."):
            assert piece.strip(" ();:,") in texts, f"{message!r}: {piece!r}"


def test_choosing_has_the_numbers_of_the_cards() -> None:
    page = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
    names = ("original", "tiny", "ultra-tiny")
    cards = [load_student(name).manifest for name in names]
    errors = [card.accuracy["test"]["all"] for card in cards]
    for title, values in {
        "parameters": [f"{card.architecture.num_parameters:,}" for card in cards],
        "force R2 against the teacher": [f"{error['r2']:.4f}" for error in errors],
        "force MAE, eV/Å: all": [f"{error['mae_eV_per_A']:.3f}" for error in errors],
        "energy MAE within a molecule, meV/atom": [
            f"{error['energy_mae_meV_per_atom']:.2f}" for error in errors
        ],
    }.items():
        assert f"| {title} | {' | '.join(values)} |" in page


def test_the_two_commands_are_those_of_ci() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"<!-- command: (\w+) -->\n```bash\n(.*?)\n```", text, re.S)
    main, tests = dict(found)["main"], dict(found)["tests"]
    assert main.startswith("pip install -c constraints.txt")
    assert "mlff-md validate-nve" in main
    assert tests.endswith("python -m pytest")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "readme_command main" in ci
    assert "readme_command tests" in ci


def anchors(path: Path) -> set[str]:
    """Names that links to the headings of a page have, as code hosts make them."""
    prose = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.*)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
            if "://" in target:
                continue
            page = path.parent / target if target else path
            assert page.exists(), f"{path.name}: {target}"
            if anchor:
                assert anchor in anchors(page), f"{path.name}: {target}#{anchor}"
