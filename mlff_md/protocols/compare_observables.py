"""Paired observables: whether what the model's runs show is what the teacher's runs show.

Each observable is judged against an equivalence margin. Beside it stand the distance of the teacher
from itself (runs from other starts: the floor) and what chance alone gives a pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlff_md.paired import PairedDistance, compare_pairs, holm, mean_distance
from mlff_md.protocols.compare_data import CompareData
from mlff_md.protocols.observables.bands import BandShift
from mlff_md.protocols.observables.base import Array, Reduced
from mlff_md.protocols.observables.distributions import Internal, jensen_shannon
from mlff_md.protocols.observables.motion import Displacement
from mlff_md.protocols.observables.selection import observables_for
from mlff_md.protocols.observables.spectra import VibrationalSpectrum
from mlff_md.protocols.records import Check, Quantity, Threshold, Verdict
from mlff_md.statistics import mean_ci

Thresholds = Mapping[str, Threshold]

_SIGNIFICANT = 0.05
_MIN_PAIRS = 3
_UNITS = {"1": "", "degree": "°", "cm^-1": " cm⁻¹"}
# A pair whose shorter run made less than this part of its steps is a matter of stability.
_ENOUGH_OF_A_RUN = 0.5


@dataclass(frozen=True, eq=False)
class Observed:
    """One observable of all runs.

    Attributes
    ----------
    observable
        What it is.
    model, teacher
        (K, ...) arrays of the pairs.
    other
        (L, ...) arrays of the teacher's runs from other starts.
    distance
        Between model and teacher; ``None`` without a pair.
    floor
        Distance between the teacher and itself; ``None`` without runs from other starts.
    """

    observable: Reduced
    model: Array
    teacher: Array
    other: Array
    distance: PairedDistance | None
    floor: float | None

    @property
    def id(self) -> str:
        """Identifier of the observable."""
        return self.observable.id


def measure(data: CompareData) -> list[Observed]:
    """Reduce all runs to observables, and compare them pair by pair."""
    reference = data.reference
    if reference is None:
        return []
    s = data.settings
    observables = observables_for(reference, s.n_frames, s.interval_fs, s.timestep_fs)
    rows: dict[str, tuple[list[Array], list[Array], list[Array]]] = {
        observable.id: ([], [], []) for observable in observables
    }
    for _, model, teacher in data.pairs():
        # Both runs of a pair over the same time.
        length = min(len(model), len(teacher))
        if length < _ENOUGH_OF_A_RUN * s.n_frames:
            continue
        for observable in observables:
            for place, frames in enumerate((model, teacher)):
                measured = observable.measure(frames.select(slice(0, length)))
                rows[observable.id][place].append(measured)
    for k in range(s.floor_replicas):
        other = data.run("floor", k)
        if other is not None and len(other) == s.n_frames:
            for observable in observables:
                rows[observable.id][2].append(observable.measure(other))
    found = [_compare(observable, *rows[observable.id]) for observable in observables]
    return [*found, *_band_shift(found)]


def _compare(
    observable: Reduced, model: list[Array], teacher: list[Array], other: list[Array]
) -> Observed:
    arrays = np.array(model), np.array(teacher), np.array(other)
    if isinstance(observable, Displacement) and teacher:
        observable.scale_A2 = max(float(arrays[1].mean()), 1e-12)
    distance = compare_pairs(arrays[0], arrays[1], observable.size) if model else None
    floor = mean_distance(arrays[1], arrays[2], observable.size) if teacher and other else None
    return Observed(observable, *arrays, distance, floor)


def _band_shift(observed: Sequence[Observed]) -> list[Observed]:
    """Return the shifts of the bands, counted from the mean of all runs of the teacher."""
    for item in observed:
        if isinstance(item.observable, VibrationalSpectrum) and len(item.teacher):
            teachers = [item.teacher, item.other] if len(item.other) else [item.teacher]
            shift = BandShift(item.observable, np.concatenate(teachers).mean(axis=0))
            sets = (item.model, item.teacher, item.other)
            rows = [list(shift.measure_spectra(runs)) if len(runs) else [] for runs in sets]
            return [_compare(shift, *rows)]
    return []


def checks(observed: Sequence[Observed], thresholds: Thresholds) -> tuple[Check, ...]:
    """Return a check for each observable that has a margin.

    ``pass``: the whole interval lies within the margin. ``fail``: the distance is beyond the
    margin and beyond the floor, and would be as large by chance, were it at the larger of the two,
    in less than 5 % of all comparisons, corrected for the number of observables. Else
    ``inconclusive``.
    """
    judged = [item for item in observed if item.id in thresholds]
    beyond, same = [], []
    for item in judged:
        limit = max(thresholds[item.id].value, item.floor or 0.0)
        beyond.append(item.distance.p_within(limit) if item.distance else 1.0)
        same.append(item.distance.p_same if item.distance else 1.0)
    rows = zip(judged, holm(beyond), holm(same), strict=True)
    return tuple(_check(item, thresholds[item.id], p, q) for item, p, q in rows)


def _check(item: Observed, limit: Threshold, p_beyond: float, p_same: float) -> Check:
    about = item.observable
    common: dict[str, Any] = {
        "id": item.id,
        "title": f"{about.title} like the teacher's",
        "unit": limit.unit,
        "threshold": limit,
        "source": limit.source,
        "blind_to": about.blind_to,
    }
    distance = item.distance
    if distance is None or distance.n_pairs < _MIN_PAIRS:
        pairs = distance.n_pairs if distance else 0
        return Check(
            verdict="inconclusive",
            value=distance.value if distance else None,
            summary=f"only {pairs} pairs of runs are long enough to compare",
            **common,
        )
    verdict, words = _verdict(item, distance, limit, p_beyond)
    unit = _UNITS.get(limit.unit, f" {limit.unit}")
    floor = "" if item.floor is None else f", the teacher from itself {item.floor:.3g}"
    seen = "a difference is seen" if p_same <= _SIGNIFICANT else "no difference is shown"
    details = _details(item)
    if "worst" in details:
        worst = details["worst"][0]
        floor += f", worst {worst['term']} {worst['distance']:.3g}"
    return Check(
        verdict=verdict,
        value=distance.value,
        ci=distance.interval,
        n_eff=float(distance.n_pairs),
        summary=f"{distance.value:.3g}{unit}{floor}: {words} ({seen}, p = {p_same:.2g})",
        details={
            "measure": about.measure_name,
            "floor": item.floor,
            "chance": distance.chance,
            "p_same": distance.p_same,
            "p_same_holm": p_same,
            "p_beyond_limit_holm": p_beyond,
            "smallest_p_possible": 0.5 ** (distance.n_pairs - 1),
            **details,
        },
        **common,
    )


def _verdict(
    item: Observed, distance: PairedDistance, limit: Threshold, p_beyond: float
) -> tuple[Verdict, str]:
    if distance.interval[1] <= limit.value:
        return "pass", "equivalent within the margin"
    if p_beyond <= _SIGNIFICANT:
        return "fail", "beyond the margin"
    if item.floor is not None and item.floor > limit.value:
        return "inconclusive", "runs this short do not tell the teacher from itself to the margin"
    return "inconclusive", "the interval reaches across the margin"


def _details(item: Observed) -> dict[str, Any]:
    """Return what only some observables have: the worst terms, divergences, bands."""
    about = item.observable
    mean = item.model.mean(axis=0), item.teacher.mean(axis=0)
    if isinstance(about, Internal):
        sizes = about.sizes(mean[0] - mean[1])
        divergence = jensen_shannon(*mean, about.merge)
        worst = np.argsort(sizes)[::-1][:5]
        return {
            "jensen_shannon_bits": float(divergence.mean()),
            "worst": [
                {
                    "term": about.names[k],
                    "distance": float(sizes[k]),
                    "jensen_shannon_bits": float(divergence[k]),
                }
                for k in worst
            ],
        }
    if isinstance(about, VibrationalSpectrum):
        return {"overlap": about.overlap(*mean)}
    return {}


def quantities(observed: Sequence[Observed]) -> tuple[Quantity, ...]:
    """Return shifts of bands, overlaps and diffusion coefficients."""
    made: list[Quantity] = []
    for item in observed:
        about = item.observable
        if item.distance is None:
            continue
        if isinstance(about, BandShift):
            made += _bands(item, about)
        elif isinstance(about, VibrationalSpectrum):
            made.append(
                Quantity(
                    "dos_overlap",
                    "Overlap of the vibrational densities of states",
                    about.overlap(item.model.mean(axis=0), item.teacher.mean(axis=0)),
                    "1",
                    "shared area: 1 for equal spectra",
                )
            )
        elif isinstance(about, Displacement):
            for name, rows in (("model", item.model), ("teacher", item.teacher)):
                values = mean_ci([about.diffusion_A2_per_ps(row) for row in rows])
                made.append(
                    Quantity(
                        f"diffusion_{name}",
                        f"Diffusion coefficient, {name}",
                        values.mean,
                        "Å^2/ps",
                        "slope of the second half of the displacement over 6: an estimate only "
                        "where that is straight",
                        values.interval if values.n > 1 else None,
                    )
                )
        elif item.id == "vacf":
            made.append(
                Quantity(
                    "vacf_mae",
                    "Velocity autocorrelation, mean absolute difference",
                    item.distance.value,
                    "1",
                    f"over {1e-3 * float(about.times_fs[-1]):.2g} ps",  # type: ignore[attr-defined]
                    item.distance.interval if item.distance.n_pairs > 1 else None,
                )
            )
    return tuple(made)


def _bands(item: Observed, about: BandShift) -> list[Quantity]:
    made = []
    for column, name in enumerate(about.bands):
        shift = mean_ci(item.model[:, column] - item.teacher[:, column])
        made.append(
            Quantity(
                f"band_shift_{name.split(' ')[0].lower()}",
                f"Shift of the vibrations, {name}{'' if about.soft else ' cm⁻¹'}",
                shift.mean,
                about.unit,
                "the model's runs less the teacher's, pair by pair",
                shift.interval if shift.n > 1 else None,
            )
        )
    return made
