"""A small student as files, and a cache of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="exporting needs onnx: pip install 'mlff-md[onnx]'")
pytest.importorskip("onnxruntime", reason="exporting needs onnxruntime")

from mlff_md.exporters import FORMATS, ExportResult, export
from mlff_md.student import Student


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MLFF_MD_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def exported(
    random_student: Student, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ExportResult]:
    """Format -> what exporting the untrained student wrote."""
    folder = tmp_path_factory.mktemp("exported")
    return {
        format: export(random_student, folder / f"small{FORMATS[format]}", format=format)
        for format in ("onnx", "onnx-int8", "torchscript")
    }
