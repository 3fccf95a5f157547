"""Force analysis: right numbers on known data, and a verdict for each way of being wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.md.verlet import VelocityVerlet

import mlff_md
from mlff_md import StudentForceFieldCalculator, analyze_forces
from mlff_md.cli import main
from mlff_md.distill.dataset import Dataset
from mlff_md.errors import DataError, StructureError
from mlff_md.protocols.forces import analyze, run
from mlff_md.protocols.forces_data import load
from mlff_md.protocols.records import Report
from mlff_md.protocols.thresholds import with_overrides

from .outcome import checks

TEST_SET = Path(__file__).parents[1] / "data" / "gfn2-test.npz"


@pytest.fixture(scope="module")
def few() -> Dataset:
    """Two frames at each temperature of every fourth molecule of the shipped test set."""
    whole = Dataset.load(TEST_SET)
    names = list(dict.fromkeys(whole.molecules.tolist()))[::4]
    chosen = [
        index
        for name in names
        for temperature in (300.0, 600.0, 1000.0)
        for index in np.flatnonzero(
            (whole.molecules == name) & (whole.temperature_K == temperature)
        )[:2]
    ]
    return whole.select(chosen)


@pytest.fixture(scope="module")
def report(few: Dataset) -> Report:
    return analyze_forces(few, StudentForceFieldCalculator("tiny"))


class Wrong(Calculator):
    """The reference forces, changed by a function of the frame's number; finds it by positions."""

    implemented_properties = ("energy", "forces")

    def __init__(self, frames, change):
        super().__init__()
        self.change = change
        self.known = {a.positions.tobytes(): (k, a) for k, a in enumerate(frames)}

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        number, frame = self.known[atoms.positions.tobytes()]
        forces = self.change(number, frame.get_forces())
        self.results = {"energy": frame.get_potential_energy(), "forces": forces}


def quantities(report: Report) -> dict:
    return {quantity.id: quantity for quantity in report.quantities}


def test_numbers_are_those_of_numpy(few: Dataset, report: Report) -> None:
    engine = StudentForceFieldCalculator("tiny")
    predicted = np.concatenate([result.forces for result in engine.evaluate(list(few))])
    reference = few.forces.astype(float)
    error = predicted - reference
    found = quantities(report)
    r2 = 1.0 - (error**2).sum() / ((reference - reference.mean()) ** 2).sum()
    assert checks(report)["force_r2"].value == pytest.approx(r2, abs=1e-7)
    assert found["mae"].value == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert found["rmse"].value == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert found["max"].value == pytest.approx(np.abs(error).max(), rel=1e-4)
    size = np.linalg.norm(error, axis=1)
    assert found["p95"].value == pytest.approx(np.percentile(size, 95), rel=1e-4)
    lengths = np.linalg.norm(predicted, axis=1) * np.linalg.norm(reference, axis=1)
    cosine = (predicted * reference).sum(1) / lengths
    visible = np.linalg.norm(reference, axis=1) > 0.05
    assert found["cosine"].value == pytest.approx(cosine[visible].mean(), abs=1e-6)
    median = np.median(np.degrees(np.arccos(cosine[visible])))
    assert found["angle_median"].value == pytest.approx(median, rel=1e-3)


def test_a_good_student_passes_on_its_own_test_molecules(report: Report) -> None:
    assert report.verdict == "pass"
    found = checks(report)
    assert set(found) == {"force_r2", "force_mae", "worst_molecule", "energy_mae"}
    low, high = found["force_r2"].ci
    assert 0.99 < low < found["force_r2"].value < high < 1.0
    assert found["force_mae"].value == pytest.approx(1.0, abs=0.2)
    assert found["force_r2"].n_eff == 11
    rows = found["force_r2"].details
    assert {row["element"] for row in rows["elements"]} >= {"H", "C", "N", "O"}
    assert [row["temperature_K"] for row in rows["temperatures"]] == [300.0, 600.0, 1000.0]
    worst = rows["worst_atoms"]
    assert [row["error_eV_per_A"] for row in worst] == sorted(
        (row["error_eV_per_A"] for row in worst), reverse=True
    )


def test_the_worst_atom_is_named(few: Dataset) -> None:
    frames = list(few)

    def one_atom(number, forces):
        if number == 7:
            forces = forces.copy()
            forces[3] += [0.0, 5.0, 0.0]
        return forces

    report = analyze_forces(frames, Wrong(frames, one_atom))
    worst = checks(report)["force_r2"].details["worst_atoms"][0]
    assert (worst["frame"], worst["atom"]) == (7, 3)
    assert worst["molecule"] == frames[7].info["name"]
    assert worst["error_eV_per_A"] == pytest.approx(5.0, abs=1e-3)
    assert quantities(report)["p50"].value == 0.0


