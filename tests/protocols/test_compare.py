"""Comparison with a teacher: equals pass, each fault fails its check, reruns resume."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

from mlff_md.calculator import StudentForceFieldCalculator
from mlff_md.errors import ConfigError, DataError, StructureError
from mlff_md.paired import compare_pairs
from mlff_md.protocols import compare_forces, compare_observables, compare_stability
from mlff_md.protocols.compare import analyze, compare, run
from mlff_md.protocols.compare_data import load
from mlff_md.protocols.compare_observables import Observed
from mlff_md.protocols.held_out import held_out_error
from mlff_md.protocols.observables.distributions import PairDistances
from mlff_md.protocols.records import Check, Report
from mlff_md.protocols.thresholds import THRESHOLDS, with_overrides
from mlff_md.report import write_report
from mlff_md.student import Student
from mlff_md.teachers import teacher

from .toys import ElasticNetwork, NotANumberAfter, small_molecule

SHORT: dict[str, Any] = {
    "replicas": 4,
    "floor_replicas": 2,
    "kicked_replicas": 1,
    "steps": 120,
    "equilibration_fs": 30.0,
    "labels": 6,
}
CHECKS = (
    "survival",
    "on_policy_force_error",
    "on_policy_trend",
    "bonds",
    "angles",
    "dihedrals",
    "pair_distances",
    "rmsf",
    "vibrational_shift",
)


class Weird(ElasticNetwork):
    """A network that is right near its minimum and wrong where it is stretched."""

    def spoil(self, results: dict[str, Any]) -> None:
        away = np.sqrt(np.mean((self.separations(self.atoms.positions)[1] - self.lengths) ** 2))
        results["forces"] = results["forces"] * (1.0 + 10.0 * away)


class Scaled(Calculator):
    """A potential that is stiffer by a factor, in energy and forces alike: conservative."""

    implemented_properties = ("energy", "forces")

    def __init__(self, inner: Any, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        for name in self.implemented_properties:
            self.results[name] = self.factor * self.inner.get_property(name, self.atoms)


def checks(report: Report) -> dict[str, Check]:
    return {check.id: check for check in report.checks}


def verdicts(report: Report) -> dict[str, str]:
    return {check.id: check.verdict for check in report.checks}


@pytest.fixture(scope="module")
def master() -> ElasticNetwork:
    return ElasticNetwork(small_molecule(), stiffness=20.0)


@pytest.fixture(scope="module")
def same(master: ElasticNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("same")
    model = ElasticNetwork(small_molecule(), stiffness=20.0)
    return run(small_molecule(), model, master, folder, **SHORT)


def against(
    model: Any, master: Any, same: Path, folder: Path, **options: Any
) -> tuple[Report, dict[str, str]]:
    """Compare another model, with the teacher's runs of the first comparison."""
    settings = {**SHORT, **options}
    raw = run(small_molecule(), model, master, folder, teacher_runs=str(same), **settings)
    report = analyze(raw)
    return report, verdicts(report)


def test_a_force_field_equals_itself(same: Path) -> None:
    report = analyze(same)
    assert tuple(checks(report)) == CHECKS
    assert report.verdict == "pass", verdicts(report)
    found = checks(report)
    for id in CHECKS[3:]:
        assert found[id].value == 0.0
        assert found[id].details["p_same_holm"] == 1.0
        # Runs from other starts are not the same: the floor is there and above zero.
        assert found[id].details["floor"] > 0.0
    assert found["on_policy_force_error"].value == 0.0
    assert report.title == "ElasticNetwork against ElasticNetwork on CH4O, 300 K"


def test_every_check_says_what_it_rests_on(same: Path) -> None:
    for check in analyze(same).checks:
        assert check.threshold is not None
        assert check.source == check.threshold.source
        assert len(check.source) > 20
        assert len(check.blind_to) > 20
        assert "\n" not in check.summary


def test_analysis_repeats_and_the_report_is_written(same: Path, tmp_path: Path) -> None:
    report = analyze(same)
    assert analyze(same.parent).to_json() == report.to_json()
    assert Report.from_json(report.to_json()).to_json() == report.to_json()
    paths = write_report(report, tmp_path / "report")
    assert paths.html.stat().st_size > 50_000
    assert {"distances", "force_error", "bonds", "divergence", "vibrational_dos"} <= {
        figure.id for figure in report.figures
    }
    assert str(same.parent) not in report.to_json()


