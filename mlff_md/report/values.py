"""JSON values (details of a check, provenance) as HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mlff_md.report.numbers import MISSING, format_column, format_compact
from mlff_md.report.wording import clean

# Longer lists are cut: the page is for reading, report.json holds every number.
MAX_ITEMS = 16
MAX_DEPTH = 3
MAX_CHARACTERS = 400


def esc(value: object) -> str:
    """Return text safe in HTML content and in quoted attributes."""
    return escape(clean(value), quote=True)


def prose(text: str) -> str:
    """Return escaped text in which a number and its per-cent sign stay on one line."""
    return re.sub(r"(?<=\d) (?=%)", "\u00a0", esc(text))


def value_html(value: Any, depth: int = 0) -> str:
    """Return any JSON value as HTML: lists, tables of like records, nested definition lists."""
    if isinstance(value, Mapping) and value and depth < MAX_DEPTH:
        return mapping_html(value, depth)
    if isinstance(value, (list, tuple)) and value and depth < MAX_DEPTH:
        return _list_html(value, depth)
    return _scalar_html(value)


def mapping_html(value: Mapping[str, Any], depth: int = 0) -> str:
    """Return a mapping as a definition list."""
    rows = (
        f"<dt>{esc(key)}</dt><dd>{value_html(item, depth + 1)}</dd>" for key, item in value.items()
    )
    return f"<dl>{''.join(rows)}</dl>"


def _scalar_html(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Counts and seeds: rounding would change their meaning.
        return esc(value).replace("-", "−")
    if isinstance(value, float):
        return format_compact(value)
    if isinstance(value, (Mapping, list, tuple)):
        return _code_html(value) if value else "none"
    text = esc(value)
    return text.replace("\n", "<br>") if text else MISSING


def _code_html(value: Any) -> str:
    """Return what is nested too deeply for a list as JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return f"<code>{esc(text[:MAX_CHARACTERS])}{'…' if len(text) > MAX_CHARACTERS else ''}</code>"


def _list_html(items: Sequence[Any], depth: int) -> str:
    if all(isinstance(item, Mapping) for item in items):
        columns = list(items[0])
        alike = all(list(item) == columns for item in items)
        flat = not any(isinstance(v, (Mapping, list)) for item in items for v in item.values())
        if columns and alike and flat:
            return _table_html(items, columns)
    shown = [value_html(item, depth + 1) for item in items[:MAX_ITEMS]]
    if any(isinstance(item, (Mapping, list)) for item in items):
        body = "".join(f"<dt>{i}</dt><dd>{item}</dd>" for i, item in enumerate(shown))
        return f"<dl>{body}</dl>{_rest(items)}"
    return ", ".join(shown) + _rest(items)


def _table_html(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    kinds = [
        ' class="text"' if any(isinstance(record[c], str) for record in records) else ""
        for c in columns
    ]
    head = "".join(f"<th{k}>{esc(c)}</th>" for c, k in zip(columns, kinds, strict=True))
    cells = [_column_html([record[c] for record in records[:MAX_ITEMS]]) for c in columns]
    rows = (
        "<tr>" + "".join(f"<td{k}>{v}</td>" for v, k in zip(row, kinds, strict=True)) + "</tr>"
        for row in zip(*cells, strict=True)
    )
    return (
        f'<div class="scroll"><table class="grid"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{_rest(records)}"
    )


def _column_html(values: Sequence[Any]) -> list[str]:
    if all(isinstance(value, float) for value in values):
        return format_column(values)
    return [_scalar_html(value) for value in values]


def _rest(items: Sequence[Any]) -> str:
    if len(items) <= MAX_ITEMS:
        return ""
    return f' <span class="sub">first {MAX_ITEMS} of {len(items)}; all are in report.json</span>'