def test_six_panels(report: Report) -> None:
    assert [figure.id for figure in report.figures] == [
        "parity",
        "error_distribution",
        "error_against_force",
        "angles",
        "elements",
        "molecules",
    ]
    parity = report.figures[0]
    cells = sum(len(series.x) for series in parity.series)
    assert 100 < cells < 5000


def test_the_same_raw_data_give_the_same_report(few: Dataset, tmp_path: Path) -> None:
    raw = run(few, StudentForceFieldCalculator("tiny"), tmp_path)
    first, second = analyze(raw).to_json(), analyze(tmp_path).to_json()
    assert first == second
    assert Report.from_json(first).to_json() == first


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (lambda number, forces: 0.8 * forces, "force_r2"),
        (lambda number, forces: forces[::-1], "force_r2"),
        (lambda number, forces: -forces, "force_r2"),
    ],
)
def test_wrong_forces_fail(few: Dataset, change, failed: str) -> None:
    frames = list(few)
    report = analyze_forces(frames, Wrong(frames, change))
    assert checks(report)[failed].verdict == "fail"
    assert report.verdict == "fail"


def test_forces_that_are_a_little_too_large_pass(few: Dataset) -> None:
    frames = list(few)
    report = analyze_forces(frames, Wrong(frames, lambda number, forces: 1.001 * forces))
    assert report.verdict == "pass"
    assert checks(report)["force_r2"].value == pytest.approx(1.0 - 1e-6, abs=2e-8)
    assert quantities(report)["angle_mean"].value == pytest.approx(0.0, abs=1e-5)


def test_a_calculator_is_not_judged_by_its_own_forces(few: Dataset) -> None:
    frames = list(few)
    exact = Wrong(frames, lambda number, forces: forces)
    with pytest.raises(DataError, match="the calculator's own"):
        analyze_forces(frames, exact)
    # A teacher that happens to agree is a result.
    assert analyze_forces(frames, exact, teacher=exact).verdict == "pass"


def test_forces_of_a_student_in_a_trajectory_are_no_labels(tmp_path: Path) -> None:
    atoms = molecule("CH3OH")
    atoms.calc = mlff_md.StudentForceFieldCalculator("tiny")
    path = tmp_path / "run.traj"
    VelocityVerlet(atoms, timestep=0.5 * units.fs, trajectory=str(path)).run(3)
    for judged in ("tiny", "ultra-tiny"):
        with pytest.raises(DataError, match="frame 0 carries the forces of a student"):
            analyze_forces(read(path, ":"), mlff_md.StudentForceFieldCalculator(judged))


class WithCard(Wrong):
    """As above, with the card of a student."""

    student = mlff_md.load_student("tiny")


def test_errors_are_held_against_the_card(few: Dataset) -> None:
    frames = list(few)
    rng = np.random.default_rng(0)

    def noise(size):
        return lambda number, forces: forces + rng.normal(scale=size, size=forces.shape)

    # The mean absolute value of a normal distribution is 0.8 of its width; the card says 0.0417.
    fine = checks(analyze_forces(frames, WithCard(frames, noise(0.05))))
    assert fine["force_mae"].verdict == "pass"
    assert fine["force_mae"].value == pytest.approx(0.05 * 0.798 / 0.04167, rel=0.05)
    bad = checks(analyze_forces(frames, WithCard(frames, noise(0.10))))
    assert bad["force_mae"].verdict == "fail"
    assert bad["force_r2"].verdict == "pass"


def test_one_bad_molecule_is_found(few: Dataset) -> None:
    frames = list(few)
    bad = frames[-1].info["name"]

    def change(number, forces):
        return forces + 0.2 * (frames[number].info["name"] == bad)

    found = checks(analyze_forces(frames, WithCard(frames, change)))
    assert found["worst_molecule"].verdict == "fail"
    assert bad in found["worst_molecule"].summary
    assert found["force_r2"].verdict != "fail"


def test_few_frames_are_inconclusive(few: Dataset) -> None:
    frames = list(few)[:3]
    report = analyze_forces(frames, StudentForceFieldCalculator("tiny"))
    assert checks(report)["force_r2"].verdict == "inconclusive"
    assert "too few" in checks(report)["force_r2"].summary


def test_limits_can_be_overridden(few: Dataset, tmp_path: Path) -> None:
    raw = run(few, StudentForceFieldCalculator("tiny"), tmp_path)
    strict = analyze(raw, with_overrides({"force_r2": 0.9999}))
    assert checks(strict)["force_r2"].verdict == "fail"
    assert "set by the user" in checks(strict)["force_r2"].source


