"""Read a report and hold it against ``protocols/report.schema.json``."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from mlff_md.errors import DataError
from mlff_md.protocols.records import SCHEMA_VERSION, Report

_TYPES: dict[str, type] = {"string": str, "array": list, "object": dict, "null": type(None)}


@functools.cache
def report_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a report."""
    text = files("mlff_md.protocols").joinpath("report.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def parse_report(text: str) -> Report:
    """Return the report that ``text`` holds.

    Raises
    ------
    DataError
        If the text is not JSON, comes from a newer schema or does not fit the schema; the
        message names the place.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not an mlff-md report: not JSON ({error})") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    # A foreign major version is for from_json to refuse: its schema is not the one shipped here.
    if str(version).split(".")[0] == SCHEMA_VERSION.split(".")[0]:
        schema = report_schema()
        problem = _problem(raw, schema, schema["$defs"], "report")
        if problem is None:
            problem = _uneven_series(raw)
        if problem is not None:
            raise DataError(f"not a valid mlff-md report: {problem}")
    return Report.from_json(text)


def _problem(value: Any, schema: Any, defs: Mapping[str, Any], where: str) -> str | None:
    """Return the first place where ``value`` breaks ``schema``, or ``None``.

    Knows the keywords that the report schema uses and no others: a dependency on a full
    validator would be paid by every user for a file that has one author.
    """
    if "$ref" in schema:
        return _problem(value, defs[schema["$ref"].removeprefix("#/$defs/")], defs, where)
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_is_kind(value, kind) for kind in kinds):
            return f"{where} must be {' or '.join(kinds)}"
    if "anyOf" in schema:
        problems = [_problem(value, option, defs, where) for option in schema["anyOf"]]
        if None not in problems:
            return problems[0]
    if "enum" in schema and value not in schema["enum"]:
        return f"{where} must be one of {', '.join(schema['enum'])}"
    if isinstance(value, dict):
        return _object_problem(value, schema, defs, where)
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return f"{where} must have {schema['minItems']} items"
        items = schema.get("items", {})
        found = (_problem(item, items, defs, f"{where}[{i}]") for i, item in enumerate(value))
        return next((problem for problem in found if problem), None)
    return None


def _object_problem(
    value: Mapping[str, Any], schema: Mapping[str, Any], defs: Mapping[str, Any], where: str
) -> str | None:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            return f"{where} lacks {name!r}"
    for name, item in value.items():
        if name in properties:
            problem = _problem(item, properties[name], defs, f"{where}.{name}")
            if problem:
                return problem
        elif schema.get("additionalProperties") is False:
            return f"{where} has an unknown entry {name!r}"
    return None


def _is_kind(value: Any, kind: str) -> bool:
    if kind == "number":
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        # JSON integers have no bound, floats do.
        return isinstance(value, float) or abs(value) < 10**300
    return isinstance(value, _TYPES[kind])


def _uneven_series(raw: Mapping[str, Any]) -> str | None:
    """Return the first series whose arrays differ in length (JSON Schema cannot say that)."""
    for figure in raw["figures"]:
        for series in figure["series"]:
            arrays = (series[key] for key in ("x", "y", "low", "high"))
            if len({len(array) for array in arrays if array is not None}) > 1:
                return f"figure {figure['id']!r}, series {series['label']!r}: uneven arrays"
    return None
