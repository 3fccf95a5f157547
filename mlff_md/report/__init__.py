"""Turn a :class:`~mlff_md.protocols.records.Report` into files that people and machines read.

``report.json`` is the source of truth; the web page, the Markdown summary, the JUnit file and the
figures are drawn from it and can be drawn again at any time with :func:`render`.
"""

from mlff_md.report.write import ReportPaths, render, write_report

__all__ = ["ReportPaths", "render", "write_report"]
