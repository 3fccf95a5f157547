"""What is typed nearly right gets a line that names what was meant."""

from __future__ import annotations

import pytest

from mlff_md.cli import build_parser, main


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["nve", "a.xyz"], "did you mean validate-nve?"),
        (["--verbose", "md"], "--verbose stands before the command; write it behind"),
        (["md", "a.xyz", "--temp", "300"], "did you mean --temperature-K?"),
        (["md", "a.xyz", "--dt", "1"], "did you mean --timestep-fs?"),
        (["md", "a.xyz", "-o", "x.traj"], "did you mean --out?"),
        (["models", "tiny"], "did you mean 'mlff-md models show tiny'?"),
        (["lammps", "run", "a.xyz"], "make a deck of it: mlff-md lammps deck a.xyz"),
        (["export", "tiny", "--formt", "onnx"], "did you mean --format?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_hint(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 3
    assert hint in capsys.readouterr().err


def test_case_does_not_hide_a_student(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from ase.build import molecule

    path = tmp_path_factory.mktemp("case") / "water.xyz"
    molecule("H2O").write(path)
    assert main(["md", str(path), "--model", "TINY", "--out", str(path.with_suffix(".traj"))]) == 3
    assert "did you mean tiny" in capsys.readouterr().err


def test_units_of_options_are_shown() -> None:
    text = build_parser("md").format_help()
    assert "--friction-per-ps 1/PS" in text
    assert "--checkpoint-s S" in text
    assert "--skin-A ANGSTROM" in text
    assert "LAMMPS unit style" in build_parser("drift").format_help()
