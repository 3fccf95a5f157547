"""What a report says in words: verdicts, limits, file names. The same in every format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlff_md.report.numbers import format_compact, pretty_unit, with_unit

if TYPE_CHECKING:
    from mlff_md.protocols.records import Check, Figure, Report, Threshold

VERDICT_WORD: Mapping[str, str] = {"pass": "Pass", "fail": "Fail", "inconclusive": "Inconclusive"}

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(value: object) -> str:
    """Return text that UTF-8, XML and HTML can hold; what they cannot becomes U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", str(value))


def one_line(value: object) -> str:
    """Return cleaned text with every run of white space made one blank."""
    return re.sub("[ \t\r\n\x0b\x0c\u2028\u2029]+", " ", clean(value)).strip()


def slug(value: str) -> str:
    """Return a name that is safe in a path and as an XML identifier."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", value).strip("-")[:80] or "unnamed"


def figure_names(figures: Sequence[Figure]) -> list[str]:
    """Return one file name (without suffix) for each figure, distinct on any file system."""
    return unique_slugs([figure.id for figure in figures])


def unique_slugs(values: Sequence[str]) -> list[str]:
    """Return a slug for each value, numbered where two would be equal but for case."""
    names: list[str] = []
    taken: set[str] = set()
    for value in values:
        base = name = slug(value)
        number = 2
        while name.lower() in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def verdict_counts(checks: Sequence[Check]) -> str:
    """Return ``7 pass, 1 fail`` in the order pass, fail, inconclusive."""
    counts = Counter[str](check.verdict for check in checks)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICT_WORD if counts[verdict])


def verdict_meaning(report: Report) -> tuple[str, list[Check]]:
    """Return one sentence on what the overall verdict means, and the checks that it rests on.

    The sentence ends without a full stop, so that the names of the checks can follow it.
    """
    total = len(report.checks)
    if total == 0:
        return "Nothing was judged, so nothing is shown", []
    if report.verdict == "pass":
        others = [check for check in report.checks if check.verdict != "pass"]
        if others:
            return f"Judged as a pass although {len(others)} of {total} checks do not pass", others
        subject = "The one check keeps" if total == 1 else f"All {total} checks keep"
        possessive = "its limit" if total == 1 else "their limits"
        return f"{subject} to {possessive}, confidence intervals included", []
    cause = [check for check in report.checks if check.verdict == report.verdict]
    if report.verdict == "fail":
        verb = "does not keep to its limit" if len(cause) == 1 else "do not keep to their limits"
        return f"{len(cause)} of {total} {_checks(total)} {verb}", cause
    return (
        f"No check fails, but the data cannot decide {len(cause)} of {total} {_checks(total)}, "
        "which longer runs or more replicas may settle",
        cause,
    )


def limit_text(threshold: Threshold | None) -> str:
    """Return ``≤ 0.05 meV/atom/ps``, or ``not judged``."""
    if threshold is None:
        return "not judged"
    sign = "≤" if threshold.sense == "upper" else "≥"
    return f"{sign} {with_unit(format_compact(threshold.value, 6), pretty_unit(threshold.unit))}"


def headline_facts(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the few facts of the provenance that belong beside the verdict."""
    places = [provenance]
    places += [item for item in provenance.values() if isinstance(item, Mapping)]
    facts = []
    for key in ("student", "teacher", "engine", "backend", "dtype", "device"):
        for place in places:
            value = place.get(key)
            if isinstance(value, Mapping):
                value = value.get("name")
            if isinstance(value, str) and value:
                facts.append((key, value))
                break
    return facts


def _checks(total: int) -> str:
    return "check" if total == 1 else "checks"
