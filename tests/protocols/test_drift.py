"""Drift of runs made elsewhere: real logs of LAMMPS and ASE, tables, restarts, damage."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet

from mlff_md import StudentForceFieldCalculator, analyze_drift
from mlff_md.errors import ConfigError, DataError
from mlff_md.md import run_nve, run_nvt
from mlff_md.memory import peak_MB
from mlff_md.protocols import nve
from mlff_md.protocols.drift_read import read
from mlff_md.protocols.drift_series import EnergySeries, Trajectory, quantum
from mlff_md.protocols.records import Check, Report
from mlff_md.units import KJ_PER_MOL_PER_EV
from mlff_md.velocities import thermalize

from .bare import REPLICAS_ALONE
from .toys import ElasticNetwork, small_molecule

LOGS = Path(__file__).parents[2] / "inputs" / "logs"
NOTHING: dict[str, Any] = dict.fromkeys(
    ("energies", "topology", "timestep_fs", "every", "n_atoms", "units", "column")
)


def by_id(report: Report) -> dict[str, Check]:
    return {check.id: check for check in report.checks}


def read_file(path: Path, **options: Any) -> Trajectory:
    return read(path, **{**NOTHING, **options})


def table(path: Path, energy_eV: np.ndarray, *, fmt: str = "%.9f", every_ps: float = 0.01) -> Path:
    rows = [f"{k * every_ps:.4f}   {fmt % value}   0.5" for k, value in enumerate(energy_eV)]
    header = "Time (ps)   Total Energy (eV)   Kinetic Energy (eV)"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def noise(n: int = 400, size: float = 1e-4, seed: int = 0) -> np.ndarray:
    return size * np.random.default_rng(seed).standard_normal(n)


def test_lammps_melt_drifts_and_passes_class_b() -> None:
    report = analyze_drift(LOGS / "lammps-melt.log")
    found = by_id(report)
    assert report.verdict == "pass"
    assert found["drift"].ci is not None
    # Its energy falls for certain: the neighbor list is renewed without a check.
    assert found["drift"].ci[1] < 0.0
    # By hand: -2.2787 to -2.2968 epsilon in 10 tau, less at the start where the crystal melts.
    assert found["drift"].value == pytest.approx(-0.0064, rel=0.15)
    assert report.provenance["runs"][0]["n_atoms"] == 864
    assert report.provenance["runs"][0]["timestep_fs"] == pytest.approx(0.005 * 2156.0)
    assert "argon" in " ".join(report.provenance["notes"])


def test_lammps_log_with_nvt_before_and_a_run_continued() -> None:
    report = analyze_drift(LOGS / "lammps-argon-nvt-nve.log")
    (run,) = report.provenance["runs"]
    assert run["samples"] == 401
    assert run["length_ps"] == pytest.approx(8.0)
    assert run["bath"] is None
    assert "1 runs with a bath were left out" in report.provenance["notes"]
    assert report.verdict == "pass"
    quantities = {quantity.id: quantity.value for quantity in report.quantities}
    drift = by_id(report)["drift"].value
    assert quantities["drift_gromacs"] == pytest.approx(drift / 1000 * KJ_PER_MOL_PER_EV)


def test_log_of_ase_counts_its_atoms_by_temperature() -> None:
    report = analyze_drift(LOGS / "ase-ethanol.log", timestep_fs=0.5)
    assert report.verdict == "pass"
    assert report.provenance["runs"][0]["n_atoms"] == 9
    assert "drift_per_100_steps" in by_id(report)
    assert "drift_per_100_steps" not in by_id(analyze_drift(LOGS / "ase-ethanol.log"))


def test_trajectories_of_ase_and_ours_agree_with_the_protocol(tmp_path: Path) -> None:
    atoms = small_molecule()
    thermalize(atoms, 300.0, np.random.default_rng(1))
    atoms.calc = ElasticNetwork(atoms)
    own = tmp_path / "own.traj"
    made = run_nve(atoms, steps=200, temperature_K=None, trajectory=own, trajectory_every=4)
    ase_file = tmp_path / "ase.traj"
    VelocityVerlet(atoms, 0.5 * units.fs, trajectory=str(ase_file), loginterval=4).run(200)
    for path in (own, ase_file):
        (run,) = read_file(path).runs
        assert np.allclose(run.time_fs, made.time_fs[::4])
        assert np.allclose(run.energy_eV, made.total_energy_eV[::4], atol=1e-10)
        assert run.timestep_fs == pytest.approx(0.5)
    assert read_file(ase_file).runs[0].bath is None
    extxyz = tmp_path / "own.extxyz"
    run_nve(atoms, steps=60, trajectory=extxyz, trajectory_every=4)
    assert len(read_file(extxyz).runs[0].time_fs) == 16


def test_raw_data_of_the_protocol_are_read(tmp_path: Path) -> None:
    atoms = small_molecule()
    nve.run(atoms, ElasticNetwork(atoms), tmp_path, replicas=2, steps=40, **REPLICAS_ALONE)
    report = analyze_drift(tmp_path)
    assert [run["samples"] for run in report.provenance["runs"]] == [41, 41]


def test_gromacs_and_openmm_tables(tmp_path: Path) -> None:
    time = np.arange(200) * 0.1
    total = -1000.0 + 0.05 * time + noise(200, 1e-3)
    xvg = tmp_path / "energy.xvg"
    head = (
        '# made by hand\n@    title "GROMACS Energies"\n@    xaxis  label "Time (ps)"\n'
        '@    yaxis  label "(kJ/mol), (K)"\n@ s0 legend "Kinetic En."\n@ s1 legend "Total Energy"\n'
        '@ s2 legend "Temperature"\n'
    )
    rows = [f"{t:.4f} {300.0:.4f} {e:.6f} 300.0" for t, e in zip(time, total, strict=True)]
    xvg.write_text(head + "\n".join(rows) + "\n")
    report = analyze_drift(xvg, n_atoms=10)
    expected = 0.05 / KJ_PER_MOL_PER_EV / 10 * 1000.0
    assert by_id(report)["drift"].value == pytest.approx(expected, rel=0.02)
    assert by_id(report)["drift"].verdict == "fail"

    csv = tmp_path / "openmm.csv"
    head = '#"Step","Time (ps)","Total Energy (kJ/mole)"\n'
    rows = [f"{k},{t},{e:.9f}" for k, (t, e) in enumerate(zip(time, total, strict=True))]
    csv.write_text(head + "\n".join(rows) + "\n")
    assert by_id(analyze_drift(csv, n_atoms=10))["drift"].value == pytest.approx(expected, rel=0.02)
    with pytest.raises(DataError, match="number of atoms"):
        analyze_drift(csv)
    with pytest.raises(ConfigError, match="no column 'conserved'"):
        analyze_drift(csv, n_atoms=10, column="conserved")


def test_coarse_digits_are_inconclusive_not_a_pass(tmp_path: Path) -> None:
    energy = -125462.7 + noise()
    fine = by_id(analyze_drift(table(tmp_path / "fine.dat", energy), n_atoms=20))
    assert fine["drift"].verdict == "pass"
    coarse = by_id(analyze_drift(table(tmp_path / "coarse.dat", energy, fmt="%.1f"), n_atoms=20))
    assert coarse["drift"].verdict == "inconclusive"
    assert coarse["energy_resolution"].verdict == "inconclusive"
    assert "print more digits" in coarse["energy_resolution"].summary
    # What rounding can hide: 3 q / (2 T N).
    assert coarse["energy_resolution"].value == pytest.approx(1.5 * 100.0 / 3.99 / 20, rel=0.01)


def test_jump_of_the_energy_fails(tmp_path: Path) -> None:
    energy = noise()
    assert (
        by_id(analyze_drift(table(tmp_path / "a.dat", energy), n_atoms=5))["energy_jump"].verdict
        == "pass"
    )
    energy[250:] += 5e-3
    path = table(tmp_path / "b.dat", energy)
    check = by_id(analyze_drift(path, n_atoms=5))["energy_jump"]
    assert check.verdict == "fail"
    assert check.details["at_ps"] == pytest.approx(2.5)
    assert check.details["jump_meV_per_atom"] == pytest.approx(1.0, rel=0.1)
    # Drift is no jump.
    steady = noise() + 1e-4 * np.arange(400)
    path = table(tmp_path / "c.dat", steady)
    report = by_id(analyze_drift(path, n_atoms=5))
    assert (report["energy_jump"].verdict, report["drift"].verdict) == ("pass", "fail")


def test_thermostat_is_seen_in_the_energies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinetic = 0.5 + 0.05 * rng.standard_normal(400)
    rows = [f"{k * 0.01:.3f}  {v:.6f}  {v:.6f}" for k, v in enumerate(kinetic)]
    path = tmp_path / "nvt.dat"
    path.write_text("Time (ps)  Etot (eV)  Ekin (eV)\n" + "\n".join(rows) + "\n")
    report = analyze_drift(path, n_atoms=5)
    assert by_id(report)["ensemble"].verdict == "inconclusive"
    assert "thermostat" in by_id(report)["ensemble"].summary


def test_a_thermostat_that_is_told_excuses_the_energy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinetic = 0.5 + 0.05 * rng.standard_normal(400)
    total = np.cumsum(0.05 * rng.standard_normal(400))
    rows = [
        f"{k * 0.01:.3f}  {e:.6f}  {v:.6f}"
        for k, (e, v) in enumerate(zip(total, kinetic, strict=True))
    ]
    path = tmp_path / "wild.dat"
    path.write_text("Time (ps)  Etot (eV)  Ekin (eV)\n" + "\n".join(rows) + "\n")
    untold = analyze_drift(path, n_atoms=5)
    assert untold.verdict == "fail"
    assert "does not tell whether there was one" in by_id(untold)["ensemble"].summary
    assert by_id(untold)["drift"].value is not None
    assert by_id(untold)["drift"].summary.endswith("if a thermostat acted, say --thermostat")
    assert analyze_drift(path, n_atoms=5, thermostat=False).verdict == "fail"
    bath = analyze_drift(path, n_atoms=5, thermostat=True)
    assert bath.verdict == "inconclusive"
    assert by_id(bath)["drift"].value is None
    assert "mlff-md validate-nvt" in by_id(bath)["drift"].summary


@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
def test_our_own_trajectories_tell_their_ensemble(suffix: str, tmp_path: Path) -> None:
    options = {"steps": 40, "trajectory": tmp_path / f"run{suffix}", "trajectory_every": 2}
    run_nvt(molecule("H2O"), StudentForceFieldCalculator("ultra-tiny"), **options)
    report = analyze_drift(options["trajectory"])
    assert report.verdict == "inconclusive"
    assert "a thermostat (NVT) acts on the atoms" in by_id(report)["ensemble"].summary
    # The file knows better than the user.
    assert analyze_drift(options["trajectory"], thermostat=False).checks == report.checks
    run_nve(molecule("H2O"), StudentForceFieldCalculator("ultra-tiny"), **options)
    report = analyze_drift(options["trajectory"])
    assert report.provenance["runs"][0]["bath"] is None
    assert by_id(report)["ensemble"].verdict == "pass"


def test_lammps_run_under_a_thermostat_is_not_judged(tmp_path: Path) -> None:
    text = (LOGS / "lammps-argon-nvt-nve.log").read_text()
    log = tmp_path / "nvt.log"
    log.write_text(text[: text.index("unfix bath")])
    report = analyze_drift(log)
    assert report.verdict == "inconclusive"
    assert "fix nvt" in by_id(report)["ensemble"].summary
    assert by_id(report)["drift"].value is None
    assert report.quantities == ()


def test_restart_splits_the_run(tmp_path: Path) -> None:
    path = tmp_path / "md.log"
    lines = (LOGS / "ase-ethanol.log").read_text().splitlines()
    path.write_text("\n".join([*lines[:400], lines[0], *lines[380:900]]) + "\n")
    report = analyze_drift(path)
    assert len(report.provenance["runs"]) == 2
    assert any("time goes back 1 times" in note for note in report.provenance["notes"])


@pytest.mark.parametrize("style", ["multi", "yaml"])
def test_other_thermo_styles_give_the_same(tmp_path: Path, style: str) -> None:
    text = (LOGS / "lammps-melt.log").read_text()
    head, _, rest = text.partition("Step Temp")
    body, _, tail = rest.partition("Loop time")
    names = ["Step", "Temp", "E_pair", "E_mol", "TotEng", "Press"]
    rows = [line.split() for line in body.splitlines()[1:]]
    if style == "yaml":
        lines = ["---", "keywords: [" + ", ".join(f"'{name}'" for name in names) + ", ]", "data:"]
        lines += ["  - [" + ", ".join(row) + ", ]" for row in rows] + ["..."]
    else:
        lines = []
        for row in rows:
            lines.append(
                f"---------------- Step {row[0]:>8} ----- CPU =  0.1 (sec) ----------------"
            )
            lines.append(f"TotEng   = {row[4]}  Temp     = {row[1]}")
            lines.append(f"E_mol    = {row[3]}  E_pair   = {row[2]}  Press    = {row[5]}")
    path = tmp_path / "other.log"
    path.write_text(head + "\n".join(lines) + "\nLoop time" + tail)
    plain, other = read_file(LOGS / "lammps-melt.log").runs[0], read_file(path).runs[0]
    assert np.array_equal(plain.energy_eV, other.energy_eV)
    assert np.array_equal(plain.time_fs, other.time_fs)
    assert plain.n_atoms == other.n_atoms == 864


def test_truncated_log_is_judged_as_far_as_it_goes(tmp_path: Path) -> None:
    text = (LOGS / "lammps-melt.log").read_text()
    path = tmp_path / "cut.log"
    path.write_text(text[: text.index("    1600 ") + 40])
    report = analyze_drift(path)
    assert report.provenance["runs"][0]["samples"] == 32
    assert any("middle of a run" in note for note in report.provenance["notes"])
    for end in range(0, len(text), 397):
        path.write_text(text[:end])
        with contextlib.suppress(DataError, ConfigError):  # anything else would be a bug
            analyze_drift(path)


def test_what_cannot_be_read_gets_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    melt = (LOGS / "lammps-melt.log").read_text()
    cases = {
        "": "empty",
        "hello\n": "no rows of numbers",
        "Time[ps] Etot[eV] Ekin[eV] T[K]\n0.0 1.0 0.5 300\n": "too few",
        "a b\n1 2\n2 3\n": "no column of times",
        "Time (ps)  Foo\n1 2\n2 3\n": "no total energy",
        "Time (ps)  Total Energy\n1 2\n2 3\n": "tells no unit",
        melt.replace("TotEng", "Enthalpy").replace("E_pair", "X"): "no total energy",
        melt.replace("-2.2918", "nan")
        .replace("-2.2893", "nan")
        .replace("   -2.2903113", "   nan"): "not a number",
        "ITEM: TIMESTEP\n0\n": "no energies",
    }
    for text, message in cases.items():
        path.write_text(text)
        with pytest.raises((DataError, ConfigError), match=message) as caught:
            analyze_drift(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"\x00\xff\xfe binary")
    with pytest.raises(DataError, match="no text"):
        analyze_drift(path)
    with pytest.raises(DataError, match="no file"):
        analyze_drift(tmp_path / "absent.log")
    broken = tmp_path / "broken.traj"
    broken.write_bytes(b"- of Ulm nonsense")
    with pytest.raises(DataError, match="damaged"):
        analyze_drift(broken)
    with pytest.raises(ConfigError, match="units"):
        analyze_drift(LOGS / "lammps-melt.log", units="imperial")


def test_trajectory_without_energies_takes_a_table_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("MDAnalysis")
    from ase.io import write

    atoms = molecule("CH3CH2OH")
    write(tmp_path / "frames.pdb", [atoms, atoms])
    energies = table(tmp_path / "energies.dat", noise())
    report = analyze_drift(tmp_path / "frames.pdb", energies=energies)
    assert report.provenance["runs"][0]["n_atoms"] == 9
    dump = tmp_path / "a.lammpstrj"
    dump.write_text("ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n17\n")
    assert read_file(dump, energies=energies).runs[0].n_atoms == 17


def test_a_number_of_atoms_takes_no_memory(tmp_path: Path) -> None:
    """A file that was told of billions of atoms took all memory of a machine (by fuzzing)."""
    energies, dump = table(tmp_path / "energies.dat", noise()), tmp_path / "a.lammpstrj"
    dump.write_text("ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2147483648\n")
    before = peak_MB()
    report = analyze_drift(dump, energies=energies)
    assert report.provenance["runs"][0]["n_atoms"] == 2**31
    assert peak_MB() - before < 100
    for count in ("1" * 40, "9" * 6000):
        dump.write_text(f"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n{count}\n")
        with pytest.raises(DataError, match="number of atoms cannot be"):
            analyze_drift(dump, energies=energies)
    log, text = tmp_path / "log.lammps", (LOGS / "lammps-melt.log").read_text()
    log.write_text(text.replace("with 864 atoms", "with 9999999999999999 atoms"))
    with pytest.raises(DataError, match="number of atoms cannot be"):
        analyze_drift(log)
    with pytest.raises(ConfigError, match="n_atoms must be at most"):
        analyze_drift(energies, n_atoms=10**13)


def test_last_printed_digit() -> None:
    assert quantum(["-12.345", "1.2"]) == pytest.approx(1e-3)
    assert quantum(["100", "-3"]) == 1.0
    assert quantum(["-1.2345e+02"]) == pytest.approx(1e-2)
    series = EnergySeries(np.array([0.0, 2.0, 4.0]), np.zeros(3), None, 3, None)
    assert series.spacing_fs == 2.0
