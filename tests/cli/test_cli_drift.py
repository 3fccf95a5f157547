"""``mlff-md drift`` and the modes of ``mlff-md validate-nve``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import write

from mlff_md.cli import main
from mlff_md.protocols.defects import DEFECTS

LOGS = Path(__file__).parents[2] / "inputs" / "logs"


def test_drift_writes_a_report_and_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["drift", str(LOGS / "lammps-melt.log"), "--out", str(out)]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "Energy drift: -0.006" in text
    assert (out / "report.html").exists()
    assert main(words) == 3
    assert "already holds a report" in capsys.readouterr().err
    assert main([*words, "--force", "--threshold", "drift=0.001", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "fail"
    assert report["provenance"]["command_line"].startswith("mlff-md")


def test_drift_of_nonsense_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nonsense.log"
    path.write_text("nothing here\n")
    assert main(["drift", str(path), "--out", str(tmp_path / "o")]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "nonsense.log" in error
    assert not (tmp_path / "o").exists()


def test_quick_mode_makes_every_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "methanol.xyz", molecule("CH3OH"))
    words = ["validate-nve", str(tmp_path / "methanol.xyz"), "--quick"]
    words += ["--order-steps", "50", "--replicas", "2", "--steps", "50"]
    words += ["--equilibration-fs", "10", "--reversal-steps", "10", "--json"]
    main([*words, "--out", str(tmp_path / "out")])
    report = json.loads(capsys.readouterr().out)
    ids = {check["id"] for check in report["checks"]}
    assert {"drift", "dt_order", "reversibility", "force_gradient", "repeatability"} <= ids
    assert report["provenance"]["settings"]["mode"] == "quick"


@pytest.mark.slow
def test_self_test_prints_the_matrix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "methanol.xyz", molecule("CH3OH"))
    words = ["validate-nve", str(tmp_path / "methanol.xyz"), "--self-test"]
    words += ["--model", "ultra-tiny", "--order-steps", "50", "--reversal-steps", "10"]
    words += ["--equilibration-fs", "10", "--out", str(tmp_path / "out")]
    # So short a run need not decide the dynamic checks; the static ones name the defects.
    assert main(words) == 0
    text = capsys.readouterr().out
    for name in DEFECTS:
        assert f"\n{name} " in text
    assert main([*words, "--force", "--replicas", "7"]) == 3
    assert "--replicas does nothing with --self-test" in capsys.readouterr().err
