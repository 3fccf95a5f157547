"""docs/api.md is what the package has: written by ``python tests/test_api.py``, compared here."""

from __future__ import annotations

import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mlff_md
from mlff_md.protocols.thresholds import THRESHOLDS

PAGE = Path(__file__).parents[1] / "docs" / "api.md"

INTRODUCTION = """\
# The Python interface

Everything here is typed (`py.typed`), has its parameters, units and errors in `help()`, and stays
as it is within a major version. Imports are lazy: `import mlff_md` is instant, torch is loaded by
what needs it. Errors that you can mend are `MlffError`. Arguments after `*` are given by name;
units stand in names: `_fs`, `_ps`, `_K`, `_A` (Å), `_eV`.
"""

SECTIONS = {
    "Running": (
        "mlff_md.StudentForceFieldCalculator",
        "mlff_md.StudentForceFieldCalculator.evaluate",
        "mlff_md.StudentForceFieldCalculator.describe",
        "mlff_md.run_nve",
        "mlff_md.run_nvt",
        "mlff_md.relax",
        "mlff_md.read_structure",
        "mlff_md.teacher",
        "mlff_md.load_student",
        "mlff_md.export",
        "mlff_md.MlffError",
        "mlff_md.progress.ConsoleProgress",
    ),
    "Judging": (
        "mlff_md.validate_nve",
        "mlff_md.validate_nvt",
        "mlff_md.compare",
        "mlff_md.analyze_forces",
        "mlff_md.analyze_drift",
        "mlff_md.write_report",
        "mlff_md.protocols.nve.analyze",
        "mlff_md.protocols.static.validate_static",
        "mlff_md.protocols.thresholds.with_overrides",
        "mlff_md.protocols.defects.with_defect",
        "mlff_md.protocols.defects.self_test",
        "mlff_md.protocols.pair_scans.scan_pairs",
        "mlff_md.protocols.robustness.stability",
        "mlff_md.bench.bench",
    ),
    "Distilling": (
        "mlff_md.distill",
        "mlff_md.StudentForceField",
        "mlff_md.distill.labelling.label",
        "mlff_md.distill.dataset.Dataset.load",
    ),
    "LAMMPS": (
        "mlff_md.lammps.preload_mpi",
        "mlff_md.lammps.deck.write_deck",
        "mlff_md.lammps.launcher.run_deck",
        "mlff_md.lammps.plugin.build",
    ),
}


def find(name: str) -> Any:
    # One name for a function and a package; the function has the docstring.
    return pkgutil.resolve_name(name if name != "mlff_md.distill" else f"{name}.train.distill")


def first_line(thing: Any) -> str:
    text = (inspect.getdoc(thing) or "").partition("\n\n")[0]
    assert text, f"{thing} has no docstring"
    line = " ".join(text.split())
    return re.sub(r":\w+:`~?([\w.]+)`", lambda found: f"`{found[1].rpartition('.')[2]}`", line)


def signature(name: str, thing: Any) -> str:
    """The call as it would be written, with types and defaults; no line breaks a parameter."""
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return ""
    found = inspect.signature(thing)
    lines, star = [f"{name.rpartition('.')[2]}("], False
    for parameter in found.parameters.values():
        word = parameter_text(parameter)
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            word, star = f"*, {word}", True
        if len(lines[-1]) + len(word) > 96:
            lines.append("   ")
        lines[-1] += f" {word}," if lines[-1][-1] in ", " else f"{word},"
    returned = found.return_annotation
    end = f" -> {returned}" if returned not in ("None", inspect.Signature.empty) else ""
    return "\n".join(lines).rstrip(",") + ")" + end


def parameter_text(parameter: inspect.Parameter) -> str:
    typed = f"{parameter.name}: {parameter.annotation}"
    text = typed if parameter.annotation is not parameter.empty else parameter.name
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{text}"
    default = parameter.default
    if default is parameter.empty:
        return text
    if default is THRESHOLDS:
        return f"{text} = THRESHOLDS"
    return f"{text} = {default.__name__ if callable(default) else repr(default)}"


def page() -> str:
    lines = [INTRODUCTION]
    for title, names in SECTIONS.items():
        lines.append(f"## {title}\n")
        for name in names:
            thing = find(name)
            shown = name.removeprefix("mlff_md.") if is_public(name) else name
            lines.append(f"### `{shown}`\n\n{first_line(thing).replace('``', '`')}\n")
            if text := signature(name, thing):
                lines.append(f"```text\n{text}\n```\n")
    return "\n".join(lines)


def is_public(name: str) -> bool:
    parts = name.split(".")
    return parts[1] in mlff_md.__all__ and (parts[1] != "distill" or len(parts) == 2)


def test_every_public_name_is_listed() -> None:
    listed = {name for names in SECTIONS.values() for name in names}
    assert {f"mlff_md.{name}" for name in mlff_md.__all__ if name != "__version__"} <= listed


@pytest.mark.parametrize("first", ["mlff_md", "mlff_md.distill.dataset", "mlff_md.distill.train"])
def test_distill_can_be_called_whatever_was_imported_before(first: str) -> None:
    code = f"import {first}; from mlff_md import distill; import mlff_md.distill.config as c;"
    code += "import mlff_md; assert mlff_md.distill.config is c; distill('missing.toml', 'out')"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ConfigError: cannot read missing.toml" in result.stderr


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/test_api.py"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
