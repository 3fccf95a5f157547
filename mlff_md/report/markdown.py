"""A report as compact Markdown, fit for an issue or a pull request."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from mlff_md.report.numbers import format_with_interval, pretty_unit, with_unit
from mlff_md.report.wording import (
    VERDICT_WORD,
    clean,
    figure_names,
    limit_text,
    one_line,
    verdict_meaning,
)

if TYPE_CHECKING:
    from mlff_md.protocols.records import Check, Quantity, Report

_MARK = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}


def to_markdown(report: Report) -> str:
    """Return the report as GitHub-flavored Markdown."""
    meaning, cause = verdict_meaning(report)
    names = f": {', '.join(_text(check.title) for check in cause)}" if cause else ""
    parts = [
        f"## {_text(report.title)}",
        f"{_MARK[report.verdict]} **{VERDICT_WORD[report.verdict]}** "
        f"(`mlff-md {_code(report.command)}`). {meaning}{names}.",
    ]
    if report.checks:
        rows = [_check_row(check) for check in report.checks]
        parts.append(_table(("Check", "Value", "95 % CI", "Limit", "Verdict"), rows))
    notes = [check for check in report.checks if check.verdict != "pass"]
    if notes:
        parts.append(
            "\n".join(f"- **{_text(check.title)}**: {_text(check.summary)}" for check in notes)
        )
    if report.quantities:
        rows = [_quantity_row(quantity) for quantity in report.quantities]
        parts.append(_table(("For comparison", "Value", "95 % CI", "Source"), rows))
    if report.figures:
        links = (
            f"[{_text(figure.title)}](figures/{name}.png)"
            for figure, name in zip(report.figures, figure_names(report.figures), strict=True)
        )
        parts.append(f"Figures: {', '.join(links)}")
    if report.provenance:
        parts.append(_provenance(report))
    return "\n\n".join(parts) + "\n"


def _check_row(check: Check) -> tuple[str, ...]:
    value, interval = format_with_interval(check.value, check.ci)
    return (
        _text(check.title),
        _text(with_unit(value, pretty_unit(check.unit))),
        interval,
        _text(limit_text(check.threshold)),
        f"{_MARK[check.verdict]} {check.verdict}",
    )


def _quantity_row(quantity: Quantity) -> tuple[str, ...]:
    value, interval = format_with_interval(quantity.value, quantity.ci)
    return (
        _text(quantity.title),
        _text(with_unit(value, pretty_unit(quantity.unit))),
        interval,
        _text(quantity.source),
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: object) -> str:
    """Return one line in which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", one_line(value))


def _code(value: object) -> str:
    return one_line(value).replace("`", "'")


def _provenance(report: Report) -> str:
    text = clean(json.dumps(dict(report.provenance), indent=2, ensure_ascii=False))
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"<details><summary>Provenance</summary>\n\n{fence}json\n{text}\n{fence}\n\n</details>"
