"""The NVE protocol: good calculators pass, each defect fails the check named for it."""

from __future__ import annotations

import math
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

from mlff_md.errors import ConfigError, SimulationError, StructureError
from mlff_md.protocols.nve import analyze
from mlff_md.protocols.provenance import calculator_name, describe_calculator
from mlff_md.protocols.records import Report
from mlff_md.protocols.thresholds import THRESHOLDS, with_overrides
from mlff_md.teachers import TeacherSpec, teacher

from .bare import run, validate_nve
from .outcome import checks, verdicts
from .toys import Curl, ElasticNetwork, Heater, NotANumberAfter, Vortex, Wind, small_molecule

CHECKS = ("stability", "drift", "drift_per_100_steps", "momentum", "temperature")
SHORT: dict[str, Any] = {"replicas": 3, "steps": 100, "equilibration_fs": 50.0}


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

        def skip(self, done: int) -> None: ...

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