def test_a_teacher_labels_bare_frames() -> None:
    frames = []
    for seed in range(6):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    with pytest.raises(DataError, match="frame 0 carries no forces"):
        analyze_forces(frames, EMT())
    report = analyze_forces(frames, EMT(), teacher=EMT())
    assert checks(report)["force_r2"].value == 1.0
    assert report.provenance["reference"]["class"] == "EMT"
    assert report.verdict == "pass"


def test_what_cannot_be_analysed(few: Dataset, tmp_path: Path) -> None:
    calculator = StudentForceFieldCalculator("tiny")
    with pytest.raises(DataError, match="no frames"):
        analyze_forces([], calculator)
    bad = few.frame(0)
    bad.calc = SinglePointCalculator(bad, energy=0.0, forces=np.full((len(bad), 3), np.nan))
    with pytest.raises(DataError, match="frame 0 carries forces that are not finite"):
        analyze_forces([bad], calculator)
    iron = Atoms("Fe2", [[0, 0, 0], [0, 0, 2]])
    iron.calc = SinglePointCalculator(iron, energy=0.0, forces=np.zeros((2, 3)))
    with pytest.raises(StructureError, match=r"structure 1: .*does not know Fe"):
        analyze_forces([few.frame(0), iron], calculator)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "run.json").write_text('{"kind": "nve"}')
    with pytest.raises(DataError, match="not the record of a forces run"):
        load(tmp_path)


def test_damaged_raw_data_give_one_line(few: Dataset, tmp_path: Path) -> None:
    raw = run(few.select([0, 1]), StudentForceFieldCalculator("tiny"), tmp_path)
    content = (raw / "frames.npz").read_bytes()
    (raw / "frames.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="damaged"):
        analyze(raw)


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command(
    few: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write("few.extxyz", list(few))
    code, out, _ = command(capsys, "forces", "tiny", "few.extxyz")
    folder = tmp_path / "forces-few-tiny"
    assert code == 0
    assert "PASS" in out
    assert str(Path("forces-few-tiny") / "report.html") in out
    written = json.loads((folder / "report.json").read_text())
    assert written["provenance"]["source"] == "few.extxyz"
    for name in ("report.html", "report.md", "report.xml", "figures/panels.png"):
        assert (folder / name).stat().st_size > 500
    before = (folder / "report.json").read_bytes()
    code, _, error = command(capsys, "forces", "tiny", "few.extxyz")
    assert (code, error.count("\n")) == (3, 1)
    assert "--force" in error
    assert (folder / "report.json").read_bytes() == before
    words = ("forces", "tiny", "few.extxyz", "--force", "--threshold", "force_r2=0.9999", "--json")
    code, out, _ = command(capsys, *words)
    assert code == 1
    assert json.loads(out)["verdict"] == "fail"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tiny", "missing.xyz"), "there is no structure file missing.xyz"),
        (("tiny", "missing.npz"), "missing.npz does not exist"),
        (("tinny", "empty.npz"), "did you mean tiny"),
        (("tiny", "empty.npz"), "damaged"),
        (("tiny", "bare.xyz", "--teacher", "gfn9"), "unknown teacher 'gfn9'"),
        (("tiny", "bare.xyz", "--threshold", "force_r3=1"), "did you mean force_r2"),
    ],
)
def test_command_errors_take_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.npz").write_bytes(b"")
    write("bare.xyz", Atoms("OH2", [[0, 0, 0], [0, 0, 0.96], [0, 0.93, -0.24]]))
    code, out, error = command(capsys, "forces", *words)
    assert (code, out, error.count("\n")) == (3, "", 1), error
    assert message in error


def test_bare_frames_are_labelled_by_the_students_teacher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tblite")
    monkeypatch.chdir(tmp_path)
    water = Atoms("OH2", [[0, 0, 0], [0, 0, 0.96], [0, 0.93, -0.24]])
    frames = []
    for seed in range(6):
        atoms = water.copy()
        atoms.rattle(0.06, seed=seed)
        frames.append(atoms)
    write("water.xyz", frames)
    code, out, error = command(capsys, "forces", "tiny", "water.xyz", "--json")
    assert "labelling all of them with gfn2-xtb" in error
    report = json.loads(out)
    assert report["provenance"]["reference"]["name"].startswith("gfn2-xtb")
    assert report["checks"][0]["value"] > 0.99
    assert code in (0, 2)


def test_molecule_list_is_sampled_by_the_teacher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    monkeypatch.chdir(tmp_path)
    Path("list.smi").write_text("O water\n")
    code, out, _ = command(capsys, "forces", "ultra-tiny", "list.smi", "--json")
    report = json.loads(out)
    assert code in (0, 1, 2)
    assert report["provenance"]["frames"]["frames"] == 24
    assert len(Dataset.load("forces-list-ultra-tiny/frames.npz")) == 24
