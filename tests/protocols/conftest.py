"""A teacher for comparisons, and the raw data of a model that equals it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlff_md.protocols.compare import run

from .comparing import SHORT
from .toys import ElasticNetwork, small_molecule


@pytest.fixture(scope="session")
def master() -> ElasticNetwork:
    return ElasticNetwork(small_molecule(), stiffness=20.0)


@pytest.fixture(scope="session")
def same(master: ElasticNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("same")
    model = ElasticNetwork(small_molecule(), stiffness=20.0)
    return run(small_molecule(), model, master, folder, **SHORT)
