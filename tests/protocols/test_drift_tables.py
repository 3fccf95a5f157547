"""What tables and logs tell of units, atoms, temperatures and baths, as the programs write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.md import MDLogger
from ase.md.verlet import VelocityVerlet

from mlff_md import analyze_drift
from mlff_md.errors import ConfigError, DataError
from mlff_md.protocols.records import Report
from mlff_md.units import BOLTZMANN_EV_PER_K, KJ_PER_MOL_PER_EV
from mlff_md.velocities import thermalize

from .toys import ElasticNetwork

LOGS = Path(__file__).parents[2] / "inputs" / "logs"
HARTREE = 27.21138602
# 200 samples, 1 fs apart, that drift by 0.1 eV/ps: 20 meV/atom/ps with five atoms.
TIME_FS = np.arange(200.0)
RNG = np.random.default_rng(0)
TOTAL_EV = -40.0 + 1e-4 * TIME_FS + 1e-4 * RNG.standard_normal(200)
KINETIC_EV = 0.5 + 0.01 * RNG.standard_normal(200)


def drift_of(report: Report) -> float | None:
    return next(check.value for check in report.checks if check.id == "drift")


def summary(report: Report, check_id: str) -> str:
    return next(check.summary for check in report.checks if check.id == check_id)


def mean_K(report: Report) -> float:
    return float(summary(report, "temperature").split("mean ")[1].split()[0])


def notes(report: Report) -> str:
    return "; ".join(report.provenance["notes"])


def write(path: Path, header: str, *columns: np.ndarray | list[str], split: str = ",") -> Path:
    cells = [[c if isinstance(c, str) else f"{c:.9f}" for c in column] for column in columns]
    rows = [split.join(row) for row in zip(*cells, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("header", "time_fs", "energy_eV"),
    [
        ("time_fs,etot_eV,ekin_eV", 1.0, 1.0),
        ("time_fs,total_energy_eV,kinetic_energy_eV", 1.0, 1.0),
        ("t_ps,etot_eV,ekin_eV", 1000.0, 1.0),
        ("time_ns,Etot (eV),Ekin (eV)", 1e6, 1.0),
        ("t/fs,Etot/eV,Ekin/eV", 1.0, 1.0),
        ("t[fs],Etot/kJ/mol,Ekin/kJ/mol", 1.0, 1.0 / KJ_PER_MOL_PER_EV),
        ("Time (ps),Etot_kJ_per_mol,Ekin_kJ_per_mol", 1000.0, 1.0 / KJ_PER_MOL_PER_EV),
        ("time fs,e_tot hartree,e_kin hartree", 1.0, HARTREE),
        ("time_fs,etot (meV/atom),ekin (meV/atom)", 1.0, 5e-3),
    ],
)
def test_units_behind_a_name_are_read(
    header: str, time_fs: float, energy_eV: float, tmp_path: Path
) -> None:
    columns = (TIME_FS / time_fs, TOTAL_EV / energy_eV, KINETIC_EV / energy_eV)
    report = analyze_drift(write(tmp_path / "a.csv", header, *columns), n_atoms=5)
    assert drift_of(report) == pytest.approx(20.0, rel=0.01)
    assert report.provenance["runs"][0]["length_ps"] == pytest.approx(0.199)
    assert "taken as" not in notes(report)


def test_a_time_without_a_unit_is_ps_and_the_report_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "time,etot_eV,ekin_eV", TIME_FS / 1000, TOTAL_EV, KINETIC_EV)
    report = analyze_drift(path, n_atoms=5)
    assert drift_of(report) == pytest.approx(20.0, rel=0.01)
    assert "times are taken as ps: the table does not say" in notes(report)


def test_energies_are_named_by_one_letter_if_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "t/fs,E/eV", TIME_FS, TOTAL_EV)
    assert drift_of(analyze_drift(path, n_atoms=5, column="E")) == pytest.approx(20.0, rel=0.01)
    with pytest.raises(DataError, match="no total energy, only t/fs, E/eV; name the column"):
        analyze_drift(path, n_atoms=5)


def test_progress_of_openmm_is_no_number_and_needs_be_none(tmp_path: Path) -> None:
    progress = [f"{k / 2:.1f}%" for k in range(200)]
    remaining = ["--", *(f"{k // 60}:{k % 60:02d}" for k in range(199, 0, -1))]
    kj = KJ_PER_MOL_PER_EV
    header = (
        '#"Progress (%)","Step","Time (ps)","Total Energy (kJ/mole)","Kinetic Energy (kJ/mole)",'
        '"Speed (ns/day)","Elapsed Time (s)","Time Remaining"'
    )
    columns = [TIME_FS / 1000, TOTAL_EV * kj, KINETIC_EV * kj]
    rest = [["--", *["120"] * 199], TIME_FS, remaining]
    path = write(tmp_path / "a.csv", header, progress, TIME_FS, *columns, *rest)
    report = analyze_drift(path, n_atoms=5)
    assert report.provenance["runs"][0]["samples"] == 200
    assert drift_of(report) == pytest.approx(20.0, rel=0.01)
    # The time that the computer took is none of the simulation.
    header = '#"Step","Elapsed Time (s)","Total Energy (kJ/mole)","Time Remaining"'
    path = write(tmp_path / "b.csv", header, TIME_FS, TIME_FS, TOTAL_EV * kj, remaining)
    report = analyze_drift(path, n_atoms=5, timestep_fs=1.0)
    assert drift_of(report) == pytest.approx(20.0, rel=0.01)


def test_rows_without_the_numbers_that_are_needed_are_told(tmp_path: Path) -> None:
    energies = [f"{value:.6f}" for value in TOTAL_EV]
    path = write(tmp_path / "a.csv", "time_fs,etot_eV", TIME_FS, [*energies[:-1], "--"])
    report = analyze_drift(path, n_atoms=5)
    assert report.provenance["runs"][0]["samples"] == 199
    assert "1 rows of the table hold no numbers and were left out" in notes(report)
    path = write(tmp_path / "b.csv", "time_fs,etot_eV", TIME_FS, ["--"] * 200)
    with pytest.raises(DataError, match="no rows of numbers below a header"):
        analyze_drift(path, n_atoms=5)


def test_energies_of_cp2k_are_read(tmp_path: Path) -> None:
    kelvin = 2.0 * KINETIC_EV / (12 * BOLTZMANN_EV_PER_K)
    path = tmp_path / "cp2k.ener"
    lines = [
        "#     Step Nr.          Time[fs]        Kin.[a.u.]          Temp[K]            "
        "Pot.[a.u.]        Cons Qty[a.u.]        UsedTime[s]"
    ]
    for k, kinetic in enumerate(KINETIC_EV / HARTREE):
        conserved = TOTAL_EV[k] / HARTREE
        lines.append(
            f"{k:10d} {TIME_FS[k]:20.6f} {kinetic:20.9f} {kelvin[k]:19.9f} "
            f"{conserved - kinetic:20.9f} {conserved:20.9f} {0.25:20.9f}"
        )
    path.write_text("\n".join(lines) + "\n")
    for told in (None, "hartree"):
        report = analyze_drift(path, n_atoms=5, units=told)
        assert drift_of(report) == pytest.approx(20.0, rel=0.01)
        assert mean_K(report) == pytest.approx(kelvin.mean(), rel=1e-3)
        assert report.provenance["runs"][0]["energy"] == "Cons Qty[a.u.]"
    # CP2K takes the total momentum off, and may take bonds off: not guessed.
    with pytest.raises(DataError, match=r"12 degrees of freedom, of 4 atoms \(3N\), or 5 \(3N-3\)"):
        analyze_drift(path)


def test_units_that_are_asked_for_win_over_unknown_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "time_fs,Etot (E_h)", TIME_FS, TOTAL_EV / HARTREE)
    assert drift_of(analyze_drift(path, n_atoms=5, units="Hartree")) == pytest.approx(20, rel=0.01)
    with pytest.raises(ConfigError, match="the unit 'e_h' is unknown"):
        analyze_drift(path, n_atoms=5)
    # What the header says clearly is not overruled.
    path = write(tmp_path / "b.csv", "time_fs,Etot (eV)", TIME_FS, TOTAL_EV)
    assert drift_of(analyze_drift(path, n_atoms=5, units="hartree")) == pytest.approx(20, rel=0.01)


def logger(path: Path, freedom: int, *, scatter: float = 0.0, digits: int = 3) -> Path:
    """Write a log as MDLogger does, with f degrees of freedom at about 300 K."""
    kelvin = 300.0 + 5.0 * np.random.default_rng(1).standard_normal(200)
    kinetic = 0.5 * freedom * BOLTZMANN_EV_PER_K * kelvin
    kinetic *= 1.0 + scatter * np.random.default_rng(2).standard_normal(200)
    rows = [
        f"{t / 1000:<10.4f} {e:12.{digits}f} {e - k:12.{digits}f} {k:12.{digits}f}  {T:6.1f}"
        for t, e, k, T in zip(TIME_FS, TOTAL_EV, kinetic, kelvin, strict=True)
    ]
    header = "Time[ps]      Etot[eV]     Epot[eV]     Ekin[eV]    T[K]"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_atoms_are_counted_by_temperature_only_where_the_digits_tell(tmp_path: Path) -> None:
    report = analyze_drift(logger(tmp_path / "a.log", 3 * 648))
    assert report.provenance["runs"][0]["n_atoms"] == 648
    said = "648 atoms, from kinetic energy and temperature; with constraints pass --n-atoms"
    assert said in notes(report)
    # Constraints that leave no multiple of three; digits that leave several; no one answer.
    for path in (
        logger(tmp_path / "b.log", 3 * 648 - 2),
        logger(tmp_path / "c.log", 3 * 30000, digits=1),
        logger(tmp_path / "d.log", 3 * 648, scatter=0.002),
    ):
        with pytest.raises(DataError, match=r"pass it \(--n-atoms\)"):
            analyze_drift(path)


def test_rigid_water_of_gromacs_is_not_counted(tmp_path: Path) -> None:
    """216 waters have 6 * 216 - 3 degrees of freedom, which look like 431 atoms."""
    freedom = 6 * 216 - 3
    kelvin = 300.0 + 5.0 * np.random.default_rng(1).standard_normal(200)
    kinetic = 0.5 * freedom * BOLTZMANN_EV_PER_K * KJ_PER_MOL_PER_EV * kelvin
    total = TOTAL_EV * KJ_PER_MOL_PER_EV
    head = (
        '@    xaxis  label "Time (ps)"\n@    yaxis  label "(kJ/mol), (K)"\n'
        '@ s0 legend "Kinetic En."\n@ s1 legend "Conserved En."\n@ s2 legend "Temperature"'
    )
    columns = (TIME_FS / 1000, kinetic, total, kelvin)
    path = write(tmp_path / "energy.xvg", head, *columns, split="  ")
    with pytest.raises(DataError, match=r"1293 degrees of freedom.* or more with constraints"):
        analyze_drift(path)
    report = analyze_drift(path, n_atoms=648)
    assert mean_K(report) == pytest.approx(kelvin.mean(), rel=1e-3)


def test_energies_per_atom_take_the_temperature_of_the_log(tmp_path: Path) -> None:
    atoms = bulk("Al", cubic=True)
    thermalize(atoms, 300.0, np.random.default_rng(1))
    atoms.calc = ElasticNetwork(atoms)
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    dynamics.attach(MDLogger(dynamics, atoms, str(tmp_path / "md.log"), peratom=True))
    dynamics.run(100)
    kelvin = np.loadtxt(tmp_path / "md.log", skiprows=1)[:, -1]
    report = analyze_drift(tmp_path / "md.log")
    assert report.provenance["runs"][0]["n_atoms"] == 1
    assert mean_K(report) == pytest.approx(kelvin.mean(), rel=1e-3)


@pytest.mark.parametrize(("wind", "fixed", "freedom"), [(0.0, 0, 9), (0.1, 0, 12), (0.0, 1, 9)])
def test_temperature_of_a_trajectory_goes_by_its_structure(
    wind: float, fixed: int, freedom: int, tmp_path: Path
) -> None:
    atoms = bulk("Al", cubic=True)
    atoms.set_constraint(FixAtoms(range(fixed)) if fixed else None)
    thermalize(atoms, 300.0, np.random.default_rng(1))
    atoms.set_momenta(atoms.get_momenta() + wind)
    atoms.calc = ElasticNetwork(atoms)
    kinetic: list[float] = []
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs, trajectory=str(tmp_path / "md.traj"))
    dynamics.attach(lambda: kinetic.append(atoms.get_kinetic_energy()))
    dynamics.run(100)
    expected = 2.0 * np.mean(kinetic) / (freedom * BOLTZMANN_EV_PER_K)
    assert mean_K(analyze_drift(tmp_path / "md.traj")) == pytest.approx(expected, rel=1e-3)


def test_temperature_of_lammps_is_that_of_its_log(tmp_path: Path) -> None:
    """Rigid bodies leave half of the degrees of freedom, so that the same energy is hotter."""
    lines = (LOGS / "lammps-argon-nvt-nve.log").read_text().splitlines()
    for k, line in enumerate(lines):
        words = line.split()
        if len(words) == 5 and words[0].isdecimal():
            lines[k] = " ".join([words[0], f"{2.0 * float(words[1]):.12f}", *words[2:]])
    path = tmp_path / "log.lammps"
    path.write_text("\n".join(lines) + "\n")
    plain = mean_K(analyze_drift(LOGS / "lammps-argon-nvt-nve.log"))
    assert mean_K(analyze_drift(path)) == pytest.approx(2.0 * plain, rel=1e-3)


@pytest.mark.parametrize(
    ("fix", "acted"),
    [
        ("npt temp 80.0 80.0 0.2 iso 0 0 2", "fix npt"),
        ("langevin 80.0 80.0 0.2 1 tally yes", "fix langevin tally"),
        ("langevin 80.0 80.0 0.2 1", None),
    ],
)
def test_a_bath_whose_energy_is_counted_is_told(
    fix: str, acted: str | None, tmp_path: Path
) -> None:
    text = (LOGS / "lammps-argon-nvt-nve.log").read_text()
    text = text[text.index("LAMMPS") : text.index("fix bath")] + text[text.index("unfix bath") :]
    text = text.replace("unfix bath", f"fix bath all {fix}").replace("TotEng", "Econserve")
    path = tmp_path / "log.lammps"
    path.write_text(text)
    report = analyze_drift(path)
    if acted is None:
        assert report.verdict == "inconclusive"
        assert "fix langevin (tally no) acts on the atoms" in summary(report, "ensemble")
        return
    assert summary(report, "ensemble") == f"{acted} acted; its energy is counted (econserve)"
    assert report.verdict == "pass"
    assert report.provenance["runs"][0]["samples"] == 401


def test_a_temperature_that_cannot_be_is_not_taken(tmp_path: Path) -> None:
    """One damaged number of the column (found by fuzzing) leaves the count by atoms."""
    rng = np.random.default_rng(0)
    rows = [
        f"{0.1 * k:.1f},{-10 + 1e-4 * rng.normal():.6f},{0.4 + 0.01 * rng.normal():.4f},300.0"
        for k in range(40)
    ]
    rows[2] = rows[2].replace("300.0", "1e308")
    path = tmp_path / "energies.csv"
    path.write_text("\n".join(["Time (ps),Etot (eV),Ekin (eV),Temperature (K)", *rows, ""]))
    report = analyze_drift(path, n_atoms=11)
    (found,) = [quantity for quantity in report.quantities if quantity.id == "mean_temperature"]
    assert found.value == pytest.approx(2 * 0.4 / (30 * BOLTZMANN_EV_PER_K), rel=0.02)
