"""Synthetic reports: the numbers come from a seeded generator and describe no real student."""

from __future__ import annotations

import dataclasses

import numpy as np

from mlff_md.protocols.records import (
    Check,
    Figure,
    Quantity,
    ReferenceLine,
    Report,
    Series,
    Threshold,
    Tick,
    overall_verdict,
)

REPLICAS = 5
DRIFT_LIMIT = Threshold(
    0.05,
    "meV/atom/ps",
    "GROMACS manual, Verlet-buffer tolerance 0.005 kJ/mol/ps per atom (class B)",
)


def sample_report(verdict: str = "pass") -> Report:
    """Return a full report whose overall verdict is ``verdict``."""
    rng = np.random.default_rng(7)
    slopes = {"pass": 0.004, "fail": 0.31, "inconclusive": 0.045}[verdict] * rng.normal(
        1.0, {"pass": 0.4, "fail": 0.1, "inconclusive": 0.9}[verdict], REPLICAS
    )
    checks = (
        _order_check(verdict),
        _drift_check(slopes, verdict),
        _reversibility_check(),
        _momentum_check(),
        _temperature_check(verdict),
        _stability_check(),
    )
    return Report(
        command="validate-nve",
        title="synthetic student on aspirin, 300 K",
        verdict=overall_verdict(checks),
        checks=checks,
        provenance=_provenance(),
        quantities=(
            Quantity("gromacs_drift", "Drift in GROMACS units", float(slopes.mean()) * 0.0964853,
                     "kJ/mol/ps/atom", "GROMACS energydrifttracker",
                     (float(slopes.min()) * 0.0964853, float(slopes.max()) * 0.0964853)),
            Quantity("kt_drift", "Drift in thermal units", 0.152, "kT/ns/atom",
                     "Merz & Shirts, PLoS ONE 13, e0202764 (2018)"),
            Quantity("rms_fluctuation", "RMS fluctuation of the total energy", 0.10123,
                     "meV/atom", "Toxvaerd et al., J. Chem. Phys. 140, 044102 (2014)"),
        ),
        figures=(
            _energy_figure(rng, slopes),
            _drift_figure(slopes),
            _order_figure(),
            _band_figure(rng),
            _parity_figure(rng),
            _bars_figure(),
        ),
    )  # fmt: skip


def hostile_report() -> Report:
    """Return a report whose texts and numbers try to break every format."""
    nasty = "<script>alert(1)</script> | `x` \"q\" 'a' & ]]> \x00\x1b \ud800 $a_b$ \nline\ttab"
    nan = float("nan")
    check = Check(
        id="../../etc/<x>",
        title=nasty,
        verdict="fail",
        value=nan,
        unit="<b>eV</b>",
        blind_to=nasty,
        summary=nasty,
        ci=(float("-inf"), nan),
        n_eff=float("inf"),
        threshold=Threshold(nan, "<i>", nasty, "lower"),
        source=nasty,
        details={nasty: [nasty, None, True, {"deep": [[1, [2, [3, [4, [5, [6]]]]]]]}], "e": []},
    )
    figures = tuple(
        Figure(
            id="../../evil",
            title=nasty,
            caption=nasty,
            x_label=nasty,
            y_label="$\\frac{",
            series=(
                Series("_hidden", [0.0, 1.0, nan], [nan, None, 2.0], style=style),  # type: ignore[list-item]
                Series(nasty, [1.0, 2.0], [-1.0, 3.0], [nan, -5.0], [0.0, 4.0], style=style),
                Series("nothing", [], [], style=style),
                Series("all gaps", [1.0], [nan], [nan], [nan], style=style),
            ),
            lines=(ReferenceLine(nasty, nan), ReferenceLine(nasty, -1.0, "x")),
            x_ticks=(Tick(nan, nasty), Tick(1.0, nasty), Tick(1e300, ""), Tick(-1e300, "x")),
            x_scale=scale,
            y_scale=scale,
        )
        for style in ("line", "points", "errorbar", "band", "bars")
        for scale in ("linear", "log")
    )
    return Report(
        command="<command>",
        title=nasty,
        verdict="fail",
        checks=(check, dataclasses.replace(check, verdict="inconclusive", value=1.0)),
        provenance={"student": nasty, nasty: {"a": nasty}},
        quantities=(Quantity("q", nasty, nan, nasty, nasty, (nan, nan)),),
        figures=figures,
    )


