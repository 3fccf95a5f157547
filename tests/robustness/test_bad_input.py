"""Each mistake of the table in ``docs/bad-input.md``, made for real at the command line."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import importlib.util
import io
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bad_input import SECTIONS, Case
from wrong_files import make_inputs

from mlff_md.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
REFRESH = "python tests/robustness/test_bad_input.py"
SMALL_MEMORY, SMALL_DISK = 48 * 2**20, "64k"
CASES = [(section, case) for section, cases in SECTIONS.items() for case in cases]
MARKS = {"here": (), "small memory": (), "LAMMPS": (pytest.mark.lammps,)}
PARAMETERS = [
    pytest.param(
        case, id=f"{case.command}, {case.how}", marks=MARKS.get(case.how, (pytest.mark.slow,))
    )
    for _, case in CASES
]

INTRODUCTION = """# Bad input

What goes wrong most often, and what is then said. Each line is a test that makes the mistake at the
command line (`tests/robustness/test_bad_input.py`, from which this page is written). The command
ends with exit code 3, or with the one that stands beside the message; the error is one line, the
last on standard error. No file that was there is changed, and none is left behind but, where a run
had begun, its trajectory and what it needs to go on. `...` stands for what differs from machine to
machine.

`--debug` adds the traceback. Files are also damaged at random, hundreds for each loader
(`tests/robustness/test_fuzz.py`): they get such a line, too, run nothing and touch nothing else.
"""


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    error: str
    changed: tuple[str, ...]
    left: tuple[str, ...]


def told(case: Case, folder: Path) -> Outcome:
    """Run a case in a folder of inputs, and put away what it leaves."""
    with place(case, folder):
        before = contents(folder)
        run = {"here": _here, "LAMMPS": _lammps, "interrupted": _process, "terminated": _process}
        code, error = run.get(case.how, _here)(case, folder)
        after = contents(folder)
    changed = [name for name, content in before.items() if after.get(name) != content]
    left = sorted(set(after) - set(before))
    for name in left:
        (folder / name).unlink(missing_ok=True)
    return Outcome(code, error, tuple(changed), tuple(left))


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _here(case: Case, folder: Path) -> tuple[int, str]:
    stream, before = io.StringIO(), Path.cwd()
    handler = signal.getsignal(signal.SIGTERM)
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stream):
            code = main(case.command.split())
    finally:
        os.chdir(before)
        signal.signal(signal.SIGTERM, handler)
    return code, stream.getvalue()


def _lammps(case: Case, folder: Path) -> tuple[int, str]:
    """Run a deck, and return LAMMPS' own error without the place in its source."""
    command = [sys.executable, "-m", "mlff_md", *case.command.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    found = re.findall(r"^ERROR: (.*?)(?: \(\S+:\d+\))?$", done.stdout + done.stderr, re.M)
    return done.returncode, f"mlff-md lammps: {found[-1] if found else done.stderr}"


def _process(case: Case, folder: Path) -> tuple[int, str]:
    """Start a run, wait until it writes, and send it a signal."""
    words = case.command.split()
    out = folder / words[words.index("--out") + 1]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlff_md", *words],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background without it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        for _ in range(2400):
            if process.poll() is not None or (out.exists() and out.stat().st_size > 5000):
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT if case.how == "interrupted" else signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode, error


@contextlib.contextmanager
def place(case: Case, folder: Path) -> Iterator[None]:
    """Make the disk, the folder or the memory that a case is about."""
    if case.how == "full disk":
        with mounted(folder / "disk", f"size={SMALL_DISK}"):
            yield
    elif case.how == "read-only":
        target = folder / "read-only"
        if os.geteuid() == 0:  # who may write anywhere else
            with mounted(target, "ro"):
                yield
            return
        target.mkdir(exist_ok=True)
        target.chmod(0o500)
        try:
            yield
        finally:
            target.chmod(0o700)
    elif case.how == "small memory":
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (size + SMALL_MEMORY, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    else:
        yield


@contextlib.contextmanager
def mounted(target: Path, options: str) -> Iterator[None]:
    """Mount a file system in memory, which only root may do."""
    target.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad-input")
    make_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def plugin_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the plugin is compiled."""
    from mlff_md.errors import MlffError
    from mlff_md.lammps import plugin

    folder = tmp_path_factory.mktemp("plugin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFF_MD_CACHE", str(folder))
        try:
            plugin.build()
        except MlffError as error:
            pytest.skip(str(error))
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFF_MD_CACHE", str(tmp_path))


@pytest.mark.parametrize("case", PARAMETERS)
def test_bad_input(
    case: Case, inputs: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case.needs and importlib.util.find_spec(case.needs) is None:
        pytest.skip(f"needs {case.needs}")
    if case.how == "LAMMPS":
        monkeypatch.setenv("MLFF_MD_CACHE", str(request.getfixturevalue("plugin_cache")))
    outcome = told(case, inputs)
    assert "Traceback" not in outcome.error
    line = outcome.error.strip().splitlines()[-1]
    pattern = ".*".join(re.escape(part) for part in case.says.split("..."))
    words = "error: " if case.code == 3 else ""
    assert re.fullmatch(rf"mlff-md( [\w-]+)?: {words}{pattern}", line), line
    assert outcome.code == case.code
    assert not outcome.changed
    for name in outcome.left:
        assert any(fnmatch.fnmatch(name, pattern) for pattern in case.leaves), name


def test_every_command_has_its_mistakes() -> None:
    from mlff_md.cli import COMMANDS

    assert {case.command.split()[0] for _, case in CASES} >= set(COMMANDS)


def page() -> str:
    """Return the page that shows the table."""
    lines = [INTRODUCTION]
    for section, cases in SECTIONS.items():
        lines += [f"## {section}", "", "| mistake | `mlff-md` | says |", "|---|---|---|"]
        for case in cases:
            code = "" if case.code == 3 else f" (exit code {case.code})"
            says = case.says.replace("|", "\\|")
            lines.append(f"| {case.mistake} | `{case.command}` | {says}{code} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def test_the_page_is_this_table() -> None:
    assert PAGE.exists(), f"run: {REFRESH}"
    assert PAGE.read_text(encoding="utf-8") == page(), f"run: {REFRESH}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
