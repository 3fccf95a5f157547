"""Write a report folder: everything is drawn in memory first, then put in place atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_md.errors import ConfigError, DataError
from mlff_md.files import write_files
from mlff_md.protocols.records import DERIVED_FILES, FIGURES_FOLDER, REPORT_JSON
from mlff_md.report.html import to_html
from mlff_md.report.junit import to_junit
from mlff_md.report.markdown import to_markdown
from mlff_md.report.read import parse_report
from mlff_md.report.wording import figure_names

if TYPE_CHECKING:
    from mlff_md.protocols.records import Report

HTML_NAME, MARKDOWN_NAME, JUNIT_NAME = DERIVED_FILES


@dataclass(frozen=True)
class ReportPaths:
    """Where the files of a report lie.

    Attributes
    ----------
    json, html, markdown, junit
        ``report.json``, ``report.html``, ``report.md`` and ``report.xml``.
    figures
        ``figures/<id>.png`` and ``figures/<id>.svg``, in the order of the report.
    """

    json: Path
    html: Path
    markdown: Path
    junit: Path
    figures: tuple[Path, ...]


def write_report(report: Report, out_dir: str | Path, overwrite: bool = False) -> ReportPaths:
    """Write ``report`` as JSON, HTML, Markdown, JUnit XML and figures.

    Every file is drawn before the first one is written, and each replaces its predecessor in one
    step, ``report.json`` last: a reader never sees half a file, nor a ``report.json`` without the
    files drawn from it.

    Parameters
    ----------
    report
        What to write.
    out_dir
        Folder for the files; made if it does not exist.
    overwrite
        Replace a report that the folder already holds.

    Returns
    -------
    ReportPaths
        The files written.

    Raises
    ------
    ConfigError
        If the folder already holds a report and ``overwrite`` is false, or cannot be written.
    DataError
        If the report does not fit ``report.schema.json``.
    """
    folder = Path(out_dir)
    names = (REPORT_JSON, *DERIVED_FILES)
    if not overwrite and any(os.path.lexists(folder / name) for name in names):
        raise ConfigError(f"{folder} already holds a report; choose another --out or pass --force")
    text = report.to_json()
    # Drawn from what the JSON says, so that a later render() gives the same bytes.
    files = _derived_files(parse_report(text))
    files[REPORT_JSON] = text.encode()
    write_files(folder, files, "the report")
    return _paths(folder, files)


def render(
    report_json: str | Path, out_dir: str | Path | None = None, overwrite: bool = False
) -> ReportPaths:
    """Draw HTML, Markdown, JUnit XML and figures again from a ``report.json``.

    Parameters
    ----------
    report_json
        A file that :func:`write_report` wrote.
    out_dir
        Where to write; by default the folder of ``report_json``, whose derived files are replaced
        while ``report.json`` itself is left alone. Another folder gets a complete report.
    overwrite
        Replace a report that another folder already holds.

    Returns
    -------
    ReportPaths
        The files of the report.

    Raises
    ------
    DataError
        If the file is missing or is not a report that this version can read.
    ConfigError
        As :func:`write_report`.
    """
    source = Path(report_json)
    try:
        text = source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not an mlff-md report: it is not UTF-8 text") from error
    except OSError as error:
        raise DataError(
            f"cannot read the report {source}: {error.strerror or error}; "
            "give the path of a report.json"
        ) from error
    try:
        report = parse_report(text)
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    folder = source.parent if out_dir is None else Path(out_dir)
    if source.name != REPORT_JSON or folder.resolve() != source.parent.resolve():
        return write_report(report, folder, overwrite)
    files = _derived_files(report)
    write_files(folder, files, "the report")
    return _paths(folder, files)


def _derived_files(report: Report) -> dict[str, bytes]:
    """Return the files drawn from a report, by their path inside the folder."""
    files: dict[str, bytes] = {}
    inline: list[str] = []
    if report.figures:
        from mlff_md.report.figures import draw_figure
        from mlff_md.report.svg import inline_svg

        for figure, name in zip(report.figures, figure_names(report.figures), strict=True):
            svg, png = draw_figure(figure)
            inline.append(inline_svg(svg, f"fig-{name}-", f"{figure.title}. {figure.caption}"))
            files[f"{FIGURES_FOLDER}/{name}.png"] = png
            files[f"{FIGURES_FOLDER}/{name}.svg"] = svg.encode()
    files[HTML_NAME] = to_html(report, inline).encode()
    files[MARKDOWN_NAME] = to_markdown(report).encode()
    files[JUNIT_NAME] = to_junit(report)
    return files


def _paths(folder: Path, files: Mapping[str, bytes]) -> ReportPaths:
    return ReportPaths(
        json=folder / REPORT_JSON,
        html=folder / HTML_NAME,
        markdown=folder / MARKDOWN_NAME,
        junit=folder / JUNIT_NAME,
        figures=tuple(folder / name for name in files if name.startswith(f"{FIGURES_FOLDER}/")),
    )
