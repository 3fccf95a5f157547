"""What was probably meant: near names, in one wording."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mlff_md
from mlff_md.hints import hint, near_names

STUDENTS = ("original", "tiny", "ultra-tiny")


@pytest.mark.parametrize(
    ("typed", "known", "expected"),
    [
        ("tinny", STUDENTS, ["tiny"]),
        ("TINY", STUDENTS, ["tiny"]),
        ("gfn3", ("gfn2-xtb", "gfn1-xtb", "emt"), ["gfn1-xtb", "gfn2-xtb"]),
        ("exprot", ("report", "export"), ["export"]),
        ("orb-v3", ("orb-v2", "orb-v3-conservative-inf-omat"), ["orb-v2"]),
        ("orb", ("orb-v3-conservative-inf-omat",), ["orb-v3-conservative-inf-omat"]),
        ("", STUDENTS, []),
        ("zzz", STUDENTS, []),
    ],
)
def test_near_names(typed: str, known: tuple[str, ...], expected: list[str]) -> None:
    assert sorted(near_names(typed, known, cutoff=0.5)) == expected


def test_all_there_are_where_nothing_is_near() -> None:
    assert hint("zzz", STUDENTS) == "there are original, tiny, ultra-tiny"
    assert hint("orignal", iter(STUDENTS)) == "did you mean original?"


def test_no_message_has_a_wording_of_its_own() -> None:
    """Hints are made in one place: elsewhere nobody writes the question or finds near names."""
    package = Path(mlff_md.__file__).parent
    own = [
        str(path.relative_to(package))
        for path in sorted(package.rglob("*.py"))
        if path.name != "hints.py"
        and re.search(r"difflib|did you mean \{|; it has \{", path.read_text(encoding="utf-8"))
    ]
    assert own == []
