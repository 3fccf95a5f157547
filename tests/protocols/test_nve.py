"""The NVE protocol: good calculators pass, each defect fails the check named for it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

from mlff_md.errors import ConfigError, DataError, SimulationError, StructureError
from mlff_md.md import MdRun, run_nve
from mlff_md.protocols.nve import analyze, run, validate_nve
from mlff_md.protocols.nve_checks import temperature
from mlff_md.protocols.nve_data import NveData, Replica
from mlff_md.protocols.nve_energy import drift
from mlff_md.protocols.provenance import calculator_name, describe_calculator
from mlff_md.protocols.raw import read_run, write_run
from mlff_md.protocols.records import Check, Report
from mlff_md.protocols.shadow import shadow_energy
from mlff_md.protocols.thresholds import THRESHOLDS, parse_overrides, with_overrides
from mlff_md.report import write_report
from mlff_md.statistics import ols_slope
from mlff_md.teachers import TeacherSpec, teacher

from .toys import Curl, ElasticNetwork, Heater, NotANumberAfter, Vortex, Wind, small_molecule

CHECKS = ("stability", "drift", "drift_per_100_steps", "momentum", "temperature")
SHORT: dict[str, Any] = {"replicas": 3, "steps": 100, "equilibration_fs": 50.0}


def checks(report: Report) -> dict[str, Check]:
    return {check.id: check for check in report.checks}


def verdicts(report: Report) -> dict[str, str]:
    return {check.id: check.verdict for check in report.checks}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    molecule = small_molecule()
    folder = tmp_path_factory.mktemp("healthy")
    return run(molecule, ElasticNetwork(molecule), folder, steps=1000, equilibration_fs=300.0)


def test_conservative_calculator_passes_as_class_a(healthy: Path) -> None:
    report = analyze(healthy)
    found = checks(report)
    assert tuple(found) == CHECKS
    assert report.verdict == "pass", verdicts(report)
    assert found["drift"].details["class"] == "A"
    assert found["drift"].ci is not None
    assert found["drift"].ci[1] - found["drift"].ci[0] < 0.002
    assert found["drift_per_100_steps"].value < 0.05
    assert found["momentum"].value < 1e-10


def test_every_check_says_what_it_rests_on(healthy: Path) -> None:
    for check in analyze(healthy).checks:
        assert check.threshold is not None
        assert check.source == check.threshold.source
        assert len(check.source) > 20
        assert len(check.blind_to) > 20
        assert check.summary
        assert "\n" not in check.summary


def test_analysis_repeats_from_the_raw_data(healthy: Path) -> None:
    report = analyze(healthy)
    assert analyze(healthy).to_json() == report.to_json()
    assert analyze(healthy.parent).to_json() == report.to_json()
    assert Report.from_json(report.to_json()).to_json() == report.to_json()


def test_same_seed_gives_the_same_raw_data(tmp_path: Path) -> None:
    atoms = small_molecule()
    options = {"replicas": 2, "steps": 20, "equilibration_fs": 10.0}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(atoms, ElasticNetwork(atoms), tmp_path / name, seed=seed, **options)
    series = {}
    for name in "abc":
        for k in (0, 1):
            with np.load(tmp_path / name / "raw" / f"replica-{k}.npz") as data:
                series[name, k] = data["kinetic_energy_eV"]
    assert np.array_equal(series["a", 0], series["b", 0])
    assert np.array_equal(series["a", 1], series["b", 1])
    assert not np.array_equal(series["a", 0], series["a", 1])
    assert not np.array_equal(series["a", 0], series["c", 0])


def test_provenance_names_everything_and_no_place(healthy: Path) -> None:
    report = analyze(healthy)
    assert report.title == "ElasticNetwork on CH4O, 300 K"
    provenance = report.provenance
    assert provenance["settings"]["replicas"] == 5
    assert provenance["settings"]["seed"] == 0
    assert len(provenance["structure"]["sha256"]) == 64
    assert provenance["environment"]["versions"]["ase"]
    assert str(healthy.parent) not in report.to_json()


def test_calculator_describes_itself(tmp_path: Path) -> None:
    class Described(ElasticNetwork):
        def describe(self) -> dict[str, Any]:
            return {"student": "tiny", "dtype": "float64", "engine": "native"}

    atoms = small_molecule()
    report = validate_nve(atoms, Described(atoms), **SHORT)
    assert report.title.startswith("tiny on ")
    assert report.provenance["calculator"]["engine"] == "native"
    assert checks(report)["momentum"].threshold == THRESHOLDS["momentum_float64"]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("lj:0.0103,3.4,8.5", "lj:0.0103,3.4,8.5"),
        ("emt?asap_cutoff=True", "emt?asap_cutoff=True"),
        ("mace:/some/where/water.model?x=1", "mace:water.model?x=1"),
        (
            "lammps:pair_style lj/cut 8; include /opt/a/in; pair_coeff * * ~/p/Si.sw Si",
            "lammps:pair_style lj/cut 8; include in; pair_coeff * * Si.sw Si",
        ),
    ],
)
def test_teacher_is_named_with_its_parameters_and_no_place(spec: str, name: str) -> None:
    calculator = ElasticNetwork(small_molecule())
    calculator.teacher_spec = TeacherSpec.parse(spec)  # type: ignore[attr-defined]
    described = describe_calculator(calculator)
    assert described["name"] == calculator_name(described) == name
    assert described["class"] == "ElasticNetwork"
    assert "package" in described
    assert "version" in described


def test_report_names_the_teacher_as_it_was_asked_for() -> None:
    argon = bulk("Ar", "fcc", a=5.4, cubic=True)
    options = {"replicas": 1, "steps": 20, "equilibration_fs": 0.0, "relax_first": False}
    report = validate_nve(argon, teacher("lj:0.0103,3.4,8.5"), **options)
    assert report.title.startswith("lj:0.0103,3.4,8.5 on ")
    assert report.provenance["calculator"]["package"] == "ase"
    assert report.provenance["calculator"]["version"] == ase.__version__
    assert "name" not in describe_calculator(LennardJones())


def test_figures_and_quantities(healthy: Path) -> None:
    report = analyze(healthy)
    figures = {figure.id: figure for figure in report.figures}
    assert set(figures) == {
        "total_energy",
        "shadow_energy",
        "drift",
        "energy_exchange",
        "temperature",
    }
    for figure in figures.values():
        assert len(figure.caption) > 80
        for series in figure.series:
            assert 1 <= len(series.x) == len(series.y) <= 600
    assert len(figures["total_energy"].series) == 5
    assert figures["total_energy"].series[0].x[-1] == pytest.approx(0.5)
    assert {line.value for line in figures["drift"].lines} == {0.05, 0.001}
    quantities = {quantity.id: quantity for quantity in report.quantities}
    drift = checks(report)["drift"].value
    assert quantities["drift_gromacs"].value == pytest.approx(drift * 0.0964853, rel=1e-4)
    # The shadow energy is what makes short runs enough.
    assert quantities["shadow_energy_rms"].value < 0.2 * quantities["total_energy_rms"].value
    assert quantities["mean_temperature"].value == pytest.approx(300.0, rel=0.5)


def test_shadow_energy_swings_with_the_fourth_power_of_the_time_step() -> None:
    atoms = small_molecule()
    calculator = ElasticNetwork(atoms)
    spread = []
    for timestep_fs in (1.0, 0.5):
        result = run_nve(atoms, calculator, steps=int(200 / timestep_fs), timestep_fs=timestep_fs)
        shadow = shadow_energy(result)
        assert shadow is not None
        spread.append(np.std(shadow[1]))
        assert np.std(shadow[1]) < 0.1 * np.std(result.total_energy_eV)
    assert spread[0] / spread[1] == pytest.approx(16.0, rel=0.3)


def test_shadow_energy_keeps_the_drift() -> None:
    atoms = small_molecule()
    result = run_nve(atoms, Heater(atoms), steps=1500)
    times, energy = shadow_energy(result)  # type: ignore[misc]
    raw = ols_slope(result.time_fs, result.total_energy_eV)
    shadow = ols_slope(times, energy)
    assert shadow.value == pytest.approx(raw.value, rel=0.02)


def test_no_shadow_energy_without_every_step() -> None:
    atoms = small_molecule()
    calculator = ElasticNetwork(atoms)
    assert shadow_energy(run_nve(atoms, calculator, steps=20, sample_every=2)) is None
    assert shadow_energy(run_nve(atoms, calculator, steps=3)) is None


# Each defect, and the checks that must not let it pass.
@pytest.mark.parametrize(
    ("defect", "caught_by", "missed_by"),
    [
        (Curl, ("drift_per_100_steps",), ("stability", "momentum")),
        (Vortex, ("drift", "momentum"), ("stability",)),
        (Heater, ("drift", "drift_per_100_steps", "temperature"), ("stability", "momentum")),
        (Wind, ("drift", "momentum", "temperature"), ("stability",)),
    ],
)
def test_defect_fails_its_checks(
    defect: type[ElasticNetwork], caught_by: tuple[str, ...], missed_by: tuple[str, ...]
) -> None:
    atoms = small_molecule()
    report = validate_nve(atoms, defect(atoms), replicas=5, steps=1000, equilibration_fs=100.0)
    found = verdicts(report)
    assert report.verdict == "fail"
    assert {name: found[name] for name in caught_by} == dict.fromkeys(caught_by, "fail")
    assert {name: found[name] for name in missed_by} == dict.fromkeys(missed_by, "pass")


def test_replica_that_blows_up_fails_stability_and_the_report_is_made(tmp_path: Path) -> None:
    atoms = small_molecule()
    # Relaxation, one equilibration and part of a run are fine; what follows is not a number.
    calculator = NotANumberAfter(atoms, calls=1 + 1 + 401 + 150)
    report = validate_nve(
        atoms, calculator, out=tmp_path, replicas=2, steps=300, equilibration_fs=200.0
    )
    check = checks(report)["stability"]
    assert check.verdict == report.verdict == "fail"
    assert "forces are not finite" in check.summary
    first, second = check.details["replicas"]
    assert first["stage"] == "NVE"
    assert 100 < first["steps_done"] < 300
    assert second["stage"] == "equilibration"
    assert verdicts(report)["drift"] == "inconclusive"
    assert "total_energy" in {figure.id for figure in report.figures}
    assert analyze(tmp_path).to_json() == report.to_json()
    assert Report.from_json(report.to_json()).verdict == "fail"


def test_not_a_number_from_the_start_fails_stability() -> None:
    atoms = small_molecule()
    report = validate_nve(atoms, NotANumberAfter(atoms, calls=0), **SHORT)
    assert verdicts(report)["stability"] == "fail"
    assert checks(report)["stability"].value == 0.0
    assert report.figures == ()


class Refusing(ElasticNetwork):
    """A guarded teacher that cannot evaluate what a run has come to."""

    def __init__(self, reference: Atoms, calls: int) -> None:
        super().__init__(reference)
        self.limit = calls

    def spoil(self, results: dict[str, Any]) -> None:
        if self.calls > self.limit:
            raise StructureError("the SCF does not converge; mend the structure")


def test_refused_structure_keeps_the_run_so_far(tmp_path: Path) -> None:
    atoms = small_molecule()
    # The first evaluation and the relaxation share one call.
    calculator = Refusing(atoms, calls=1 + 101 + 60)
    report = validate_nve(
        atoms, calculator, out=tmp_path, replicas=1, steps=100, equilibration_fs=50.0
    )
    check = checks(report)["stability"]
    assert check.verdict == "fail"
    assert "the SCF does not converge" in check.summary
    assert "mend the structure" not in check.summary
    (replica,) = check.details["replicas"]
    assert replica["stage"] == "NVE"
    assert 50 < replica["steps_done"] < 70
    assert (tmp_path / "raw" / "replica-0.npz").exists()
    assert "total_energy" in {figure.id for figure in report.figures}


def test_lax_limit_on_stability_does_not_hide_a_death(tmp_path: Path) -> None:
    atoms = small_molecule()
    calculator = Refusing(atoms, calls=1 + 101 + 60)
    validate_nve(atoms, calculator, out=tmp_path, replicas=1, steps=100, equilibration_fs=50.0)
    check = checks(analyze(tmp_path, with_overrides({"stability": 50.0})))["stability"]
    assert check.verdict == "pass"
    assert check.value == pytest.approx(60.0, abs=10.0)
    assert "1 of 1 replicas did not reach the end" in check.summary
    assert "the limit is 50 %" in check.summary
    strict = checks(analyze(tmp_path, with_overrides({"stability": 95.0})))["stability"]
    assert strict.verdict == "fail"


@pytest.mark.parametrize("energy", ["pass", "inconclusive"])
def test_trend_of_temperature_fails_only_with_the_energy(energy: Any) -> None:
    rng = np.random.default_rng(0)
    replicas = []
    for k in range(5):
        rising = series(0.0, k)
        kinetic = np.linspace(0.06, 0.10, 400) + 1e-3 * rng.standard_normal(400)
        rising = dataclasses.replace(rising, kinetic_energy_eV=kinetic)
        replicas.append(Replica(k, 400, None, None, rising))
    data = NveData({"settings": {"temperature_K": 300.0}, "calculator": {}}, tuple(replicas))
    assert temperature(data, THRESHOLDS, energy=energy).verdict == "inconclusive"
    assert temperature(data, THRESHOLDS, energy="fail").verdict == "fail"


def test_too_few_steps_are_inconclusive() -> None:
    atoms = small_molecule()
    report = validate_nve(atoms, ElasticNetwork(atoms), **SHORT)
    assert report.verdict == "inconclusive"
    assert verdicts(report)["drift_per_100_steps"] == "inconclusive"
    assert "1000" in checks(report)["drift_per_100_steps"].summary


def test_limit_of_the_user_judges_and_says_so(healthy: Path) -> None:
    check = checks(analyze(healthy, with_overrides({"momentum": 1e-30})))["momentum"]
    assert check.verdict == "fail"
    assert check.source.startswith("set by the user (was 0.001: rounding floor")
    lax = checks(analyze(healthy, with_overrides({"drift": 1.0, "drift_class_a": 1e-9})))["drift"]
    assert (lax.verdict, lax.details["class"]) == ("pass", "B")
    drift_figure = analyze(healthy, with_overrides({"drift": 1.0})).figures[2]
    assert drift_figure.lines[0].value == 1.0


def test_one_replica_judges_itself() -> None:
    atoms = small_molecule()
    report = validate_nve(
        atoms, ElasticNetwork(atoms), replicas=1, steps=1000, equilibration_fs=200.0
    )
    check = checks(report)["drift"]
    assert check.verdict == "pass"
    assert check.details["interval_from"] == "within the run"
    assert check.ci is not None
    assert math.isfinite(check.ci[0])


def series(slope_meV_per_ps: float, seed: int) -> MdRun:
    """A run of two argon atoms whose energy has this slope (per atom) and a little noise."""
    n = 400
    rng = np.random.default_rng(seed)
    time_fs = 0.5 * np.arange(n)
    potential = 2e-6 * slope_meV_per_ps * time_fs + 1e-6 * rng.standard_normal(n)
    vectors = np.zeros((n, 3))
    kinetic = np.full(n, 0.08)
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 4]])
    return MdRun(time_fs, potential, kinetic, vectors, vectors, np.zeros(n), 1, 0.5, 1, atoms)


def judged_drift(slopes: Sequence[float]) -> Check:
    replicas = [Replica(k, 400, None, None, series(s, k)) for k, s in enumerate(slopes)]
    record = {"settings": {"steps": 400}, "calculator": {}}
    return drift(NveData(record, tuple(replicas)), THRESHOLDS)


@pytest.mark.parametrize(
    ("slopes", "verdict", "grade"),
    [
        ((0.0, 1e-4, -1e-4, 5e-5, 0.0), "pass", "A"),
        ((0.01, 0.012, 0.008, 0.011, 0.009), "pass", "B"),
        ((-0.01, -0.012, -0.008, -0.011, -0.009), "pass", "B"),
        ((0.2, 0.21, 0.19, 0.2, 0.2), "fail", None),
        ((-0.2, -0.21, -0.19, -0.2, -0.2), "fail", None),
        ((0.02, 0.06, 0.04, 0.05, 0.03), "inconclusive", None),
        # Each replica alone shows that energy is not conserved, though the mean is near zero.
        ((0.9, -1.0, 1.1, -1.0, 0.2), "fail", None),
        ((0.9, -1.0, 1.1, -1.0, 0.0), "inconclusive", None),
    ],
)
def test_drift_is_judged_by_the_end_of_its_interval(
    slopes: tuple[float, ...], verdict: str, grade: str | None
) -> None:
    check = judged_drift(slopes)
    assert check.verdict == verdict
    assert check.details["class"] == grade
    assert check.value == pytest.approx(np.mean(slopes), abs=2e-4)
    assert [row["slope"] for row in check.details["replicas"]] == pytest.approx(slopes, abs=1e-3)


def test_emt_copper_and_lennard_jones_argon_pass() -> None:
    copper = validate_nve(
        bulk("Cu", cubic=True),
        EMT(),
        replicas=2,
        steps=300,
        timestep_fs=2.0,
        equilibration_fs=200.0,
    )
    assert verdicts(copper)["drift"] == "pass"
    argon = validate_nve(
        bulk("Ar", "fcc", a=5.4, cubic=True),
        LennardJones(sigma=3.405, epsilon=0.010323, rc=7.0, smooth=True),
        replicas=2,
        steps=200,
        timestep_fs=5.0,
        temperature_K=40.0,
        equilibration_fs=500.0,
    )
    assert verdicts(argon)["drift"] == "pass"
    assert "no angular" in checks(argon)["momentum"].summary


@pytest.mark.slow
def test_ethanol_in_emt_is_class_a_with_the_defaults() -> None:
    report = validate_nve(molecule("CH3CH2OH"), EMT())
    assert report.verdict == "pass"
    assert checks(report)["drift"].details["class"] == "A"


class Interrupt(ElasticNetwork):
    """What the user does after a number of calls."""

    def __init__(self, reference: Atoms, calls: int) -> None:
        super().__init__(reference)
        self.limit = calls

    def spoil(self, results: dict[str, Any]) -> None:
        if self.calls > self.limit:
            raise KeyboardInterrupt


def test_interrupted_protocol_is_inconclusive(tmp_path: Path) -> None:
    atoms = small_molecule()
    with pytest.raises(KeyboardInterrupt):
        run(
            atoms,
            Interrupt(atoms, calls=500),
            tmp_path,
            replicas=3,
            steps=150,
            equilibration_fs=50.0,
        )
    report = analyze(tmp_path)
    assert verdicts(report)["stability"] == "inconclusive"
    assert "cut off" in checks(report)["stability"].summary


def test_existing_run_is_kept_unless_told(tmp_path: Path) -> None:
    atoms = small_molecule()
    options = {"steps": 20, "equilibration_fs": 10.0}
    raw = run(atoms, ElasticNetwork(atoms), tmp_path, replicas=2, **options)
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    with pytest.raises(ConfigError, match="already holds a run"):
        run(atoms, ElasticNetwork(atoms), tmp_path, replicas=1, **options)
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == before
    run(atoms, ElasticNetwork(atoms), tmp_path, replicas=1, overwrite=True, **options)
    assert sorted(path.name for path in raw.iterdir()) == ["replica-0.npz", "run.json"]


def test_old_report_goes_before_a_new_run(tmp_path: Path) -> None:
    atoms = small_molecule()
    options = {"replicas": 1, "steps": 20, "equilibration_fs": 10.0}
    report = validate_nve(atoms, ElasticNetwork(atoms), out=tmp_path, **options)
    write_report(report, tmp_path)
    drawn = {path for path in tmp_path.rglob("*") if path.parent.name != "raw" and path.is_file()}
    assert len(drawn) > 6
    mine = tmp_path / "figures" / "mine.png"
    mine.write_bytes(b"not of the report")
    # What cannot start leaves the old result whole.
    with pytest.raises(SimulationError):
        run(Atoms("U2", [[0, 0, 0], [0, 0, 3]]), EMT(), tmp_path, overwrite=True, **options)
    assert all(path.exists() for path in drawn)

    with pytest.raises(KeyboardInterrupt):
        run(atoms, Interrupt(atoms, calls=15), tmp_path, overwrite=True, **options)
    left = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {tmp_path / "raw" / "run.json", mine}


def test_damaged_report_is_no_hindrance_to_a_new_run(tmp_path: Path) -> None:
    atoms = small_molecule()
    options = {"replicas": 1, "steps": 20, "equilibration_fs": 10.0}
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"")
    out = tmp_path / "out"
    for text in ("{", "[]", '{"figures": [3]}', '{"figures": [{"id": "../../outside"}]}'):
        (out / "figures").mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(text)
        run(atoms, ElasticNetwork(atoms), out, overwrite=True, **options)
        assert not (out / "report.json").exists()
    assert outside.exists()


def test_folder_that_cannot_be_emptied_is_told(tmp_path: Path) -> None:
    atoms = small_molecule()
    (tmp_path / "report.json").mkdir()
    with pytest.raises(ConfigError, match="cannot make the folder"):
        run(atoms, ElasticNetwork(atoms), tmp_path, overwrite=True)


def test_validation_without_a_folder_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    atoms = small_molecule()
    validate_nve(atoms, ElasticNetwork(atoms), replicas=1, steps=20, equilibration_fs=0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: (raw / "run.json").unlink(),
        lambda raw: (raw / "run.json").write_text("{"),
        lambda raw: (raw / "run.json").write_text('{"kind": "other"}'),
        lambda raw: (raw / "run.json").write_text('{"kind": "nve", "replicas": [3]}'),
        lambda raw: (raw / "replica-0.npz").unlink(),
        lambda raw: (raw / "replica-0.npz").write_bytes(b"PK garbage"),
        lambda raw: (raw / "replica-0.npz").write_bytes((raw / "replica-0.npz").read_bytes()[:500]),
    ],
)
def test_damaged_raw_data_are_told_in_one_line(tmp_path: Path, damage: Any) -> None:
    atoms = small_molecule()
    raw = run(atoms, ElasticNetwork(atoms), tmp_path, replicas=1, steps=20, equilibration_fs=5.0)
    damage(raw)
    with pytest.raises(DataError) as caught:
        analyze(raw)
    assert "\n" not in str(caught.value)


def test_flipped_bits_of_raw_data_are_told_or_harmless(tmp_path: Path) -> None:
    atoms = small_molecule()
    path = tmp_path / "replica-0.npz"
    original = run_nve(atoms, ElasticNetwork(atoms), steps=20)
    write_run(path, original)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            result = read_run(path)
        except DataError:
            told += 1
        else:
            assert np.array_equal(result.total_energy_eV, original.total_energy_eV)
    assert told > 50


def test_series_of_the_wrong_shape_are_told(tmp_path: Path) -> None:
    atoms = small_molecule()
    path = tmp_path / "replica-0.npz"
    original = run_nve(atoms, ElasticNetwork(atoms), steps=20)
    flat = original.momentum_u_A_per_fs[:, 0]
    write_run(path, dataclasses.replace(original, momentum_u_A_per_fs=flat))
    with pytest.raises(DataError, match="unlike lengths"):
        read_run(path)


def test_replica_file_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    atoms = small_molecule()
    raw = run(atoms, ElasticNetwork(atoms), tmp_path, replicas=1, steps=20, equilibration_fs=5.0)
    record = json.loads((raw / "run.json").read_text())
    (raw / "replica-0.npz").rename(tmp_path / "outside.npz")
    record["replicas"][0]["file"] = "../outside.npz"
    (raw / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="missing"):
        analyze(raw)


@pytest.mark.parametrize(
    "options",
    [
        {"replicas": 0},
        {"steps": 0},
        {"timestep_fs": -1.0},
        {"temperature_K": 0.0},
        {"equilibration_fs": -5.0},
        {"seed": -1},
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    atoms = small_molecule()
    with pytest.raises(ConfigError, match=next(iter(options))):
        run(atoms, ElasticNetwork(atoms), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    atoms = small_molecule()
    with pytest.raises(ConfigError, match="no calculator"):
        validate_nve(atoms)
    with pytest.raises(StructureError, match="two atoms"):
        validate_nve(Atoms("Ar"), EMT())
    with pytest.raises(SimulationError, match="EMT"):
        validate_nve(Atoms("U2", positions=[[0, 0, 0], [0, 0, 3]]), EMT(), out=tmp_path)
    assert list(tmp_path.iterdir()) == []
    fixed = atoms.copy()
    fixed.set_constraint(FixAtoms([0]))
    with pytest.raises(ConfigError, match="constraints"):
        validate_nve(fixed, ElasticNetwork(atoms))
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match="cannot make the folder"):
        validate_nve(atoms, ElasticNetwork(atoms), out=file)


def test_progress_counts_the_whole_protocol() -> None:
    told: list[Any] = []

    class Recorder:
        def begin(self, label: str, total: int, timestep_fs: float | None = None) -> None:
            told.append(total)

        def update(self, done: int) -> None:
            told.append(done)

        def end(self) -> None:
            told.append("end")

    atoms = small_molecule()
    validate_nve(
        atoms,
        ElasticNetwork(atoms),
        replicas=2,
        steps=10,
        equilibration_fs=2.5,
        progress=Recorder(),
    )
    assert told[0] == 30
    assert told[-2:] == [30, "end"]
    assert told[1:-1] == sorted(told[1:-1])


def test_thresholds_have_citations_and_can_be_overridden() -> None:
    for threshold in THRESHOLDS.values():
        assert threshold.unit
        assert len(threshold.source) > 20
    limits = with_overrides(parse_overrides(["drift=0.01", " temperature = 4 "]))
    assert limits["drift"].value == 0.01
    assert limits["drift"].source.startswith("set by the user (was 0.05 meV/atom/ps: class B")
    assert limits["temperature"].value == 4.0
    assert THRESHOLDS["drift"].value == 0.05
    assert with_overrides(None)["momentum"] == THRESHOLDS["momentum"]


def test_bad_overrides_are_told() -> None:
    with pytest.raises(ConfigError, match="did you mean drift"):
        with_overrides({"drfit": 1.0})
    with pytest.raises(ConfigError, match="zero or more"):
        with_overrides({"drift": math.nan})
    for text in ("drift", "drift=", "=3", "drift=abc", "drift=nan", ""):
        with pytest.raises(ConfigError, match="write it as"):
            parse_overrides([text])
    with pytest.raises(ConfigError, match="twice"):
        parse_overrides(["drift=1", "drift=2"])