def test_kicked_runs_part_slowly(same: Path) -> None:
    report = analyze(same)
    figure = next(figure for figure in report.figures if figure.id == "divergence")
    kicked = next(series for series in figure.series if "itself" in series.label)
    assert kicked.y[0] == pytest.approx(1e-8, rel=1e-3)
    assert max(kicked.y) < 1e-3
    found = {quantity.id: quantity for quantity in report.quantities}
    assert found["horizon_model"].source.startswith("0 of 4 pairs")


# ---- what is wrong fails where it should


def test_a_stiffer_potential_shifts_the_vibrations(
    master: ElasticNetwork, same: Path, tmp_path: Path
) -> None:
    """Conservative and smooth: no check of energy conservation could see it."""
    report, found = against(Scaled(master, 1.2), master, same, tmp_path)
    assert found["vibrational_shift"] == "fail", checks(report)["vibrational_shift"]
    shift = next(q for q in report.quantities if q.id == "band_shift_x-h")
    assert shift.value > 0.0
    assert report.verdict == "fail"


def test_longer_bonds_are_seen(master: ElasticNetwork, same: Path, tmp_path: Path) -> None:
    larger = small_molecule()
    larger.positions *= 1.04
    report, found = against(ElasticNetwork(larger, stiffness=20.0), master, same, tmp_path)
    assert found["bonds"] == "fail"
    # 4 % of 1.43 and of 0.97 to 1.1 Å.
    assert 0.03 < checks(report)["bonds"].value < 0.06
    worst = checks(report)["bonds"].details["worst"][0]
    assert worst["distance"] == pytest.approx(0.055, abs=0.01)


def test_a_run_that_blows_up_fails_survival(
    master: ElasticNetwork, same: Path, tmp_path: Path
) -> None:
    dying = NotANumberAfter(small_molecule(), calls=200, stiffness=20.0)
    report, found = against(dying, master, same, tmp_path)
    assert found["survival"] == "fail"
    assert "not finite" in checks(report)["survival"].summary
    assert any(figure.id == "survival" for figure in report.figures)
    assert found["bonds"] == "inconclusive"  # only one or two pairs are left


def test_a_broken_bond_is_found(master: ElasticNetwork, same: Path) -> None:
    data = load(same)
    survival = compare_stability.measure(data, THRESHOLDS)
    assert compare_stability.check(survival, THRESHOLDS).verdict == "pass"
    frames = data.run("model", 0)
    assert frames is not None
    topology = compare_stability.find_topology(data.reference)
    lengths = compare_stability._lengths(data.reference.positions[None], topology)[0]
    torn = frames.positions_A.copy()
    torn[30:, topology.bonds[0, 0]] += 2.0
    fate = compare_stability._broken(
        dataclasses.replace(frames, positions_A=torn), topology, lengths
    )
    assert fate.time_ps == pytest.approx(0.06)
    assert "Å off its length" in fate.why


def test_the_teacher_is_not_blamed_on_the_model() -> None:
    """Where the teacher loses the same run, nothing is shown against the model."""
    lost, sound = compare_stability.Fate(0.1, "gone"), compare_stability.Fate(1.0, None)
    both = compare_stability.Survival({0: lost, 1: sound}, {0: lost, 1: sound}, 2, 1.0)
    alone = compare_stability.Survival({0: lost, 1: sound}, {0: sound, 1: sound}, 2, 1.0)
    short = compare_stability.Survival({0: sound}, {0: sound, 1: lost}, 2, 1.0)
    judged = [compare_stability.check(item, THRESHOLDS).verdict for item in (both, alone, short)]
    assert judged == ["inconclusive", "fail", "inconclusive"]


# ---- forces


def test_force_errors_are_those_of_the_forces(
    master: ElasticNetwork, same: Path, tmp_path: Path
) -> None:
    report, _ = against(Scaled(master, 1.05), master, same, tmp_path)
    check = checks(report)["on_policy_force_error"]
    data = load(tmp_path)
    forces = np.concatenate([data.evaluated("labels", k)[1] for k in range(4)])
    assert check.details["mae_eV_per_A"] == pytest.approx(0.05 * np.abs(forces).mean(), rel=1e-3)
    assert check.details["angle_deg"] == pytest.approx(0.0, abs=0.05)
    assert check.details["mean_cosine"] == pytest.approx(1.0)
    assert check.details["frames"] == 24
    assert set(check.details["mae_by_element_eV_per_A"]) == {"H", "C", "O"}
    # Wrong by the same part everywhere: no worse on its own frames than on the teacher's.
    assert check.verdict == "pass"


