"""What a judging command returns: checks with verdicts, figures as data, provenance.

One :class:`Report` is the source of truth. It is plain data: ``to_json`` and ``from_json`` lose
nothing, and everything a person sees (HTML, Markdown, PNG, JUnit) is drawn from it by
:mod:`mlff_md.report`. Protocols therefore never import a plotting library.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mlff_md.errors import DataError

SCHEMA_VERSION = "1.1"

REPORT_JSON = "report.json"
"""File in the output folder that holds the report."""

DERIVED_FILES = ("report.html", "report.md", "report.xml")
"""Files that :mod:`mlff_md.report` draws from it, beside those in :data:`FIGURES_FOLDER`."""

FIGURES_FOLDER = "figures"

Verdict = Literal["pass", "fail", "inconclusive"]

EXIT_CODES: Mapping[str, int] = {"pass": 0, "fail": 1, "inconclusive": 2}
"""Process exit code for each verdict; 3 means that the command could not run."""


@dataclass(frozen=True)
class Threshold:
    """A limit and where it comes from: data with a citation, never a literal in code.

    Attributes
    ----------
    value
        The limit, in ``unit``.
    unit
        Unit of the limit and of the value judged by it.
    source
        Citation: paper, manual or the measurement that set it.
    sense
        ``upper``: the value must not exceed the limit; ``lower``: must not fall below it.
    """

    value: float
    unit: str
    source: str
    sense: Literal["upper", "lower"] = "upper"


@dataclass(frozen=True)
class Check:
    """One check of a report.

    Attributes
    ----------
    id
        Stable identifier (``drift``, ``dt_order``, ...), for scripts.
    title
        What a person reads.
    value, unit, ci, n_eff
        Measured value, its unit, 95 % confidence interval and effective sample size;
        ``None`` where the notion does not apply.
    threshold
        The limit, or ``None`` for a figure that is reported and not judged.
    source
        Citation of the threshold (repeated from it so that scripts need not nest).
    verdict
        ``pass``, ``fail`` or ``inconclusive``.
    blind_to
        One line: what this check cannot see.
    summary
        One line: the verdict in words, with its numbers.
    details
        Anything else worth keeping, as JSON types.
    """

    id: str
    title: str
    verdict: Verdict
    value: float | None
    unit: str
    blind_to: str
    summary: str
    ci: tuple[float, float] | None = None
    n_eff: float | None = None
    threshold: Threshold | None = None
    source: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Quantity:
    """A figure reported for comparison with other packages, not judged."""

    id: str
    title: str
    value: float
    unit: str
    source: str
    ci: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """One curve or set of points of a figure; ``low`` and ``high`` draw error bars or a band."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    style: Literal["line", "points", "errorbar", "band", "bars"] = "line"


@dataclass(frozen=True)
class ReferenceLine:
    """A straight line across a figure: a threshold or a target."""

    label: str
    value: float
    axis: Literal["x", "y"] = "y"


@dataclass(frozen=True)
class Tick:
    """A place on the x axis that has a name."""

    value: float
    label: str


@dataclass(frozen=True)
class Figure:
    """A figure as data; :mod:`mlff_md.report` draws it. Named ticks stand in place of numbers."""

    id: str
    title: str
    caption: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    lines: Sequence[ReferenceLine] = ()
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    x_ticks: Sequence[Tick] = ()


@dataclass(frozen=True)
class Report:
    """Everything a judging command found.

    Attributes
    ----------
    command
        ``validate-nve``, ``compare``, ...
    title
        Headline: what was judged (``tiny on aspirin, 300 K``).
    verdict
        Overall verdict, see :func:`overall_verdict`.
    checks, quantities, figures
        Results, in the order in which a reader should see them.
    provenance
        Student, engine, versions, seeds, units, input hash, command line: JSON types only.
    """

    command: str
    title: str
    verdict: Verdict
    checks: Sequence[Check]
    provenance: Mapping[str, Any]
    quantities: Sequence[Quantity] = ()
    figures: Sequence[Figure] = ()
    schema_version: str = SCHEMA_VERSION

    def to_json(self) -> str:
        """Return the report as a JSON document (non-finite numbers become ``null``)."""
        return json.dumps(_finite(dataclasses.asdict(self)), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Rebuild a report from :meth:`to_json`.

        Raises
        ------
        DataError
            If the text is not a report of a schema this version can read.
        """
        try:
            raw = json.loads(text)
            version = str(raw["schema_version"])
            if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
                raise DataError(
                    f"report schema {version} cannot be read by this version (it reads "
                    f"{SCHEMA_VERSION}); upgrade mlff-md"
                )
            return _build_report(raw)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"not an mlff-md report: {error}") from error


def overall_verdict(checks: Sequence[Check]) -> Verdict:
    """Return ``fail`` if any check fails, else ``inconclusive`` if any is, else ``pass``.

    An empty list proves nothing and is inconclusive.
    """
    verdicts = {check.verdict for check in checks}
    if "fail" in verdicts:
        return "fail"
    if "inconclusive" in verdicts or not verdicts:
        return "inconclusive"
    return "pass"


def _build_report(raw: Mapping[str, Any]) -> Report:
    checks = []
    for item in raw["checks"]:
        threshold = item.get("threshold")
        fields = {
            **item,
            "ci": _pair(item.get("ci")),
            "threshold": Threshold(**threshold) if threshold else None,
        }
        checks.append(Check(**fields))
    quantities = [Quantity(**{**item, "ci": _pair(item.get("ci"))}) for item in raw["quantities"]]
    figures = []
    for item in raw["figures"]:
        fields = {
            **item,
            "series": tuple(Series(**series) for series in item["series"]),
            "lines": tuple(ReferenceLine(**line) for line in item["lines"]),
            "x_ticks": tuple(Tick(**tick) for tick in item.get("x_ticks", ())),
        }
        figures.append(Figure(**fields))
    return Report(
        **{
            **raw,
            "checks": tuple(checks),
            "quantities": tuple(quantities),
            "figures": tuple(figures),
        }
    )


def _pair(value: Sequence[float] | None) -> tuple[float, float] | None:
    return None if value is None else (value[0], value[1])


def _finite(value: Any) -> Any:
    """Replace nan and infinities by None, numpy scalars and arrays by plain types."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
