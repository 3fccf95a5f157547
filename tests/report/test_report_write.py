import dataclasses
import json
import os
import resource
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from mlff_md.errors import ConfigError, DataError
from mlff_md.protocols.records import Check, Report
from mlff_md.report import render, write_report


def _contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _small(**changes):
    check = Check("c", "A check", "pass", 1.0, "eV", "nothing", "fine")
    report = Report("check", "small", "pass", (check,), {"seed": 1})
    return dataclasses.replace(report, **changes)


def test_writes_every_file(written, failing):
    folder = written.json.parent
    expected = {"report.json", "report.html", "report.md", "report.xml"}
    for figure in failing.figures:
        expected |= {f"figures/{figure.id}.png", f"figures/{figure.id}.svg"}
    assert set(_contents(folder)) == expected
    assert {path.relative_to(folder).as_posix() for path in written.figures} < expected
    assert Report.from_json(written.json.read_text()).title == failing.title


def test_render_gives_the_same_bytes(failing, tmp_path):
    report = dataclasses.replace(failing, figures=failing.figures[1:3])
    render(write_report(report, tmp_path / "once").json, tmp_path / "again")
    assert _contents(tmp_path / "again") == _contents(tmp_path / "once")


def test_render_in_place_leaves_the_json_alone(tmp_path):
    paths = write_report(_small(), tmp_path)
    before = _contents(tmp_path)
    stamp = paths.json.stat().st_mtime_ns
    paths.html.unlink()
    paths.markdown.write_text("spoilt")
    assert render(paths.json) == paths
    assert _contents(tmp_path) == before
    assert paths.json.stat().st_mtime_ns == stamp


def test_refusing_to_overwrite_leaves_the_files(tmp_path):
    paths = write_report(_small(), tmp_path)
    before = _contents(tmp_path)
    with pytest.raises(ConfigError, match="already holds a report; choose another --out") as info:
        write_report(_small(title="other"), tmp_path)
    assert "\n" not in str(info.value)
    assert _contents(tmp_path) == before
    write_report(_small(title="other"), tmp_path, overwrite=True)
    assert "other" in paths.html.read_text()


def test_render_does_not_overwrite_another_report(tmp_path):
    source = write_report(_small(), tmp_path / "a").json
    write_report(_small(title="other"), tmp_path / "b")
    with pytest.raises(ConfigError, match="already holds"):
        render(source, tmp_path / "b")


def test_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="a file is in the way") as info:
        write_report(_small(), tmp_path / "file" / "run")
    assert "\n" not in str(info.value)
    with pytest.raises(ConfigError, match="cannot write the report to"):
        write_report(_small(), tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="no permission"):
        write_report(_small(), tmp_path / "run")


def test_full_disk_leaves_the_old_report_and_no_half_file(tmp_path):
    write_report(_small(), tmp_path)
    before = _contents(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The real thing: the system refuses to let any file grow beyond this.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(ConfigError, match="cannot write the report") as info:
            write_report(_small(title="other"), tmp_path, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(info.value)
    assert _contents(tmp_path) == before


def test_full_disk_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="the disk is full; free some space"):
        write_report(_small(), tmp_path)
    assert not any(tmp_path.iterdir())


def test_files_follow_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        paths = write_report(_small(), tmp_path)
    finally:
        os.umask(old)
    assert paths.html.stat().st_mode & 0o777 == 0o644


def test_figures_stay_inside_the_folder(hostile):
    folder = hostile.json.parent
    assert [path.parent for path in hostile.figures] == [folder / "figures"] * 20
    assert len(set(hostile.figures)) == 20
    assert all(path.is_file() for path in hostile.figures)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw.update(verdict="maybe"), "report.verdict must be one of pass"),
        (lambda raw: raw.pop("checks"), "lacks 'checks'"),
        (lambda raw: raw.update(extra=1), "unknown entry 'extra'"),
        (lambda raw: raw["checks"][0].update(ci=[1.0]), r"checks\[0\].ci must have 2 items"),
        (lambda raw: raw["checks"][0].update(value="1"), "value must be number or null"),
        (lambda raw: raw["checks"][0].update(value=10**400), "value must be number"),
        (lambda raw: raw["figures"][0]["series"][0]["y"].pop(), "uneven arrays"),
        (lambda raw: raw.update(schema_version="2.0"), "upgrade mlff-md"),
    ],
)
def test_render_names_what_is_wrong(written, tmp_path, damage, message):
    raw = json.loads(written.json.read_text())
    damage(raw)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=message) as info:
        render(path, tmp_path / "out")
    assert str(path) in str(info.value)
    assert "\n" not in str(info.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_render_refuses_what_is_no_report(tmp_path, content):
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(DataError):
        render(path)


def test_render_of_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot read the report"):
        render(tmp_path / "report.json")


def test_numpy_values_are_written(tmp_path):
    report = _small(provenance={"x": np.float64(1.5), "y": np.arange(3)})
    text = write_report(report, tmp_path).json.read_text()
    assert json.loads(text)["provenance"] == {"x": 1.5, "y": [0, 1, 2]}


def test_matplotlib_settings_are_left_alone(tmp_path, failing):
    with matplotlib.rc_context({"axes.grid": True, "font.size": 31.0}):
        before = dict(matplotlib.rcParams)
        write_report(dataclasses.replace(failing, figures=failing.figures[1:2]), tmp_path)
        assert dict(matplotlib.rcParams) == before


def test_import_is_cheap():
    code = (
        "import sys, mlff_md.report; "
        "assert not {'matplotlib', 'torch', 'scipy', 'ase'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