def _order_check(verdict: str) -> Check:
    order = 0.1 if verdict == "fail" else 1.94
    return Check(
        id="dt_order",
        title="Order of the integrator",
        verdict="fail" if verdict == "fail" else "pass",
        value=abs(order - 2.0),
        unit="",
        ci=(abs(order - 2.0) - 0.03, abs(order - 2.0) + 0.03),
        threshold=Threshold(0.15, "", "GROMACS physicalvalidation (ratio 3.6 to 4.4 at half dt)"),
        source="GROMACS physicalvalidation (ratio 3.6 to 4.4 at half dt)",
        blind_to="A wrong but smooth and conservative potential: its order is 2 as well.",
        summary=f"The energy error grows as dt^{order} from 0.25 to 1 fs.",
        details={
            "order": order,
            "runs": [
                {"timestep_fs": 1.0, "rms_meV_per_atom": 0.1012, "steps": 1500},
                {"timestep_fs": 0.5, "rms_meV_per_atom": 0.02654, "steps": 3000},
                {"timestep_fs": 0.25, "rms_meV_per_atom": 0.007012, "steps": 6000},
            ],
        },
    )


def _drift_check(slopes: np.ndarray, verdict: str) -> Check:
    mean = float(slopes.mean())
    half = 2.776 * float(slopes.std(ddof=1)) / np.sqrt(REPLICAS)
    words = {
        "pass": f"{mean:.4f} meV/atom/ps over five replicas: class B holds at the upper end.",
        "fail": f"{mean:.3f} meV/atom/ps over five replicas: the whole interval lies above.",
        "inconclusive": "The interval reaches across the limit: five replicas are too few.",
    }
    return Check(
        id="drift",
        title="Drift of the total energy",
        verdict=verdict,  # type: ignore[arg-type]
        value=mean,
        unit="meV/atom/ps",
        ci=(mean - half, mean + half),
        n_eff=5.0,
        threshold=DRIFT_LIMIT,
        source=DRIFT_LIMIT.source,
        blind_to="Most defects: direct forces, a truncated cutoff or int8 forces leave no slope.",
        summary=words[verdict],
        details={
            "class": "B",
            "replicas": [
                {"seed": seed, "slope": float(slope), "standard_error": 0.0011 * seed, "g": 3.2}
                for seed, slope in enumerate(slopes, 1)
            ],
        },
    )


def _reversibility_check() -> Check:
    return Check(
        id="reversibility",
        title="Time reversal",
        verdict="pass",
        value=3.1e-8,
        unit="A",
        threshold=Threshold(1e-5, "A", "Set by the float32 floor, measured on argon"),
        source="Set by the float32 floor, measured on argon",
        blind_to="Non-conservative forces: velocity Verlet is reversible for any F(x).",
        summary="200 steps forth and back return to within 3.1e-8 Å.",
        details={"steps": 200, "dtype": "float32"},
    )


def _momentum_check() -> Check:
    return Check(
        id="momentum",
        title="Conservation of momentum",
        verdict="pass",
        value=2.4e-13,
        unit="A amu/fs",
        ci=(1.9e-13, 2.9e-13),
        threshold=Threshold(1e-9, "A amu/fs", "Floor of float64 sums"),
        source="Floor of float64 sums",
        blind_to="Anything that keeps the net force at zero.",
        summary="The total momentum stays at the floor of its sums.",
    )


def _temperature_check(verdict: str) -> Check:
    return Check(
        id="temperature",
        title="Stationary temperature",
        verdict="inconclusive" if verdict == "inconclusive" else "pass",
        value=1.2,
        unit="sigma",
        n_eff=41.3,
        threshold=Threshold(3.0, "sigma", "Grossfield et al., LiveCoMS 1, 5067 (2018)"),
        source="Grossfield et al., LiveCoMS 1, 5067 (2018)",
        blind_to="A wrong distribution with the right mean.",
        summary=(
            "The run holds too few independent blocks to tell."
            if verdict == "inconclusive"
            else "Block means of the temperature agree within 1.2 standard errors."
        ),
    )


def _stability_check() -> Check:
    return Check(
        id="stability",
        title="Survives the run",
        verdict="pass",
        value=10.0,
        unit="ps",
        threshold=Threshold(10.0, "ps", "Fu et al., TMLR 2023 (Forces are not enough)", "lower"),
        source="Fu et al., TMLR 2023 (Forces are not enough)",
        blind_to="Rare events beyond the length of the run.",
        summary="All five replicas reach 10 ps with every bond within 0.5 Å.",
    )


