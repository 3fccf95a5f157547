import pytest

from mlff_md.protocols.records import Report
from mlff_md.report import ReportPaths, write_report

from .samples import hostile_report, sample_report


@pytest.fixture(scope="session")
def failing() -> Report:
    return sample_report("fail")


@pytest.fixture(scope="session")
def written(failing: Report, tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    """A written report, for tests that only read it."""
    return write_report(failing, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    return write_report(hostile_report(), tmp_path_factory.mktemp("hostile"))
