"""Horizons of model and teacher, from distances that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlff_md.protocols.compare_data import KICK_A
from mlff_md.protocols.compare_divergence import Divergence, quantities


def found(rates: tuple[float, ...], last_ps: float) -> Divergence:
    times = np.linspace(0.0, last_ps, 11)
    return Divergence(times, np.outer([0.4, 0.8], times), np.empty((0, 11)), rates, 0.1)


def test_the_model_is_lost_where_it_passes_the_horizon() -> None:
    model = {made.id: made for made in quantities(found((), 1.0))}["horizon_model"]
    # 0.4 Å/ps passes 0.1 Å at 0.3 ps, the first frame beyond; 0.8 Å/ps at 0.2 ps.
    assert model.value == pytest.approx(0.25)
    assert model.source.startswith("2 of 2 pairs")


@pytest.mark.parametrize("last_ps", [1.0, 100.0])
def test_the_teacher_parts_from_itself_at_its_own_rate(last_ps: float) -> None:
    made = {one.id: one for one in quantities(found((2.0, 3.0, 4.0), last_ps))}
    assert made["lyapunov_teacher"].value == pytest.approx(3.0)
    horizon_ps = math.log(0.1 / KICK_A) / 3.0
    assert made["horizon_teacher"].value == pytest.approx(horizon_ps)
    assert ("so an estimate" in made["horizon_teacher"].source) == (horizon_ps > last_ps)
