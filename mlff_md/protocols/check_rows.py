"""The rows of the checklist: each judges one entry of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlff_md.protocols.records import Check, Threshold, Verdict

Found = Mapping[str, Any]
Row = Callable[[Found, Mapping[str, Threshold]], Check]

_WARM_UP = 0.2  # of the evaluations: caches fill, the allocator settles


def loads(found: Found, thresholds: Mapping[str, Threshold]) -> Check:
    """Every format can be made, loads, and gives the numbers of torch in float64."""
    entries: Mapping[str, Any] = found["formats"]
    tried = {name: entry for name, entry in entries.items() if "skipped" not in entry}
    broken = {name: entry["error"] for name, entry in tried.items() if "error" in entry}
    worst = max(
        (entry["of_tolerance"] for entry in tried.values() if "error" not in entry), default=None
    )
    told = [
        f"{name} {entry['max_force_error_eV_per_A']:.1e} eV/Å, {entry['size_bytes']:,} B"
        for name, entry in tried.items()
        if "error" not in entry
    ]
    told += [f"{name}: {why}" for name, why in broken.items()]
    told += [f"{name}: {entry['skipped']}" for name, entry in entries.items() if "skipped" in entry]
    return _check(
        "loads",
        "Loads in all formats",
        thresholds["export_parity"],
        None if broken else worst,
        "; ".join(told) or "no format was asked for",
        "programs other than this package that load the files",
        entries,
        broken=bool(broken),
    )


def round_trip(found: Found, thresholds: Mapping[str, Threshold]) -> Check:
    """A student saved and loaded again is the same to the bit."""
    entry = found["round_trip"]
    wrong = entry["weights_different"] + (not entry["manifest_equal"])
    return _none_of(
        "round_trip",
        "Save and load",
        wrong,
        f"{entry['weights'] - entry['weights_different']} of {entry['weights']} weights equal to "
        f"the bit, manifest {'equal' if entry['manifest_equal'] else 'different'}",
        "files of other versions of the package",
        entry,
    )


def shapes(found: Found, thresholds: Mapping[str, Threshold]) -> Check:
    """Results have the shapes that they should, and are finite."""
    wrong = found["shapes"]
    return _none_of(
        "shapes",
        "Output shapes",
        len(wrong),
        "; ".join(wrong) or "energy, energies, forces and stress as documented, all finite",
        "whether the numbers are right",
        {"wrong": wrong},
    )


def single_atom(found: Found, thresholds: Mapping[str, Threshold]) -> Check:
    """An atom alone has an energy and no force."""
    entry = found["single_atom"]
    wrong = (not entry["finite"]) + (not entry["forces_zero"])
    return _none_of(
        "single_atom",
        "Single atom",
        wrong,
        f"{len(entry['energies_eV'])} elements alone: energies "
        f"{'finite' if entry['finite'] else 'not finite'}, "
        f"forces {'zero' if entry['forces_zero'] else 'not zero'}",
        "whether the energy of a free atom means anything: students are not trained on them",
        entry,
    )


def batch(found: Found, thresholds: Mapping[str, Threshold]) -> Check:
    """A batch gives what its structures give alone."""
    entry: Mapping[str, Mapping[str, float]] = found["batch"]
    worst = max(error for errors in entry.values() for error in errors.values())
    return _check(
        "batch",
        "Batches",
        thresholds["batch"],
        worst,
        "; ".join(
            f"{engine}, batches of {', '.join(errors)}: within {max(errors.values()):.1e} eV/Å of "
            "one by one"
            for engine, errors in entry.items()
        ),
        "larger batches",
        entry,
    )


def repeatability(found: Found, thresholds: Mapping[str, Threshold]) -> Check:
    """The same input gives the same output, to the bit."""
    entry = found["repeatability"]
    worst = entry["max_difference_eV_per_A"]
    return _none_of(
        "repeatability",
        "Same input, same output",
        worst,
        f"{entry['evaluations']} evaluations, half of them in new calculators: "
        + ("equal to the bit" if worst == 0.0 else f"differ by up to {worst:.1e} eV/Å"),
        "other machines, other numbers of threads, and structures that are sorted in space",
        entry,
        unit="eV/Å",
    )


def latency(found: Found, thresholds: Mapping[str, Threshold]) -> Check:
    """One molecule takes a few milliseconds."""
    entry = found["latency"]
    value = entry["median_ms"]
    return _check(
        "latency",
        "Latency at batch 1",
        thresholds["latency"],
        value,
        f"{entry['n_atoms']} atoms: median {value:.2f} ms, 95 % within {entry['p95_ms']:.2f} ms, "
        f"best {entry['best_ms']:.2f} ms, on this machine as busy as it was",
        "other machines and sizes (mlff-md bench)",
        entry,
    )


def leak(found: Found, thresholds: Mapping[str, Threshold]) -> Check:
    """Memory does not grow over many evaluations."""
    entry = found["leak"]
    x, y = np.array(entry["evaluations"], float), np.array(entry["resident_MB"], float)
    settled = x >= _WARM_UP * x[-1]
    slope = float(np.polyfit(x[settled], y[settled], 1)[0]) * 10_000
    return _check(
        "leak",
        "No leak",
        thresholds["leak"],
        slope,
        f"{int(x[-1]):,} evaluations: resident memory changes by {slope:+.3f} MB in 10,000, from "
        f"{y[settled][0]:.1f} to {y[-1]:.1f} MB after the first fifth",
        "leaks below a byte or two per evaluation, and those of other engines",
        entry,
    )


def large(found: Found, thresholds: Mapping[str, Threshold]) -> Check:
    """Large structures evaluate."""
    entry = found["large"]
    rows = entry.get("sizes", [])
    wrong = sum(not row["finite"] for row in rows) if rows else 1
    told = [f"{row['n_atoms']} atoms in {row['seconds']:.2f} s" for row in rows]
    return _none_of(
        "large",
        "Large structures",
        wrong,
        entry.get("error")
        or ", ".join(told) + f"; forces {'finite' if not wrong else 'not finite'}",
        "sizes beyond these",
        entry,
    )


def memory(found: Found, thresholds: Mapping[str, Threshold]) -> Check:
    """A process that evaluates the largest structure needs less than two gigabytes."""
    entry = found["large"]
    peak = entry.get("peak_MB")
    value = None if peak is None else peak / 1024.0
    size = max((row["n_atoms"] for row in entry.get("sizes", [])), default=0)
    return _check(
        "memory",
        "Memory",
        thresholds["memory"],
        value,
        entry.get("error") or f"a process that evaluates {size} atoms needs {peak:.0f} MB at most",
        "larger structures and batches",
        {"peak_MB": peak},
        broken=peak is None,
    )


def devices(found: Found, thresholds: Mapping[str, Threshold]) -> Check:
    """Every device that this machine has gives the same forces."""
    entries: Mapping[str, Any] = found["devices"]
    errors = {
        name: entry["max_force_error_eV_per_A"]
        for name, entry in entries.items()
        if "skipped" not in entry
    }
    told = [
        f"{name} ({entries[name]['engine']}) {error:.1e} eV/Å" for name, error in errors.items()
    ]
    told += [f"{name}: {entry['skipped']}" for name, entry in entries.items() if "skipped" in entry]
    return _check(
        "devices",
        "CPU and GPU",
        thresholds["batch"],
        max(errors.values(), default=None),
        "; ".join(told),
        "devices that this machine does not have",
        entries,
    )


ROWS: tuple[Row, ...] = (
    loads,
    round_trip,
    shapes,
    batch,
    repeatability,
    single_atom,
    large,
    memory,
    latency,
    leak,
    devices,
)
"""In the order in which a reader should see them."""


def _none_of(
    id: str, title: str, wrong: float, summary: str, blind_to: str, details: Any, unit: str = "1"
) -> Check:
    limit = Threshold(0.0, unit, "what a program that calls it may rely on")
    return _check(id, title, limit, float(wrong), summary, blind_to, details)


def _check(
    id: str,
    title: str,
    limit: Threshold,
    value: float | None,
    summary: str,
    blind_to: str,
    details: Any,
    broken: bool = False,
) -> Check:
    verdict: Verdict = "inconclusive"
    if broken:
        verdict = "fail"
    elif value is not None:
        verdict = "pass" if value <= limit.value else "fail"
    return Check(
        id=id,
        title=title,
        verdict=verdict,
        value=value,
        unit=limit.unit,
        threshold=limit,
        source=limit.source,
        blind_to=blind_to,
        summary=summary,
        details=dict(details),
    )
