"""What a report says, by the identifiers of its checks."""

from __future__ import annotations

from mlff_md.protocols.records import Check, Report


def checks(report: Report) -> dict[str, Check]:
    return {check.id: check for check in report.checks}


def verdicts(report: Report) -> dict[str, str]:
    return {check.id: check.verdict for check in report.checks}
