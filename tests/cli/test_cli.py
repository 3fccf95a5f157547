"""The command line: help, exit codes, and one line for every kind of bad input."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.cli import COMMANDS, explain, main
from mlff_md.cli.parser import Parser, add_options, chosen, parameter_texts
from mlff_md.md import run_nve, run_nvt
from mlff_md.protocols import nve
from mlff_md.student import Student

QUICK = ["--steps", "20", "--replicas", "2", "--equilibration-fs", "5", "--timestep-fs", "0.2"]


@pytest.fixture
def student_file(random_student: Student, tmp_path: Path) -> str:
    from mlff_md.student import save_student

    path = tmp_path / "untrained.safetensors"
    save_student(path, random_student.manifest, random_student.weights)
    return str(path)


@pytest.fixture
def ethanol_file(tmp_path: Path) -> str:
    path = tmp_path / "ethanol.xyz"
    write(path, molecule("CH3CH2OH"))
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    output = capsys.readouterr()
    return code, output.out, output.err


def one_error_line(text: str) -> str:
    """The error: the last line, no traceback; lines of progress may come before."""
    assert "Traceback" not in text
    return text.strip().splitlines()[-1]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in COMMANDS:
        assert f"  {name} " in out
    assert run(capsys, "--version")[0] == 0
    assert run(capsys)[0] == 3


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert f"example:\n  mlff-md {name}" in out


@pytest.mark.parametrize("function", [nve.run, run_nve, run_nvt])
def test_options_are_those_of_the_function(function) -> None:
    parser = Parser("x", "about", "example")
    add_options(parser, function, documented_in=run_nve)
    options = chosen(parser.parse_args([]), function)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert options[name] == parameter.default
            assert len(options) > 5


def test_parameter_texts() -> None:
    texts = parameter_texts(StudentForceFieldCalculator)
    assert texts["dtype"].startswith("float32 for MD; float64")
    assert "Raises" not in texts["threads"]


def test_models(capsys: pytest.CaptureFixture[str], student_file: str) -> None:
    assert run(capsys, "models")[0] == 0
    code, out, _ = run(capsys, "models", "show", student_file)
    assert code == 0
    assert "untrained" in out
    code, out, _ = run(capsys, "models", "show", student_file, "--json")
    assert json.loads(out)["name"] == "untrained"
    assert run(capsys, "models", "list") == run(capsys, "models")
    assert run(capsys, "models", "lst")[0] == 3


def test_validate_nve_writes_a_report(
    capsys: pytest.CaptureFixture[str], student_file: str, ethanol_file: str, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    words = ["validate-nve", ethanol_file, "--model", student_file, "--out", str(out), *QUICK]
    code, text, error = run(capsys, *words)
    report = json.loads((out / "report.json").read_text())
    assert code == {"pass": 0, "fail": 1, "inconclusive": 2}[report["verdict"]], error
    assert report["provenance"]["calculator"]["student"] == "untrained"
    assert report["provenance"]["settings"]["timestep_fs"] == 0.2
    assert "report.html" in text
    assert {check["id"] for check in report["checks"]} >= {"drift", "drift_per_100_steps"}
    before = (out / "report.json").read_bytes()

    code, _, error = run(capsys, *words)
    assert code == 3
    assert "--force" in one_error_line(error)
    assert (out / "report.json").read_bytes() == before

    code, text, _ = run(capsys, *words, "--force", "--json", "--threshold", "drift=1e9")
    judged = {check["id"]: check for check in json.loads(text)["checks"]}
    assert "set by the user" in judged["drift"]["source"]

    assert run(capsys, "report", str(out / "report.json"))[0] == 0


def test_md_writes_a_trajectory(
    capsys: pytest.CaptureFixture[str], student_file: str, ethanol_file: str, tmp_path: Path
) -> None:
    from ase.io import read

    out = tmp_path / "md.traj"
    words = ["md", ethanol_file, "--model", student_file, "--steps", "10", "--timestep-fs", "0.1"]
    words += ["--trajectory-every", "5", "--temperature-K", "50", "--out", str(out)]
    assert run(capsys, *words)[0] == 0
    assert len(read(out, ":")) == 3
    code, _, error = run(capsys, *words)
    assert code == 3
    assert "--force" in one_error_line(error)
    assert run(capsys, *words, "--force", "--ensemble", "nvt", "--friction-per-ps", "5")[0] == 0


def structures() -> dict[str, tuple[Atoms, str]]:
    nan = molecule("H2O")
    nan.positions[1, 1] = np.nan
    return {
        "element": (Atoms("AuH", [[0, 0, 0], [0, 0, 1.5]]), "does not know Au"),
        "nan": (nan, "not finite"),
        "overlap": (Atoms("CHC", [[0, 0, 0], [1.1, 0, 0], [0, 0, 0]]), "0.000 Å apart"),
    }


@pytest.mark.parametrize("case", structures())
def test_bad_structures(
    case: str, capsys: pytest.CaptureFixture[str], student_file: str, tmp_path: Path
) -> None:
    atoms, message = structures()[case]
    path = tmp_path / "bad.xyz"
    write(path, atoms)
    out = tmp_path / "out"
    code, _, error = run(
        capsys, "validate-nve", str(path), "--model", student_file, "--out", str(out)
    )
    assert code == 3
    assert message in one_error_line(error)
    assert not (out / "report.json").exists()


def test_bad_files(
    capsys: pytest.CaptureFixture[str], student_file: str, ethanol_file: str, tmp_path: Path
) -> None:
    def error_of(*words: str) -> str:
        code, _, error = run(capsys, *words)
        assert code == 3
        return one_error_line(error)

    base = ["--model", student_file, "--out", str(tmp_path / "out")]
    empty = tmp_path / "empty.xyz"
    empty.write_text("0\n\n")
    assert "no atoms" in error_of("validate-nve", str(empty), *base)
    garbage = tmp_path / "garbage.xyz"
    garbage.write_bytes(b"\x00\xff" * 50)
    assert "garbage.xyz" in error_of("validate-nve", str(garbage), *base)
    assert "missing.xyz" in error_of("validate-nve", str(tmp_path / "missing.xyz"), *base)
    assert "did you mean" in error_of("validate-nve", ethanol_file, "--model", "gfn2-xtbb")
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    words = ["validate-nve", ethanol_file, "--model", student_file, "--out", str(blocked / "out")]
    assert "blocked" in error_of(*words)
    assert "drift" in error_of("validate-nve", ethanol_file, *base, "--threshold", "drfit=1")
    assert "zero or more" in error_of(
        "validate-nve", ethanol_file, *base, "--threshold", "drift=-1"
    )
    assert "--steps" in error_of("validate-nve", ethanol_file, *base, "--stepps", "5")
    assert "--steps is not a whole number: 'many'" in error_of(
        "validate-nve", ethanol_file, *base, "--steps", "many"
    )
    assert "did you mean validate-nve" in error_of("validate-nev", ethanol_file)
    assert "report" in error_of("report", ethanol_file)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(
    capsys: pytest.CaptureFixture[str], student_file: str, ethanol_file: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    code, _, error = run(
        capsys, "validate-nve", ethanol_file, "--model", student_file, "--out", f"{tmp_path}/x"
    )
    tmp_path.chmod(0o700)
    assert code == 3
    assert "cannot" in one_error_line(error)


def test_no_teacher_installed(
    capsys: pytest.CaptureFixture[str],
    ethanol_file: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("tblite", "tblite.ase"):
        monkeypatch.setitem(sys.modules, name, None)
    code, _, error = run(
        capsys, "validate-nve", ethanol_file, "--model", "gfn2-xtb", "--out", str(tmp_path / "o")
    )
    assert code == 3
    assert "pip install" in one_error_line(error)


@pytest.mark.filterwarnings("default")
def test_warnings_reach_the_report(
    capsys: pytest.CaptureFixture[str], student_file: str, tmp_path: Path
) -> None:
    atoms = molecule("CH3CH2OH")
    atoms.info["charge"] = 1
    write(tmp_path / "charged.extxyz", atoms)
    words = ["validate-nve", str(tmp_path / "charged.extxyz"), "--model", student_file]
    _, _, error = run(capsys, *words, "--out", str(tmp_path / "out"), *QUICK)
    assert "mlff-md: warning: untrained knows neither charge nor spin" in error
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert any("charge=1" in line for line in report["provenance"]["warnings"])


def test_nothing_of_the_users_is_overwritten(
    capsys: pytest.CaptureFixture[str], student_file: str, ethanol_file: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("mine")
    words = ["validate-nve", ethanol_file, "--model", student_file, "--out", str(out), *QUICK]
    code, _, error = run(capsys, *words)
    assert code == 3
    assert "--force" in one_error_line(error)
    assert (out / "report.html").read_text() == "mine"
    code, _, error = run(
        capsys, "md", ethanol_file, "--model", student_file, "--out", ethanol_file, "--force"
    )
    assert code == 3
    assert "structure itself" in one_error_line(error)


def test_terminated_is_said(ethanol_file: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mlff_md", "md", ethanol_file, "--model", "tiny"]
    options = ["--steps", "1000000", "--timestep-fs", "0.01", "--temperature-K", "10"]
    out = tmp_path / "run.traj"
    process = subprocess.Popen(
        [*command, *options, "--out", str(out)], stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if out.exists() and out.stat().st_size > 0:
            break
        time.sleep(0.1)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert one_error_line(error) == "mlff-md md: terminated"


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, "models", "show", "nonsense", "--debug")
    assert code == 3
    assert "Traceback" in error


def test_unexpected_errors_are_called_bugs() -> None:
    assert "report it" in explain(ValueError("boom"))
    assert "disk is full" in explain(OSError(28, "No space left on device", "x"))


def test_installed_script_and_module_agree() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mlff_md", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("mlff-md ")


def test_options_that_would_do_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], student_file: str, ethanol_file: str, tmp_path: Path
) -> None:
    for words in (
        ["md", ethanol_file, "--model", student_file, "--friction-per-ps", "99"],
        ["md", ethanol_file, "--model", "emt", "--dtype", "float64"],
        ["label", "--split", "val", "--workers", "3"],
    ):
        code, _, error = run(capsys, *words, "--out", str(tmp_path / "x.traj"))
        assert code == 3
        assert "does nothing" in one_error_line(error)


def test_a_reader_that_leaves_does_not_change_the_exit_code() -> None:
    command = f"{sys.executable} -m mlff_md models; echo $? >&2"
    result = subprocess.run(
        ["bash", "-c", f"({command}) | true"], capture_output=True, text=True, check=True
    )
    assert result.stderr.strip() == "0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"ema_decay": -3.0}, "ema_decay"),
        ({"buckets": (10, 6)}, "buckets"),
        ({"buckets": ()}, "buckets"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
    ],
)
def test_training_settings_are_checked(change: dict, message: str) -> None:
    from mlff_md.distill.config import OptimizerConfig, StudentConfig
    from mlff_md.errors import ConfigError

    with pytest.raises(ConfigError, match=message):
        OptimizerConfig(**change)
    with pytest.raises(ConfigError, match="letters, digits"):
        StudentConfig("../evil")


def test_md_keeps_velocities(
    ethanol_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warm, run = tmp_path / "warm.traj", tmp_path / "run.traj"
    common = ["--model", "ultra-tiny", "--steps", "5", "--trajectory-every", "5"]
    assert main(["md", ethanol_file, "--ensemble", "nvt", "--out", str(warm), *common]) == 0
    assert main(["md", str(warm), "--keep-velocities", "--out", str(run), *common]) == 0
    before, after = read(warm, index=-1), read(run, index=0)
    np.testing.assert_array_equal(before.get_momenta(), after.get_momenta())
    cold = ["md", ethanol_file, "--keep-velocities", "--out", str(tmp_path / "no.traj"), *common]
    assert main(cold) == 3
    assert "holds no velocities to keep" in capsys.readouterr().err
    assert main([*cold, "--temperature-K", "200"]) == 3


def test_a_program_that_calls_us_keeps_its_signals() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main(["models"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.filterwarnings("default:neutral, this has")
def test_an_odd_number_of_electrons_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anion = molecule("CH3COOH")[:-1]
    anion.write(tmp_path / "acetate.xyz")
    out = str(tmp_path / "a.traj")
    assert main(["md", str(tmp_path / "acetate.xyz"), "--steps", "1", "--out", out]) == 0
    assert "31 electrons, an odd number: a radical, or an ion" in capsys.readouterr().err
    molecule("CH3COOH").write(tmp_path / "acid.xyz")
    assert main(["md", str(tmp_path / "acid.xyz"), "--steps", "1", "--out", out, "--force"]) == 0
    assert "electrons" not in capsys.readouterr().err
