"""Student files: what is written is read, and anything else gets one clear line."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlff_md.errors import ConfigError, StudentFileError
from mlff_md.student import Manifest, Student, load_student, save_student, zoo
from mlff_md.student.card import card
from mlff_md.student.file import MANIFEST_KEY


def manifest_json(student: Student, **changes: object) -> str:
    return json.dumps({**json.loads(student.manifest.to_json()), **changes})


def write(path: Path, student: Student, text: str | None, **weights: np.ndarray) -> Path:
    arrays = {**student.weights, **weights}
    metadata = None if text is None else {MANIFEST_KEY: text}
    path.write_bytes(safetensors.numpy.save(arrays, metadata=metadata))
    return path


def test_round_trip(random_student: Student, tmp_path: Path) -> None:
    path = tmp_path / "new" / "copy.safetensors"
    saved = save_student(path, random_student.manifest, random_student.weights)
    loaded = load_student(path)
    assert loaded.sha256 == saved.sha256 == random_student.sha256
    assert loaded.manifest == random_student.manifest
    assert [item.name for item in path.parent.iterdir()] == ["copy.safetensors"]
    for name, array in random_student.weights.items():
        assert np.array_equal(loaded.weights[name], array)


def test_network_has_the_weights(random_student: Student) -> None:
    import torch

    network = random_student.network(torch.float64)
    assert np.array_equal(
        network.readout_in.weight.numpy(), random_student.weights["readout_in.weight"]
    )
    assert np.array_equal(network.atomic_energies_eV, random_student.manifest.atomic_energies_eV)


def test_newer_minor_schema_is_read(random_student: Student, tmp_path: Path) -> None:
    text = manifest_json(random_student, schema_version="2.7", something_new=3)
    assert load_student(write(tmp_path / "a.safetensors", random_student, text)).name == "untrained"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": "3.0"}, "upgrade mlff-md"),
        ({"schema_version": "1.0"}, "distill it again"),
        ({"schema_version": None}, "upgrade mlff-md"),
        ({"format": "other"}, "is not a student"),
        ({"architecture": {"hidden_dim": "wide"}}, "integers"),
        ({"architecture": {"magic": 1}}, "damaged"),
        ({"architecture": 5}, "damaged"),
        ({"architecture": {"hidden_dim": 64}}, "do not fit|differ in length"),
        ({"atomic_energies_eV": [1.0]}, "differ in length"),
        ({"energy_scale_eV": "x"}, "damaged"),
        ({"prior_radii_A": None}, "damaged"),
        ({"prior_radii_A": [0.0] * 8}, "must be positive"),
        ({"prior": "another"}, "upgrade mlff-md"),
        ({"prior_radii_A": [3.0] * 8}, "within the reach"),
        ({"accuracy": [1]}, "no table"),
        ({"teacher": "gfn2"}, "no table"),
        ({"name": 5}, "no text"),
    ],
)
def test_bad_manifests(
    changes: dict, message: str, random_student: Student, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "bad.safetensors", random_student, manifest_json(random_student, **changes)
    )
    with pytest.raises(StudentFileError, match=message) as error:
        load_student(path)
    assert "\n" not in str(error.value)


def test_foreign_and_damaged_files(random_student: Student, tmp_path: Path) -> None:
    good = manifest_json(random_student)
    with pytest.raises(StudentFileError, match="without a manifest"):
        load_student(write(tmp_path / "a.safetensors", random_student, None))
    with pytest.raises(StudentFileError, match="damaged"):
        load_student(write(tmp_path / "b.safetensors", random_student, "{"))
    bad = {"readout_out.bias": np.full_like(random_student.weights["readout_out.bias"], np.nan)}
    with pytest.raises(StudentFileError, match="not finite"):
        load_student(write(tmp_path / "c.safetensors", random_student, good, **bad))
    with pytest.raises(StudentFileError, match="do not fit"):
        load_student(write(tmp_path / "d.safetensors", random_student, good, more=np.zeros(2)))
    empty = tmp_path / "e.safetensors"
    empty.write_bytes(b"")
    with pytest.raises(StudentFileError, match="damaged"):
        load_student(empty)
    with pytest.raises(StudentFileError, match="no student file"):
        load_student(tmp_path / "missing.safetensors")
    other = tmp_path / "weights.pt"
    other.write_bytes(b"PK")
    with pytest.raises(StudentFileError, match=r"not a \.safetensors"):
        load_student(other)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_never_passes_silently_or_crashes(
    data: st.DataObject, random_student: Student, tmp_path: Path
) -> None:
    path = tmp_path / "fuzz.safetensors"
    save_student(path, random_student.manifest, random_student.weights)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        # The header, where structure lives; a changed weight is caught by its sha256 alone.
        place = data.draw(st.integers(0, 600))
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with contextlib.suppress(StudentFileError):
        assert load_student(path).sha256 != random_student.sha256


def test_unwritable_folder(random_student: Student, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(ConfigError, match="cannot write"):
        save_student(blocked / "x.safetensors", random_student.manifest, random_student.weights)


def test_unknown_names_get_near_matches() -> None:
    with pytest.raises(StudentFileError, match="did you mean tiny"):
        load_student("tinny")
    with pytest.raises(StudentFileError, match="tiny"):
        load_student("zzzzzz")


@pytest.mark.parametrize("name", zoo.names())
def test_shipped_students_load(name: str) -> None:
    student = load_student(name)
    assert student.manifest.teacher["name"]
    assert student.manifest.accuracy["test"]["all"]["num_frames"] > 0
    assert student.name in card(student)
    assert student.manifest.license


def test_card_tells_only_what_is_known(random_student: Student) -> None:
    text = card(random_student)
    assert "untrained" in text
    assert "R2" not in text
    errors = {
        "r2": 0.5,
        "mae_eV_per_A": 0.1,
        "rmse_eV_per_A": 0.2,
        "angle_deg": 3.0,
        "energy_mae_meV_per_atom": 1.0,
        "num_frames": 7,
    }
    manifest = replace(random_student.manifest, accuracy={"test": {"all": errors}})
    assert "0.50000" in card(replace(random_student, manifest=manifest))


def test_card_cannot_steer_the_terminal(random_student: Student) -> None:
    manifest = replace(random_student.manifest, name="evil\x1b[2J")
    assert "\x1b" not in card(replace(random_student, manifest=manifest))


def test_manifest_is_not_code(tmp_path: Path) -> None:
    with pytest.raises(StudentFileError, match="not a student"):
        Manifest.from_json("[1, 2]", "x")
    with pytest.raises(StudentFileError):
        Manifest.from_json("[" * 100_000, "x")
