"""What is typed nearly right gets a line that names what was meant."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ase.build import molecule

from mlff_md import load_student
from mlff_md.cli import build_parser, main
from mlff_md.errors import StudentFileError


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["nve", "a.xyz"], "did you mean validate-nve?"),
        (["--verbose", "md"], "--verbose stands before the command; write it behind"),
        (["md", "a.xyz", "--temp", "300"], "did you mean --temperature-K?"),
        (["md", "a.xyz", "--dt", "1"], "did you mean --timestep-fs?"),
        (["md", "a.xyz", "-o", "x.traj"], "did you mean --out?"),
        (["models", "tiny"], "did you mean 'mlff-md models show tiny'?"),
        (["md", "a.xyz", "-T", "300"], "did you mean --temperature-K?"),
        (["md", "a.xyz", "tiny"], "did you mean --model tiny?"),
        (["export", "tiny", "onnx"], "nothing takes the word 'onnx'; options begin with --"),
        (["md", "a.xyz", "--guard", "stp"], "--guard cannot be 'stp'; did you mean stop?"),
        (["md", "aspirin"], "there is no structure file aspirin; give a file, such as .xyz"),
        (["md", "https://a.org/b.xyz"], "is an address; download it"),
        (["md", "a.xyz", "--temperature-K", "300K"], "--temperature-K is not a number: '300K'"),
        (["md", "a.xyz", "--steps", "0.5"], "--steps is not a whole number: '0.5'"),
        (["md", "a.xyz", "--steps", "inf"], "--steps is not a whole number: 'inf'"),
        (["lammps"], "ACTION is missing; there are info, deck, run, parity"),
        (["md"], "structure is missing"),
        (["distill"], "config, --out are missing"),
        (["help", "mdd"], "did you mean md?"),
        ([__file__], f"a command stands before {__file__}, such as: mlff-md validate-nve"),
        (["validate"], "did you mean validate-nve or validate-nvt?"),
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


def test_help_of_a_command_in_every_order(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for words in (["md", "--help"], ["help", "md"], ["--help", "md"]):
        assert main(words) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0].startswith("usage: mlff-md md ")
    assert len(set(texts)) == 1
    assert main(["help", "lammps", "deck"]) == 0
    assert capsys.readouterr().out.startswith("usage: mlff-md lammps deck ")


def test_words_that_an_option_takes_are_shown_and_any_case_will_do() -> None:
    parser = build_parser("md")
    text = parser.format_help()
    for option in ("--guard {warn,save,stop}", "--dtype {float32,float64}", "{nve,nvt}"):
        assert option in text
    assert parser.parse_args(["a.xyz", "--ensemble", "NVT"]).ensemble == "nvt"
    assert "--style {python,mlff}" in parser_help("lammps", "deck")
    assert "--format {torchscript,onnx," in build_parser("export").format_help()


def parser_help(command: str, action: str) -> str:
    actions = build_parser(command)._actions
    children = next(each.choices for each in actions if isinstance(each.choices, dict))
    text: str = children[action].format_help()
    return text


@pytest.mark.parametrize(("typed", "steps"), [("1e5", 100_000), ("100_000", 100_000), ("7", 7)])
def test_whole_numbers_as_people_write_them(typed: str, steps: int) -> None:
    assert build_parser("md").parse_args(["a.xyz", "--steps", typed]).steps == steps


def test_a_folder_says_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(*words: str) -> str:
        assert main([*words]) == 3
        return capsys.readouterr().err

    for folder in ("empty", "cut", "whole"):
        (tmp_path / folder).mkdir()
    (tmp_path / "cut" / "checkpoint.pt").write_bytes(b"")
    student = tmp_path / "whole" / "mine.safetensors"
    student.write_bytes(b"")
    assert "is a folder without a .safetensors file" in error("export", str(tmp_path / "empty"))
    assert "distillation that is not finished" in error("export", str(tmp_path / "cut"))
    assert f"give the student in it: {student}" in error("export", str(tmp_path / "whole"))
    near = str(student.with_name("mime.safetensors"))
    assert f"did you mean {student}?" in error("export", near)
    with pytest.raises(StudentFileError, match=r"is a folder without a .safetensors file"):
        load_student(tmp_path / "empty")


def test_a_calculator_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_potential.py").write_text("from ase.calculators.emt import EMT as Mine\n")
    molecule("H2O").write(tmp_path / "water.xyz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    words = ["md", "water.xyz", "--steps", "2", "--model"]
    assert main([*words, "own_potential.py:Mine"]) == 3
    assert "without .py: own_potential:Mine" in capsys.readouterr().err
    assert main([*words, "own_potential:Mine"]) == 0
