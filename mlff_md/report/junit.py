"""A report as JUnit XML, so that a CI server shows each check as a test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from mlff_md.report.wording import clean, limit_text

if TYPE_CHECKING:
    from mlff_md.protocols.records import Check, Report


def to_junit(report: Report) -> bytes:
    """Return the report as JUnit XML (UTF-8): an inconclusive check counts as skipped."""
    verdicts = [check.verdict for check in report.checks]
    counts = {
        "tests": str(len(verdicts)),
        "failures": str(verdicts.count("fail")),
        "errors": "0",
        "skipped": str(verdicts.count("inconclusive")),
    }
    root = ElementTree.Element("testsuites", {"name": "mlff-md", **counts})
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": clean(f"{report.command}: {report.title}"), **counts}
    )
    _properties(suite, {"verdict": report.verdict, **report.provenance})
    for check in report.checks:
        _case(suite, report.command, check)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _case(suite: ElementTree.Element, command: str, check: Check) -> None:
    attributes = {"classname": clean(f"mlff-md.{command}"), "name": clean(check.id)}
    case = ElementTree.SubElement(suite, "testcase", attributes)
    _properties(
        case,
        {
            "title": check.title,
            "value": check.value,
            "unit": check.unit,
            "ci": check.ci,
            "n_eff": check.n_eff,
            "limit": limit_text(check.threshold),
        },
    )
    if check.verdict == "fail":
        failure = ElementTree.SubElement(
            case, "failure", {"message": clean(check.summary), "type": "limit"}
        )
        failure.text = clean(f"Limit from: {check.source}\nCannot see: {check.blind_to}")
    elif check.verdict == "inconclusive":
        ElementTree.SubElement(case, "skipped", {"message": clean(check.summary)})


def _properties(parent: ElementTree.Element, values: dict[str, object]) -> None:
    group = ElementTree.SubElement(parent, "properties")
    for name, value in values.items():
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            ElementTree.SubElement(group, "property", {"name": clean(name), "value": clean(text)})