def force_data(frame_mae: list[np.ndarray], held_out: float | None) -> compare_forces.ForceData:
    rng = np.random.default_rng(0)
    forces = rng.normal(size=(100, 3))
    times = [np.linspace(0.0, 1.0, len(mae)) for mae in frame_mae]
    from mlff_md.force_errors import force_errors

    side = compare_forces.Side(
        times_ps=times,
        frame_mae=frame_mae,
        model=forces + 0.01,
        teacher=forces,
        numbers=np.ones(100, dtype=np.intp),
        errors=force_errors(forces + 0.01, forces, np.full(10, 10)),
    )
    yardstick = {"mae_eV_per_A": held_out, "part": "all"} if held_out else None
    return compare_forces.ForceData(side, side, yardstick, 1.0)


@pytest.mark.parametrize(
    ("mean", "scatter", "expected"),
    [(0.04, 0.002, "pass"), (0.08, 0.002, "fail"), (0.046, 0.03, "inconclusive")],
)
def test_force_error_is_judged_by_the_held_out_one(
    mean: float, scatter: float, expected: str
) -> None:
    rng = np.random.default_rng(1)
    rows = [np.abs(mean + scatter * rng.normal() + np.zeros(20)) for _ in range(5)]
    found = compare_forces.checks(force_data(rows, held_out=0.03), THRESHOLDS)
    assert found[0].verdict == expected
    assert [check.id for check in found][-1] == "teacher_frames_force_error"


@pytest.mark.parametrize(
    ("growth", "scatter", "expected"),
    [(0.0, 0.1, "pass"), (2.0, 0.1, "fail"), (0.5, 0.8, "inconclusive")],
)
def test_trend(growth: float, scatter: float, expected: str) -> None:
    rng = np.random.default_rng(2)
    line = 1.0 + growth * np.linspace(-0.5, 0.5, 20)
    rows = [np.abs(line + scatter * rng.normal(size=20)) for _ in range(5)]
    trend = compare_forces.checks(force_data(rows, None), THRESHOLDS)[1]
    assert trend.id == "on_policy_trend"
    assert trend.verdict == expected, trend.summary


def test_held_out_error_is_that_of_the_temperature(random_student: Student) -> None:
    rows = {"all": {"mae_eV_per_A": 0.05}, "300 K": {"mae_eV_per_A": 0.03}}
    manifest = dataclasses.replace(
        random_student.manifest, teacher={"name": "emt?x=1"}, accuracy={"test": rows}
    )
    model = StudentForceFieldCalculator(dataclasses.replace(random_student, manifest=manifest))
    assert held_out_error(model, teacher("emt"), 310.0)["part"] == "300 K"
    assert held_out_error(model, teacher("emt"), 600.0)["mae_eV_per_A"] == 0.05
    assert held_out_error(model, teacher("lj"), 300.0) is None  # another teacher
    assert held_out_error(EMT(), teacher("emt"), 300.0) is None
    assert held_out_error(model, EMT(), 300.0) is None


# ---- the verdict on an observable


def observed(shift: float, scatter: float, floor: float | None) -> Observed:
    """h(r) whose mean differs by ``shift`` in size."""
    about = PairDistances(molecule("CH4"))
    rng = np.random.default_rng(3)
    base = np.ones((6, len(about.centers)))
    change = np.zeros_like(base)
    change[:, 0] = (shift + scatter * rng.normal(size=6)) / 0.05
    distance = compare_pairs(base + change, base, about.size)
    return Observed(about, base + change, base, base[:0], distance, floor)


