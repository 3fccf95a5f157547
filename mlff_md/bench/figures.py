"""What a benchmark shows at a glance, as figures for :mod:`mlff_md.report` to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlff_md.protocols.records import Figure, Series


def figures(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Return time against size, and throughput against batch where batches were timed.

    Parameters
    ----------
    rows
        Of a :class:`mlff_md.bench.BenchResult`.
    """
    found = []
    single = [row for row in rows if row["batch"] == 1]
    for student in dict.fromkeys(row["student"] for row in single):
        mine = [row for row in single if row["student"] == student]
        if len({row["atoms"] for row in mine}) > 1:
            found.append(
                Figure(
                    id=f"time-{student}",
                    title=f"{student}: time of an evaluation",
                    caption="Median time of energy and forces of one structure.",
                    x_label="atoms",
                    y_label="ms",
                    series=_series(mine, "atoms", "median_ms"),
                    x_scale="log",
                    y_scale="log",
                )
            )
    cases = dict.fromkeys((row["student"], row["atoms"]) for row in rows)
    for student, atoms in cases:
        mine = [row for row in rows if (row["student"], row["atoms"]) == (student, atoms)]
        if len({row["batch"] for row in mine}) > 1:
            found.append(
                Figure(
                    id=f"batch-{student}-{atoms}",
                    title=f"{student}: throughput of batches, {atoms} atoms",
                    caption="Structures evaluated in a second against how many at once.",
                    x_label="structures at once",
                    y_label="structures per second",
                    series=_series(mine, "batch", "structures_per_s"),
                    x_scale="log",
                    y_scale="log",
                )
            )
    return found


def _series(rows: Sequence[Mapping[str, Any]], x: str, y: str) -> list[Series]:
    lines = []
    for engine in dict.fromkeys(row["engine"] for row in rows):
        points = sorted((row[x], row[y]) for row in rows if row["engine"] == engine)
        lines.append(Series(engine, [p[0] for p in points], [p[1] for p in points]))
    return lines
