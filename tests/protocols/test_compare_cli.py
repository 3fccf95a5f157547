"""``mlff-md compare``: verdicts as exit codes, reruns, and one line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import write

from mlff_md.cli import main

FEW = ["--replicas", "3", "--floor-replicas", "1", "--kicked-replicas", "1", "--steps", "60"]
FEW += ["--equilibration-fs", "20", "--labels", "4"]


@pytest.fixture(scope="module")
def ethanol_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("input") / "ethanol.xyz"
    write(path, molecule("CH3CH2OH"))
    return str(path)


@pytest.fixture(scope="module")
def made(ethanol_file: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison as the command line makes it."""
    folder = tmp_path_factory.mktemp("made") / "out"
    words = ["compare", ethanol_file, "--model", "ultra-tiny", "--teacher", TOY]
    code = main([*words, "--out", str(folder), *FEW])
    assert code in (0, 1, 2)
    return folder


TOY = "mlff_md.calculator:StudentForceFieldCalculator"
"""The student tiny, as the teacher of ultra-tiny: any importable calculator will do."""


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    output = capsys.readouterr()
    return code, output.out, output.err


def test_report_and_exit_code(
    made: Path, ethanol_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads((made / "report.json").read_text())
    assert report["command"] == "compare"
    assert report["provenance"]["settings"]["replicas"] == 3
    assert report["provenance"]["command_line"].startswith("mlff-md")
    assert (made / "report.html").exists()
    # Again, with another limit: nothing is run, the report is drawn from what is there.
    words = ["compare", ethanol_file, "--model", "ultra-tiny", "--teacher", TOY]
    stamps = {path: path.stat().st_mtime_ns for path in (made / "raw").glob("*.npz")}
    limit = ["--threshold", "on_policy_force_error=0.1"]
    code, out, _ = run(capsys, *words, "--out", str(made), *FEW, *limit, "--json")
    assert code == 1
    values = [
        {check["id"]: check["value"] for check in r["checks"]} for r in (report, json.loads(out))
    ]
    assert values[0] == values[1]
    assert stamps == {path: path.stat().st_mtime_ns for path in (made / "raw").glob("*.npz")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--teacher", "gfn2-xbt"], "gfn2-xbt"),
        (["--threshold", "bond=1"], "did you mean bonds"),
        (["--quick", "--full"], "not allowed with"),
        (["--step", "5"], "did you mean --steps"),
    ],
)
def test_one_line_for_a_mistake(
    words: list[str],
    message: str,
    ethanol_file: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = ["--out", str(tmp_path / "out")]
    try:
        code, _, err = run(capsys, "compare", ethanol_file, "--model", "tiny", *out, *words)
    except SystemExit as leaving:
        code, err = leaving.code, capsys.readouterr().err
    assert code == 3
    assert message in err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_comparison_is_refused(
    made: Path, ethanol_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (made / "report.json").read_bytes()
    words = ["compare", ethanol_file, "--model", "tiny", "--teacher", TOY, "--out", str(made)]
    code, _, err = run(capsys, *words, *FEW)
    assert code == 3
    assert "another model" in err.strip().splitlines()[-1]
    assert (made / "report.json").read_bytes() == before


def test_quick_fills_in_what_was_not_given() -> None:
    from mlff_md.cli import compare as command
    from mlff_md.cli.parser import Parser
    from mlff_md.protocols.compare import FULL, QUICK

    parser = Parser("x", "about", "example")
    command.configure(parser)
    for flag, preset in (("--quick", QUICK), ("--full", FULL)):
        arguments = parser.parse_args(["a.xyz", flag, "--steps", "777"])
        arguments.parser = parser
        options = command._options(arguments)
        assert options["steps"] == 777
        assert all(options[name] == value for name, value in preset.items() if name != "steps")
