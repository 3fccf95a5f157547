"""Completion of shells: in real shells, with the words of the real parsers."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from mlff_md.cli import COMMANDS, main
from mlff_md.cli.completion import SHELLS, read_commands
from mlff_md.student import zoo


def script(shell: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(["completion", shell]) == 0
    return output.getvalue()


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completion")
    paths = {}
    for shell in SHELLS:
        paths[shell] = folder / shell
        paths[shell].write_text(script(shell), encoding="utf-8")
    return paths


def ask(shell: str, command: str, *arguments: object) -> list[str]:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell}")
    result = subprocess.run(
        [program, "-c", command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not result.stderr
    return result.stdout.split()


def in_bash(path: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    command = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mlff_md;'
    return ask("bash", command + ' printf "%s\\n" "${COMPREPLY[@]}"', path, "mlff-md", *words)


def in_fish(path: Path, line: str) -> list[str]:
    command = 'source $argv[1]; complete -C "$argv[2]" | string split -f1 \\t'
    return ask("fish", command, path, f"mlff-md {line}")


def test_all_commands_are_read() -> None:
    commands = {command.path: command for command in read_commands()}
    assert {path[0] for path in commands} == set(COMMANDS)
    assert ("lammps", "deck") in commands
    flags = {flag for option in commands["md",].options for flag in option.flags}
    assert {"--steps", "--timestep-fs", "--help"} <= flags


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["valid"], ["validate-nve", "validate-nvt"]),
        (["mod"], ["models"]),
        (["md", "--timestep"], ["--timestep-fs"]),
        (["md", "--ensemble", ""], ["nve", "nvt"]),
        # bash takes "--ensemble=nv" apart.
        (["md", "--ensemble", "="], ["nve", "nvt"]),
        (["md", "--ensemble", "=", "nv"], ["nve", "nvt"]),
        (["validate-nve", "a.xyz", "--model", "ul"], ["ultra-tiny"]),
        (["validate-nve", "a.xyz", "--engine", "nat"], ["native"]),
        (["lammps", "de"], ["deck"]),
        (["lammps", "deck", "a.xyz", "--ensemble", "n"], ["nve", "nvt", "npt", "none"]),
        (["completion", ""], list(SHELLS)),
        (["md", "--steps", ""], []),
        (["no-such-command", "--"], []),
    ],
    ids=" ".join,
)
def test_bash(scripts: dict[str, Path], words: list[str], expected: list[str]) -> None:
    assert in_bash(scripts["bash"], *words) == expected


def test_bash_knows_the_students(scripts: dict[str, Path]) -> None:
    assert in_bash(scripts["bash"], "export", "") == list(zoo.names())
    assert in_bash(scripts["bash"], "bench", "tiny", "sw") == ["sw-si-v1"]


def test_bash_offers_every_option(scripts: dict[str, Path]) -> None:
    for command in read_commands():
        flags = [flag for option in command.options for flag in option.flags]
        offered = in_bash(scripts["bash"], *command.path, "-")
        assert offered == flags


def test_bash_registers_it(scripts: dict[str, Path]) -> None:
    assert "_mlff_md" in ask("bash", 'source "$0"; complete -p mlff-md', scripts["bash"])


def test_zsh_reads_it(scripts: dict[str, Path]) -> None:
    # Whether it parses: completing needs a terminal.
    ask("zsh", 'zsh -n "$0"', scripts["zsh"])


def test_fish(scripts: dict[str, Path]) -> None:
    assert in_fish(scripts["fish"], "valid") == ["validate-nve", "validate-nvt"]
    assert in_fish(scripts["fish"], "md a.xyz --ensemble ") == ["nve", "nvt"]
    assert in_fish(scripts["fish"], "lammps deck a.xyz --ensemble np") == ["npt"]
    assert in_fish(scripts["fish"], "validate-nve a.xyz --timestep") == ["--timestep-fs"]


def test_unknown_shells_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 3
    assert "there are bash, zsh, fish" in capsys.readouterr().err
