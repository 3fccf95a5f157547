"""Quantised students: small, close, the same in every engine, conservative; and what is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from mlff_md import StudentForceFieldCalculator, load_student
from mlff_md.engines import make_engine
from mlff_md.engines.quantization import default_structures, quantized, quantized_file, rounded
from mlff_md.errors import ConfigError, StudentFileError
from mlff_md.exporters import ExportResult, export
from mlff_md.student import Manifest, Student, zoo
from mlff_md.student.quantized import KEY, packed_file, row_scales

DATA = Path(__file__).parents[1] / "data" / "gfn2-test.npz"


@pytest.fixture(scope="module")
def tiny_int8() -> Student:
    return quantized(load_student("tiny"))


def test_size_and_error_of_tiny(tiny_int8: Student) -> None:
    data = np.load(DATA)
    ends = np.cumsum(data["counts"])
    tiny = load_student("tiny")
    engines = [make_engine(student, "onnx") for student in (tiny, tiny_int8)]
    forces, labels = [], []
    for k in range(0, len(ends), 12):
        atoms = slice(ends[k] - data["counts"][k], ends[k])
        frame = Atoms(data["numbers"][atoms], data["positions"][atoms].astype(float))
        forces.append([engine.compute(frame).forces for engine in engines])
        labels.append(data["forces"][atoms])
    before, after = (np.concatenate(one) for one in zip(*forces, strict=True))
    reference = np.concatenate(labels)
    change = np.sqrt(np.mean((after - before) ** 2) / np.mean(before**2))
    spread = np.sum((reference - reference.mean(0)) ** 2)
    loss = (np.sum((after - reference) ** 2) - np.sum((before - reference) ** 2)) / spread
    assert 1e-4 < change < 0.01
    assert loss < 0.0005


def test_nothing_is_told_that_was_measured_on_the_float32_student(tiny_int8: Student) -> None:
    before, after = load_student("tiny").manifest, tiny_int8.manifest
    for section in ("accuracy", "nve", "robustness", "speed"):
        assert getattr(before, section)
        assert not getattr(after, section)
    assert after.training["quantized_from"]["name"] == before.name


def test_file_sizes() -> None:
    rng = np.random.default_rng(0)
    for name, ratio in (("ultra-tiny", 3.0), ("original", 3.7)):
        from mlff_md.student import SIZES
        from mlff_md.student.prior import prior_radii

        shape = SIZES[name]
        weights = {
            key: rng.normal(size=size).astype(np.float32) / np.sqrt(size[-1])
            for key, size in shape.weight_shapes().items()
        }
        tiny = load_student("tiny").manifest
        manifest = dataclasses.replace(tiny, architecture=shape)
        assert manifest.prior_radii_A == prior_radii(shape.elements)
        student = Student(manifest, weights, "0" * 64)
        plain = sum(weight.nbytes for weight in weights.values()) + len(manifest.to_json())
        small = len(quantized_file(student, default_structures(shape.elements)[:4]))
        assert plain / small > ratio


@pytest.mark.parametrize("engine", ["native", "torch", "torchscript", "onnx", "onnx-int8"])
def test_same_in_every_engine(
    engine: str, exported: dict[str, ExportResult], ethanol: Atoms
) -> None:
    student = load_student(exported["onnx-int8"].student_path)
    if engine == "native":
        from mlff_md import native

        if not native.available():
            pytest.skip("the native library was not built")
    expected = make_engine(student, "torch", dtype="float64").compute(ethanol)
    found = make_engine(student, engine).compute(ethanol)
    assert np.abs(found.forces - expected.forces).max() < 3e-5
    assert abs(found.energy - expected.energy) < 1e-5 * len(ethanol)


def test_a_float_student_is_quantised_once(
    random_student: Student, own_cache: Path, ethanol: Atoms
) -> None:
    first = make_engine(random_student, "onnx-int8").compute(ethanol)
    (kept,) = own_cache.glob("*.safetensors")
    stamp = kept.stat().st_mtime_ns
    again = make_engine(random_student, "onnx-int8").compute(ethanol)
    assert kept.stat().st_mtime_ns == stamp
    assert np.array_equal(first.forces, again.forces)
    exact = make_engine(random_student, "onnx").compute(ethanol)
    assert 1e-6 < np.abs(first.forces - exact.forces).max() < 0.1


def test_rounding_is_better_than_to_the_nearest() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(20, 30))
    inputs = rng.normal(size=(500, 10)) @ rng.normal(size=(10, 30))
    inputs += 0.1 * rng.normal(size=inputs.shape)
    scale = row_scales(weight)
    step = scale.astype(np.float64)[:, None]

    def error(whole: np.ndarray) -> float:
        return float(np.sum((inputs @ (whole * step - weight).T) ** 2))

    near = error(np.clip(np.round(weight / step), -127, 127))
    assert error(rounded(weight, scale, inputs.T @ inputs)) < 0.5 * near
    assert (np.abs(weight) <= 127.0 * step * (1 + 1e-12)).all()


def test_already_quantised(tiny_int8: Student) -> None:
    with pytest.raises(ConfigError, match="already"):
        quantized(tiny_int8)
    assert tiny_int8.manifest.accuracy == {}
    assert tiny_int8.manifest.training["quantized_from"]["sha256"] == load_student("tiny").sha256


def test_no_structures_to_calibrate_on() -> None:
    with pytest.raises(ConfigError, match="calibrate"):
        default_structures(("Rn",))
    assert default_structures(("Si",))


def test_damaged_files(exported: dict[str, ExportResult], tmp_path: Path) -> None:
    from mlff_md.student.file import MANIFEST_KEY

    student = load_student(exported["onnx-int8"].student_path)
    packed = dict(student.packed or {})
    name = "layers.1.mixing.weight"

    def refused(changed: dict[str, np.ndarray], manifest: Manifest, match: str) -> None:
        path = tmp_path / "damaged.safetensors"
        path.write_bytes(packed_file(manifest, changed, MANIFEST_KEY))
        with pytest.raises(StudentFileError, match=match):
            load_student(path)

    without = {key: value for key, value in packed.items() if key != f"{name}.scale"}
    refused(without, student.manifest, "not finite")
    infinite = packed | {f"{name}.scale": np.full_like(packed[f"{name}.scale"], np.inf)}
    refused(infinite, student.manifest, "not finite")
    refused({key: v for key, v in packed.items() if key != name}, student.manifest, "do not fit")
    refused(packed | {"more": np.zeros(3, np.float16)}, student.manifest, "do not fit")
    content = packed_file(student.manifest, packed, MANIFEST_KEY)
    path = tmp_path / "newer.safetensors"
    path.write_bytes(content.replace(b"int8-rows-1", b"int8-rows-9"))
    assert KEY.encode() in content
    with pytest.raises(StudentFileError, match="upgrade"):
        load_student(path)


def test_only_the_quantised_student_is_conservative(tmp_path: Path, ethanol: Atoms) -> None:
    """The work of the forces along a path is the energy's difference, or they are no gradient."""
    calculators = {}
    for format in ("onnx", "onnx-int8", "onnx-dynamic-int8"):
        path = tmp_path / f"{format}.onnx"
        if format == "onnx-dynamic-int8":
            with pytest.warns(UserWarning, match="for comparison only"):
                export("tiny", path, format=format)
        else:
            export("tiny", path, format=format)
        calculators[format] = StudentForceFieldCalculator(path)
    direction = np.random.default_rng(0).normal(size=(len(ethanol), 3))
    steps = np.linspace(-0.05, 0.05, 21)
    gap = {}
    for format, calculator in calculators.items():
        energies, slopes = [], []
        for step in steps:
            moved = ethanol.copy()
            moved.positions += step * direction
            energies.append(calculator.get_potential_energy(moved))
            slopes.append(-np.sum(calculator.get_forces(moved) * direction))
        # Simpson's rule: exact to 1e-6 of the work here.
        weights = np.array([1, *[4, 2] * 9, 4, 1]) * (steps[1] - steps[0]) / 3
        gap[format] = abs(weights @ slopes - (energies[-1] - energies[0]))
    assert gap["onnx"] < 1e-4
    assert gap["onnx-int8"] < 1e-4
    assert gap["onnx-dynamic-int8"] > 20 * max(gap["onnx"], gap["onnx-int8"])


def test_zoo_is_not_quantised() -> None:
    assert all(load_student(name).packed is None for name in zoo.shipped())