def _energy_figure(rng: np.random.Generator, slopes: np.ndarray) -> Figure:
    time = np.linspace(0.0, 10.0, 600)
    series = [
        Series(
            f"replica {index}",
            list(time),
            list(slope * time + 0.02 * rng.normal(size=600) + 0.03 * np.sin(9 * time + index)),
        )
        for index, slope in enumerate(slopes, 1)
    ]
    return Figure(
        id="energy",
        title="Total energy",
        caption="Deviation from the start of each replica. A slope is a drift; the band is the "
        "shadow Hamiltonian's oscillation.",
        x_label="time / ps",
        y_label="energy deviation / (meV/atom)",
        series=series,
    )


def _drift_figure(slopes: np.ndarray) -> Figure:
    seeds = [float(seed) for seed in range(1, REPLICAS + 1)]
    return Figure(
        id="drift",
        title="Drift of each replica",
        caption="Least-squares slope with its 95 % confidence interval.",
        x_label="replica",
        y_label="drift / (meV/atom/ps)",
        series=[
            Series("slope", seeds, list(slopes), list(slopes - 0.004), list(slopes + 0.004),
                   "errorbar"),
        ],
        lines=[ReferenceLine("class B limit", 0.05), ReferenceLine("class B limit", -0.05)],
    )  # fmt: skip


def _order_figure() -> Figure:
    steps = [0.25, 0.5, 1.0]
    return Figure(
        id="dt-order",
        title="Energy error against time step",
        caption="RMS of the detrended total energy; a second-order integrator has slope 2.",
        x_label="time step / fs",
        y_label="RMS energy error / (meV/atom)",
        series=[
            Series("measured", steps, [0.00701, 0.02654, 0.1012], style="points"),
            Series("slope 2", steps, [0.00633, 0.0253, 0.1012]),
        ],
        x_scale="log",
        y_scale="log",
    )


def _band_figure(rng: np.random.Generator) -> Figure:
    time = np.linspace(0.0, 2.0, 80)
    error = 1e-8 * np.exp(5.2 * time) * np.exp(0.1 * rng.normal(size=80))
    return Figure(
        id="divergence",
        title="Divergence from the teacher",
        caption="Median distance of five pairs of runs and the range between quartiles.",
        x_label="time / ps",
        y_label="distance / Å",
        series=[
            Series("student", list(time), list(8 * error), list(4 * error), list(19 * error),
                   "band"),
            Series("teacher, moved by 1e-8 Å", list(time), list(error), list(error / 2),
                   list(error * 2), "band"),
        ],
        lines=[ReferenceLine("horizon", 1.21, "x"), ReferenceLine("1e-6 Å", 1e-6)],
        y_scale="log",
    )  # fmt: skip


def _parity_figure(rng: np.random.Generator) -> Figure:
    reference = rng.normal(scale=2.0, size=4000)
    return Figure(
        id="parity",
        title="Forces on the student's own path",
        caption="Components of the forces.",
        x_label="teacher / (eV/Å)",
        y_label="student / (eV/Å)",
        series=[
            Series("all elements", list(reference),
                   list(reference + 0.2 * rng.normal(size=4000)), style="points"),
        ],
    )  # fmt: skip


def _bars_figure() -> Figure:
    numbers = [1.0, 6.0, 7.0, 8.0]
    return Figure(
        id="elements",
        title="Force error by element",
        caption="Mean absolute error by atomic number.",
        x_label="atomic number",
        y_label="MAE / (meV/Å)",
        series=[
            Series("held out", numbers, [31.0, 58.0, 71.0, 66.0], style="bars"),
            Series("own path", numbers, [36.0, 63.0, 88.0, 70.0], [33.0, 60.0, 80.0, 65.0],
                   [39.0, 66.0, 97.0, 74.0], "bars"),
        ],
    )  # fmt: skip


def _provenance() -> dict[str, object]:
    return {
        "student": {"name": "synthetic", "sha256": "0123456789abcdef" * 4},
        "engine": "native",
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "versions": {"mlff-md": "0.0", "ase": "3.29.0", "numpy": "2.4.6"},
        "seeds": [1, 2, 3, 4, 5],
        "settings": {"timestep_fs": 0.5, "steps": 20000, "temperature_K": 300.0},
        "input_sha256": "fedcba9876543210" * 4,
        "command_line": "mlff-md validate-nve aspirin.xyz --student synthetic --out run",
    }
