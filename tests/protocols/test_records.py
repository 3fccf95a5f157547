"""Reports as data: nothing is lost on the way through JSON, verdicts combine as told."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mlff_md.errors import DataError
from mlff_md.protocols.records import (
    EXIT_CODES,
    SCHEMA_VERSION,
    Check,
    Figure,
    Quantity,
    ReferenceLine,
    Report,
    Series,
    Threshold,
    Tick,
    Verdict,
    overall_verdict,
)


def check(verdict: Verdict, check_id: str = "drift") -> Check:
    return Check(
        id=check_id,
        title="Energy drift",
        verdict=verdict,
        value=0.01,
        unit="meV/atom/ps",
        blind_to="most defects",
        summary="a line",
        ci=(-0.01, 0.03),
        n_eff=12.5,
        threshold=Threshold(0.05, "meV/atom/ps", "a manual"),
        source="a manual",
        details={"replicas": [{"index": 0, "slope": 0.01}], "class": None},
    )


def report() -> Report:
    return Report(
        command="validate-nve",
        title="tiny on ethanol, 300 K ü",
        verdict="pass",
        checks=(
            check("pass"),
            Check("bare", "Bare", "inconclusive", None, "1", "everything", "nothing known"),
        ),
        provenance={"settings": {"seed": 1}},
        quantities=(Quantity("kT", "in kT", 1.5, "kT/ns/atom", "papers", (1.0, 2.0)),),
        figures=(
            Figure(
                "energy",
                "Energy",
                "What it shows.",
                "t",
                "E",
                (Series("replica 0", [0.0, 1.0], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5], "band"),),
                (ReferenceLine("limit", 0.05, "y"),),
                y_scale="log",
                x_ticks=(Tick(0.0, "start"), Tick(1.0, "end")),
            ),
        ),
    )


def test_json_round_trip_loses_nothing() -> None:
    text = report().to_json()
    back = Report.from_json(text)
    assert back.to_json() == text
    assert back.checks[0] == report().checks[0]
    assert back.checks[1] == report().checks[1]
    assert back.quantities == report().quantities
    assert back.figures == report().figures
    assert back.schema_version == SCHEMA_VERSION


def test_json_has_plain_numbers_only() -> None:
    odd = Report(
        command="x",
        title="x",
        verdict="pass",
        checks=(),
        provenance={"a": math.nan, "b": np.float64(1.5), "c": np.arange(2), "d": (math.inf, 1)},
    )
    assert json.loads(odd.to_json())["provenance"] == {
        "a": None,
        "b": 1.5,
        "c": [0, 1],
        "d": [None, 1],
    }


@pytest.mark.parametrize(
    ("verdicts", "overall"),
    [
        ((), "inconclusive"),
        (("pass", "pass"), "pass"),
        (("pass", "inconclusive"), "inconclusive"),
        (("inconclusive", "fail", "pass"), "fail"),
    ],
)
def test_overall_verdict(verdicts: tuple[Verdict, ...], overall: str) -> None:
    assert overall_verdict([check(verdict) for verdict in verdicts]) == overall


def test_exit_codes() -> None:
    assert EXIT_CODES == {"pass": 0, "fail": 1, "inconclusive": 2}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "not json",
        '{"schema_version": "1.0"}',
        '{"schema_version": "1.0", "checks": 3, "quantities": [], "figures": []}',
        '{"schema_version": "2.0", "checks": [], "quantities": [], "figures": []}',
    ],
)
def test_foreign_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DataError) as caught:
        Report.from_json(text)
    assert "\n" not in str(caught.value)
