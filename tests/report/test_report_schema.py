import dataclasses
import json

import pytest

from mlff_md.protocols import records
from mlff_md.report.read import parse_report, report_schema

from .samples import hostile_report, sample_report

KNOWN = {
    "$defs", "$id", "$ref", "$schema", "additionalProperties", "anyOf", "description", "enum",
    "items", "maxItems", "minItems", "properties", "required", "title", "type",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("check", records.Check),
        ("threshold", records.Threshold),
        ("quantity", records.Quantity),
        ("figure", records.Figure),
        ("series", records.Series),
        ("line", records.ReferenceLine),
        ("tick", records.Tick),
        (None, records.Report),
    ],
)
def test_schema_names_the_fields_of_the_records(name, record):
    schema = report_schema()
    part = schema if name is None else schema["$defs"][name]
    fields = [field.name for field in dataclasses.fields(record)]
    assert sorted(part["properties"]) == sorted(fields)
    # What a later minor version added is not there in reports of an earlier one.
    assert set(fields) - set(part["required"]) == ({"x_ticks"} if name == "figure" else set())


def test_reader_knows_every_keyword_of_the_schema():
    def keywords(part):
        if isinstance(part, list):
            return set().union(*map(keywords, part)) if part else set()
        if not isinstance(part, dict):
            return set()
        found = set(part)
        for key, value in part.items():
            inner = list(value.values()) if key in ("properties", "$defs") else value
            found |= keywords(inner)
        return found

    assert keywords(report_schema()) <= KNOWN


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive", "hostile"])
def test_reports_fit_the_schema(verdict):
    jsonschema = pytest.importorskip("jsonschema")
    report = hostile_report() if verdict == "hostile" else sample_report(verdict)
    validator = jsonschema.Draft202012Validator(report_schema())
    validator.check_schema(report_schema())
    validator.validate(json.loads(report.to_json()))


def test_schema_and_reader_refuse_the_same_things():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(report_schema())
    for path, value in [
        (("verdict",), "maybe"),
        (("title",), 3),
        (("checks", 0, "ci"), [1.0, 2.0, 3.0]),
        (("checks", 0, "threshold", "sense"), "sideways"),
        (("checks", 0, "value"), True),
        (("figures", 0, "series", 0, "style"), "pie"),
        (("figures", 0, "series", 0, "low"), ["x"]),
        (("provenance",), []),
    ]:
        raw = json.loads(sample_report().to_json())
        *parents, last = path
        place = raw
        for key in parents:
            place = place[key]
        place[last] = value
        assert not validator.is_valid(raw)
        with pytest.raises(records.DataError, match="not a valid mlff-md report"):
            parse_report(json.dumps(raw))


def test_round_trip_loses_nothing():
    text = sample_report("fail").to_json()
    assert parse_report(text).to_json() == text