@pytest.mark.parametrize(
    ("shift", "scatter", "floor", "expected"),
    [
        (0.02, 0.001, 0.01, "pass"),  # small and sure
        (0.02, 0.001, 5.0, "pass"),  # pairs can be closer than runs from other starts
        (0.3, 0.01, 0.01, "fail"),  # large and sure
        (0.3, 0.01, 0.5, "inconclusive"),  # large, but the teacher is no closer to itself
        (0.11, 0.05, 0.01, "inconclusive"),  # across the margin
        (0.3, 0.01, None, "fail"),  # no floor was measured
    ],
)
def test_verdict_on_an_observable(
    shift: float, scatter: float, floor: float | None, expected: str
) -> None:
    check = compare_observables.checks([observed(shift, scatter, floor)], THRESHOLDS)[0]
    assert check.verdict == expected, check.summary


def test_too_few_pairs_decide_nothing(master: ElasticNetwork, tmp_path: Path) -> None:
    options = {**SHORT, "replicas": 2, "floor_replicas": 0, "kicked_replicas": 0, "steps": 40}
    report = compare(small_molecule(), Scaled(master, 1.5), master, **options)
    found = verdicts(report)
    assert found.pop("survival") == "pass"
    assert set(found.values()) == {"inconclusive"}


# ---- reruns


def stamps(raw: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in raw.glob("*.npz")}


def test_a_rerun_makes_only_what_is_missing(master: ElasticNetwork, tmp_path: Path) -> None:
    options = {**SHORT, "steps": 40, "replicas": 2, "floor_replicas": 1}
    atoms = small_molecule()
    raw = run(atoms, Scaled(master, 1.02), master, tmp_path, **options)
    before = stamps(raw)
    first = analyze(raw).to_json()
    (raw / "model-1.npz").unlink()
    master.calls = 0
    run(atoms, Scaled(master, 1.02), master, tmp_path, **options)
    after = stamps(raw)
    assert {name for name in before if before[name] != after[name]} == {"model-1.npz"}
    assert master.calls < 50  # the model asks the same calculator: 41 times and a few
    assert analyze(raw).to_json() == first
    run(atoms, Scaled(master, 1.02), master, tmp_path, **{**options, "replicas": 3})
    longer = stamps(raw)
    assert {name: longer[name] for name in after} == after
    assert {"teacher-2.npz", "model-2.npz", "labels-2.npz"} <= set(longer)


def test_an_interrupted_comparison_goes_on(master: ElasticNetwork, tmp_path: Path) -> None:
    options = {**SHORT, "steps": 40, "replicas": 3, "floor_replicas": 1}
    atoms = small_molecule()
    whole = run(atoms, Scaled(master, 1.02), master, tmp_path / "whole", **options)

    class Interrupt:
        def begin(self, label: str, total: int, timestep_fs: float | None = None) -> None:
            self.total = total

        def update(self, done: int) -> None:
            assert done <= self.total
            if done > 0.5 * self.total:
                raise KeyboardInterrupt

        def end(self) -> None: ...

    with pytest.raises(KeyboardInterrupt):
        run(atoms, Scaled(master, 1.02), master, tmp_path / "cut", **options, progress=Interrupt())
    cut = tmp_path / "cut" / "raw"
    assert 0 < len(stamps(cut)) < len(stamps(whole))
    run(atoms, Scaled(master, 1.02), master, tmp_path / "cut", **options)
    assert set(stamps(cut)) == set(stamps(whole))
    assert analyze(cut).to_json() == analyze(whole).to_json()


def test_other_runs_are_not_mixed_in(master: ElasticNetwork, same: Path, tmp_path: Path) -> None:
    atoms = small_molecule()
    folder = same.parent
    with pytest.raises(ConfigError, match="another temperature_K"):
        run(atoms, master, master, folder, **SHORT, temperature_K=400.0)
    with pytest.raises(ConfigError, match="another model"):
        run(atoms, Scaled(master, 1.0), master, folder, **SHORT)
    moved = small_molecule()
    moved.positions[0] += 0.01
    with pytest.raises(ConfigError, match="another structure"):
        run(moved, master, master, folder, **SHORT)
    options = {**SHORT, "temperature_K": 400.0, "teacher_runs": str(same)}
    with pytest.raises(ConfigError, match="made with another temperature_K"):
        run(atoms, master, master, tmp_path, **options)
    with pytest.raises(DataError, match="no raw data"):
        run(atoms, master, master, tmp_path / "x", **SHORT, teacher_runs=str(tmp_path / "none"))


