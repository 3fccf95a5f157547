"""A report as one web page that needs nothing from outside: no script, font, link or network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlff_md.report.numbers import format_compact, format_with_interval, pretty_unit, with_unit
from mlff_md.report.sampling import thinning_note
from mlff_md.report.style import STYLE
from mlff_md.report.values import esc, mapping_html, prose
from mlff_md.report.wording import (
    VERDICT_WORD,
    headline_facts,
    limit_text,
    unique_slugs,
    verdict_counts,
    verdict_meaning,
)

if TYPE_CHECKING:
    from mlff_md.protocols.records import Check, Figure, Quantity, Report

# Drawn, not typed: check marks are missing from many system fonts.
_ICONS = {
    "pass": '<path d="M4.6 8.3l2.3 2.4 4.6-5.2"/>',
    "fail": '<path d="M5.3 5.3l5.4 5.4M10.7 5.3l-5.4 5.4"/>',
    "inconclusive": '<path d="M6.1 6.2a1.95 1.95 0 1 1 2.75 1.95C8.2 8.5 8 8.8 8 9.5M8 11.6v.05"/>',
}


def to_html(report: Report, figures: Sequence[str]) -> str:
    """Return the page.

    Parameters
    ----------
    report
        What to show.
    figures
        One inline SVG element for each figure of the report, in its order.
    """
    anchors = [f"check-{name}" for name in unique_slugs([check.id for check in report.checks])]
    sections = [
        _header(report, anchors),
        _checks(report.checks, anchors),
        _figures(report.figures, figures),
        _quantities(report.quantities),
        _provenance(report),
    ]
    title = f"{VERDICT_WORD[report.verdict]}: {report.title}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{esc(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n<footer>Numbers are rounded for reading; <code>report.json</code> "
        f"(schema {esc(report.schema_version)}) holds them in full.</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def _icon(verdict: str) -> str:
    return (
        '<svg class="icon" viewBox="0 0 16 16" fill="none" stroke="currentColor" '
        'stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">'
        f'<circle cx="8" cy="8" r="7"/>{_ICONS[verdict]}</svg>'
    )


def _header(report: Report, anchors: Sequence[str]) -> str:
    meaning, cause = verdict_meaning(report)
    links = [
        f'<a href="#{anchor}">{esc(check.title)}</a>'
        for check, anchor in zip(report.checks, anchors, strict=True)
        if any(check is item for item in cause)
    ]
    sentence = meaning + (f": {', '.join(links)}." if links else ".")
    facts = "".join(
        f"<span>{esc(name)} <b>{esc(value)}</b></span>"
        for name, value in headline_facts(report.provenance)
    )
    return (
        f'<header>\n<p class="kicker">mlff-md {esc(report.command)}</p>\n'
        f"<h1>{esc(report.title)}</h1>\n"
        + (f'<p class="facts">{facts}</p>\n' if facts else "")
        + f'<div class="overall {report.verdict}">{_icon(report.verdict)}'
        f'<div><p class="word">{VERDICT_WORD[report.verdict]}</p>'
        f'<p class="meaning">{sentence}</p></div></div>\n</header>'
    )


def _checks(checks: Sequence[Check], anchors: Sequence[str]) -> str:
    if not checks:
        return ""
    rows = "\n".join(_check(check, anchor) for check, anchor in zip(checks, anchors, strict=True))
    # Roles are repeated because the phone layout changes `display`, which would drop them.
    return (
        f'<section>\n<h2>Checks <span class="sub">{verdict_counts(checks)}</span></h2>\n'
        '<table class="checks stack" role="table"><colgroup><col class="title">'
        '<col class="value"><col class="limit"><col></colgroup>\n'
        '<thead role="rowgroup"><tr role="row"><th role="columnheader">Check</th>'
        '<th role="columnheader">Value</th><th role="columnheader">Limit</th>'
        f'<th role="columnheader">Verdict</th></tr></thead>\n{rows}\n</table>\n</section>'
    )


def _check(check: Check, anchor: str) -> str:
    value, interval = format_with_interval(check.value, check.ci)
    notes = [f"95\u00a0%\u00a0CI {interval}"] if interval else []
    if check.n_eff is not None:
        notes.append(f"<i>n</i><sub>eff</sub>\u00a0=\u00a0{format_compact(check.n_eff, 3)}")
    note = f'<span class="sub">{" · ".join(notes)}</span>' if notes else ""
    rows = [
        ("Limit from", check.source or (check.threshold.source if check.threshold else "")),
        ("Cannot see", check.blind_to),
    ]
    inside = "".join(f"<dt>{name}</dt><dd>{prose(text)}</dd>" for name, text in rows if text)
    if check.details:
        inside += f"<dt>Details</dt><dd>{mapping_html(check.details)}</dd>"
    inside += f"<dt>Identifier</dt><dd><code>{esc(check.id)}</code></dd>"
    state = "" if check.verdict == "pass" else " open"
    return (
        f'<tbody class="check" role="rowgroup" id="{anchor}">\n<tr role="row">'
        f'<th scope="row" role="rowheader">{esc(check.title)}</th>'
        f'<td role="cell" data-label="Value"><span>'
        f"{with_unit(value, esc(pretty_unit(check.unit)))}</span>{note}</td>"
        f'<td role="cell" data-label="Limit"><span>{esc(limit_text(check.threshold))}</span></td>'
        f'<td role="cell" class="verdict"><span class="badge {check.verdict}">'
        f"{_icon(check.verdict)}{VERDICT_WORD[check.verdict]}</span></td></tr>\n"
        f'<tr class="more" role="row"><td colspan="4" role="cell"><details{state}>'
        f"<summary>{prose(check.summary or 'Details')}</summary>"
        f'<div class="inside"><dl>{inside}</dl></div></details></td></tr>\n</tbody>'
    )


def _figures(figures: Sequence[Figure], drawings: Sequence[str]) -> str:
    if not figures:
        return ""
    items = "\n".join(
        f"<figure>{drawing}<figcaption><b>Figure {number}. {esc(figure.title.rstrip('.'))}.</b> "
        f"{prose(figure.caption)} {thinning_note(figure)}</figcaption></figure>"
        for number, (figure, drawing) in enumerate(zip(figures, drawings, strict=True), 1)
    )
    return f'<section>\n<h2>Figures</h2>\n<div class="figures">\n{items}\n</div>\n</section>'


def _quantities(quantities: Sequence[Quantity]) -> str:
    if not quantities:
        return ""
    rows = []
    for quantity in quantities:
        value, interval = format_with_interval(quantity.value, quantity.ci)
        note = f'<span class="sub">95\u00a0%\u00a0CI {interval}</span>' if interval else ""
        rows.append(
            f'<tr role="row"><th scope="row" role="rowheader">{esc(quantity.title)}</th>'
            f'<td role="cell" data-label="Value"><span>'
            f"{with_unit(value, esc(pretty_unit(quantity.unit)))}</span>{note}</td>"
            f'<td role="cell" data-label="Source"><span>{esc(quantity.source)}</span></td></tr>'
        )
    body = "\n".join(rows)
    return (
        "<section>\n<h2>For comparison "
        '<span class="sub">reported, not judged</span></h2>\n'
        '<table class="plain stack" role="table"><thead role="rowgroup"><tr role="row">'
        '<th role="columnheader">Quantity</th><th role="columnheader">Value</th>'
        '<th role="columnheader">Source</th></tr></thead>\n'
        f'<tbody role="rowgroup">\n{body}\n</tbody>\n</table>\n</section>'
    )


def _provenance(report: Report) -> str:
    if not report.provenance:
        return ""
    return (
        '<section>\n<h2>Provenance</h2>\n<details class="provenance">'
        "<summary>What was run, with which versions, seeds and settings</summary>"
        f'<div class="inside">{mapping_html(report.provenance)}</div></details>\n</section>'
    )
