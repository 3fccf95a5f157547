"""What files may do to those who open them: nothing, unless they say so."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from mlff_md import StudentForceFieldCalculator
from mlff_md.engines import load_exported
from mlff_md.errors import StudentFileError
from mlff_md.exporters import ExportResult


def test_programs_need_trust(exported: dict[str, ExportResult]) -> None:
    path = exported["torchscript"].path
    for trust in (False, "", "0" * 64):
        with pytest.raises(StudentFileError, match=r"program|not the trusted file"):
            StudentForceFieldCalculator(path, trust=trust)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    for trust in (True, right, right.upper()):
        StudentForceFieldCalculator(path, trust=trust)


def test_an_untrusted_program_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: dict[str, ExportResult]
) -> None:
    loaded = []
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: loaded.append(1))
    with pytest.raises(StudentFileError, match="program"):
        StudentForceFieldCalculator(exported["torchscript"].path)
    assert not loaded


def test_programs_of_others_are_refused(tmp_path: Path) -> None:
    class Foreign(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    path = tmp_path / "foreign.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Foreign(), torch.zeros(2)), path)
    with pytest.raises(StudentFileError, match="no manifest"):
        load_exported(path, trust=True)


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_damaged(format: str, exported: dict[str, ExportResult], tmp_path: Path) -> None:
    source = exported[format].path
    content = source.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"\x00" * 1000):
        path = tmp_path / f"damaged{source.suffix}"
        path.write_bytes(damaged)
        with pytest.raises(StudentFileError, match=r"damaged|ONNX|manifest"):
            StudentForceFieldCalculator(path, trust=True)
    with pytest.raises(StudentFileError, match="cannot read"):
        load_exported(tmp_path / "absent.onnx")


def write(tmp_path: Path, model: onnx.ModelProto) -> Path:
    path = tmp_path / "altered.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_onnx_must_be_one_file(exported: dict[str, ExportResult], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.zeros(64, np.float32).tobytes())
    model = onnx.load(exported["onnx"].path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    with pytest.raises(StudentFileError, match="other files"):
        StudentForceFieldCalculator(write(tmp_path, model))


def test_onnx_must_not_hide_other_files_in_a_branch(
    exported: dict[str, ExportResult], tmp_path: Path
) -> None:
    model = onnx.load(exported["onnx"].path)
    hidden = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [0.0])
    hidden.ClearField("float_data")
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="secret")
    value = helper.make_node("Constant", [], ["out"], value=hidden)
    result = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])
    branch = helper.make_graph([value], "branch", [], [result])
    model.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["unused"], then_branch=branch, else_branch=branch)
    )
    with pytest.raises(StudentFileError, match="other files"):
        StudentForceFieldCalculator(write(tmp_path, model))


def test_onnx_must_be_standard(exported: dict[str, ExportResult], tmp_path: Path) -> None:
    model = onnx.load(exported["onnx"].path)
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))
    with pytest.raises(StudentFileError, match="outside the ONNX standard"):
        StudentForceFieldCalculator(write(tmp_path, model))
    model = onnx.load(exported["onnx"].path)
    model.graph.node[0].domain = "com.microsoft"
    with pytest.raises(StudentFileError, match="outside the ONNX standard"):
        StudentForceFieldCalculator(write(tmp_path, model))


def test_onnx_of_others_is_refused(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    with pytest.raises(StudentFileError, match="no manifest"):
        StudentForceFieldCalculator(write(tmp_path, helper.make_model(graph)))


def test_a_manifest_that_would_fill_the_memory(
    exported: dict[str, ExportResult], tmp_path: Path
) -> None:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(exported["torchscript"].path) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for item in old.infolist():
            bomb = item.filename.endswith("mlff_md_manifest")
            new.writestr(item.filename, b" " * 2**24 if bomb else old.read(item))
    path = tmp_path / "bomb.pt"
    path.write_bytes(stream.getvalue())
    with pytest.raises(StudentFileError, match="too long"):
        load_exported(path, trust=True)