def test_overwriting_starts_anew(master: ElasticNetwork, tmp_path: Path) -> None:
    options = {**SHORT, "steps": 40, "replicas": 2, "floor_replicas": 0, "kicked_replicas": 0}
    atoms = small_molecule()
    raw = run(atoms, Scaled(master, 1.02), master, tmp_path, **{**options, "replicas": 3})
    run(atoms, Scaled(master, 1.02), master, tmp_path, **options, overwrite=True)
    assert not (raw / "teacher-2.npz").exists()


def test_damaged_data_are_told(master: ElasticNetwork, tmp_path: Path) -> None:
    options = {**SHORT, "steps": 40, "replicas": 1, "floor_replicas": 0, "kicked_replicas": 0}
    raw = run(small_molecule(), master, master, tmp_path, **options)
    (raw / "model-0.npz").write_bytes(b"rubbish")
    with pytest.raises(DataError, match=r"model-0\.npz is not raw data"):
        analyze(raw)
    (raw / "run.json").write_text('{"kind": "compare", "settings": {"steps": "many"}}')
    with pytest.raises(DataError, match="damaged"):
        analyze(raw)
    with pytest.raises(DataError, match="no raw data"):
        analyze(tmp_path / "nothing")


def test_options_that_cannot_be_used(master: ElasticNetwork, tmp_path: Path) -> None:
    atoms = small_molecule()
    for options, words in (
        ({"replicas": 0}, "replicas must be at least 1"),
        ({"steps": 10}, "10 steps with a frame at every 2"),
        ({"temperature_K": 0.0}, "temperature_K must be positive"),
        ({"labels": 500}, "labels must be at most the 61 frames"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(atoms, master, master, tmp_path, **{**SHORT, **options})
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(ConfigError, match="no constraints"):
        run(atoms, master, master, tmp_path, **SHORT)
    with pytest.raises(StructureError, match="at least two atoms"):
        run(Atoms("H"), master, master, tmp_path, **SHORT)
    assert not (tmp_path / "raw").exists()


# ---- other kinds of runs and structures


def test_a_thermostat_gives_both_the_same_noise(master: ElasticNetwork) -> None:
    model = ElasticNetwork(small_molecule(), stiffness=20.0)
    options = {**SHORT, "steps": 100, "thermostat": True, "replicas": 3, "floor_replicas": 1}
    report = compare(small_molecule(), model, master, **options)
    assert report.verdict == "pass"
    assert all(check.value == 0.0 for check in report.checks[3:])


@pytest.mark.slow
def test_crystals_are_compared_by_g_of_r_and_displacement() -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    options = {**SHORT, "timestep_fs": 5.0, "steps": 60, "replicas": 3, "floor_replicas": 0}
    options |= {"frame_every": 1, "labels": 2, "kicked_replicas": 0}
    report = compare(atoms, Scaled(EMT(), 1.2), EMT(), **options)
    found = verdicts(report)
    assert list(found)[3:] == ["rdf", "msd", "vibrational_scale"]
    scale = checks(report)["vibrational_scale"]
    # The square root of 1.2.
    assert scale.value == pytest.approx(9.5, abs=4.0)
    assert found["vibrational_scale"] == "fail"
    assert found["survival"] == "pass"
    assert {"rdf_Cu_Cu", "msd"} <= {figure.id for figure in report.figures}


def test_a_crystal_that_melts_is_lost() -> None:
    """Argon that forgets its attraction: nothing blows up, but g(r) is no crystal's."""
    atoms = bulk("Ar", cubic=True, a=5.3) * (2, 2, 2)
    crystal = LennardJones(epsilon=0.0103, sigma=3.4, rc=5.2, smooth=True)
    melt = LennardJones(epsilon=0.0103, sigma=2.2, rc=5.2, smooth=True)
    options = {**SHORT, "timestep_fs": 10.0, "temperature_K": 60.0, "steps": 80, "replicas": 2}
    options |= {"floor_replicas": 0, "kicked_replicas": 0, "labels": 2}
    report = compare(atoms, melt, crystal, **options, thresholds=with_overrides({"rdf_window": 4}))
    survival = checks(report)["survival"]
    assert survival.verdict == "fail"
    assert "g(r) has left" in survival.summary
    assert all(run["teacher_lost_by"] is None for run in survival.details["runs"])
