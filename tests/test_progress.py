"""Progress lines on a terminal and in a log."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from ase.build import molecule

from mlff_md import StudentForceFieldCalculator
from mlff_md.md import run_nve
from mlff_md.progress import ConsoleProgress, Part, Silent, silent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def drive(stream: io.StringIO, steps: int, seconds_per_step: float) -> str:
    clock = Clock()
    progress = ConsoleProgress(stream, clock)
    progress.begin("NVE", steps, timestep_fs=0.5)
    for step in range(steps + 1):
        clock.now = step * seconds_per_step
        progress.update(step)
    progress.end()
    return stream.getvalue()


def test_terminal_line_rewrites_itself_five_times_a_second() -> None:
    text = drive(Terminal(), 1000, 0.002)
    assert 10 <= text.count("\r") <= 11
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert "NVE  50 %  500 steps/s  21.6 ns/day  1 s left" in text
    assert "took 2 s" in text


def test_log_gets_few_whole_lines() -> None:
    text = drive(io.StringIO(), 1000, 0.1)
    lines = text.splitlines()
    assert "\r" not in text
    assert len(lines) == 4
    assert lines[0].startswith("NVE  30 %  10 steps/s")
    assert "1:10 min left" in lines[0]


def test_quick_task_in_a_log_is_one_line() -> None:
    assert len(drive(io.StringIO(), 10, 0.001).splitlines()) == 1


def test_shorter_line_wipes_the_longer_one() -> None:
    stream, clock = Terminal(), Clock()
    progress = ConsoleProgress(stream, clock)
    progress.begin("a rather long label", 10)
    clock.now = 1.0
    progress.update(1)
    progress.end()
    first, second = stream.getvalue().rstrip("\n").split("\r")[1:]
    assert len(second) >= len(first.rstrip())


def test_end_twice_and_no_steps_are_harmless() -> None:
    stream = io.StringIO()
    progress = ConsoleProgress(stream, Clock())
    progress.begin("nothing", 0)
    progress.end()
    progress.end()
    assert stream.getvalue() == "nothing 100 %\n"


def test_standard_error_is_found_when_writing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ConsoleProgress(clock=Clock())
    progress.begin("x", 1)
    progress.end()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "x   0 %\n"


def test_steps_of_an_earlier_run_count_for_no_rate() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = ConsoleProgress(stream, clock)
    progress.begin("NVE", 3000, timestep_fs=0.5)
    progress.skip(1000)
    progress.update(1001)
    part = Part(progress, 1500)
    part.skip(500)  # and the second half of it once more
    clock.now = 30.0
    part.update(800)
    clock.now = 40.0
    progress.update(2500)
    progress.end()
    running, last = stream.getvalue().splitlines()
    # 2300 steps are there, 1000 and 999 of them from before.
    assert running.startswith("NVE  77 %  10 steps/s  0.433 ns/day")
    assert running.endswith("1:10 min left")
    assert last == "NVE  83 %  12.5 steps/s  0.541 ns/day  took 40 s"


def test_a_run_with_nothing_left_to_do_has_no_rate() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = ConsoleProgress(stream, clock)
    progress.begin("NVE", 100, timestep_fs=0.5)
    progress.skip(100)
    clock.now = 0.01
    progress.end()
    assert stream.getvalue() == "NVE 100 %\n"


def test_a_resumed_run_tells_what_it_found(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    class Recorder(Silent):
        def skip(self, done: int) -> None:
            seen.append(("skip", done))

        def update(self, done: int) -> None:
            seen.append(("update", done))

    options = {"restart": tmp_path / "restart", "resume": True, "progress": Recorder()}
    for steps in (3, 5):
        run_nve(molecule("H2O"), StudentForceFieldCalculator("ultra-tiny"), steps=steps, **options)
    assert seen == [*(("update", k) for k in range(4)), ("skip", 3), ("update", 4), ("update", 5)]


def test_parts_count_within_the_whole() -> None:
    seen: list[object] = []

    class Recorder:
        def begin(self, label: str, total: int, timestep_fs: float | None = None) -> None:
            seen.append("begin")

        def skip(self, done: int) -> None:
            seen.append(("skip", done))

        def update(self, done: int) -> None:
            seen.append(done)

        def end(self) -> None:
            seen.append("end")

    part = Part(Recorder(), 100)
    part.begin("stage", 10)
    part.skip(2)
    part.update(3)
    part.end()
    assert seen == [("skip", 100), ("skip", 102), 103]


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent.begin("x", 10)
    silent.update(1)
    silent.end()
    assert capsys.readouterr() == ("", "")
