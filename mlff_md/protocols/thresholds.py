"""Limits of every check, each with the place it comes from; a user can override any of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from mlff_md.errors import ConfigError
from mlff_md.hints import hint
from mlff_md.protocols.records import Threshold

_GROMACS = (
    "GROMACS reference manual, mdp option verlet-buffer-tolerance: default 0.005 kJ/mol/ps per "
    "particle, which is 0.05 meV/atom/ps"
)
_GROMACS_FLOOR = (
    "GROMACS reference manual, mdp option verlet-buffer-tolerance: constraints in single precision "
    "alone drift by about 0.0001 kJ/mol/ps per particle, which is 0.001 meV/atom/ps"
)
_ROUNDING = (
    "rounding floor of a model whose forces sum to zero but for {0} arithmetic; measured on "
    "ethanol over 2 ps: 3e-15 (EMT, float64), 2e-5 (GFN2-xTB, from its SCF tolerance)"
)
_HELD_OUT = (
    "within 1.5 times the error that the student's card gives for held-out molecules: what it "
    "sees here is like what it was judged on"
)

_PROTOTYPE = "limit of the prototype study on Lennard-Jones argon (float32 reached {0})"
_FLOAT32 = "measured with tiny and ultra-tiny in float32: at most {0}"
_FLOAT64 = "measured in float64 with EMT, Lennard-Jones and tiny: at most {0}"
_ORDER = (
    "velocity Verlet is of second order; GROMACS, tests/physicalvalidation, accepts a ratio of 3.6 "
    "to 4.4 when the step is halved, which is 1.85 to 2.14; students, EMT and GFN2-xTB measured "
    "1.98 to 2.05"
)
_DFT_GEOMETRY = (
    "equivalence margin: what common density functionals are off by for small molecules (Koch and "
    "Holthausen, A Chemist's Guide to Density Functional Theory, ch. 8)"
)
_LAMMPS = (
    "one student in two programs differs by the rounding of {0} arithmetic in another order of "
    "atoms; measured on a molecule, 64 waters and a small triclinic cell: {1}"
)
_FLOAT32_STEP = (
    "students whose positions are rounded to float32 have {0} at most (three molecules, three "
    "seeds); a pair attraction cut off at 2 meV has {1}"
)
_LANGEVIN = (
    "Langevin dynamics has an error of its own, of second order in the time step (Leimkuhler and "
    "Matthews, J. Chem. Phys. 138, 174102, 2013): at 0.5 fs and 50/ps tiny and ultra-tiny were "
    "0.75 to 1 % too cold on aspirin and ethanol"
)
_SAMPLED = "an equivalence margin that runs of tens of picoseconds resolve"
_DEFECTS_BELOW = "defects measured on argon have 1.35 or less at the larger time steps"

THRESHOLDS: Mapping[str, Threshold] = MappingProxyType(
    {
        "drift": Threshold(0.05, "meV/atom/ps", f"class B: {_GROMACS}"),
        "drift_class_a": Threshold(0.001, "meV/atom/ps", f"class A: {_GROMACS_FLOOR}"),
        "drift_per_100_steps": Threshold(
            0.1,
            "%",
            "acceptance criterion for distilled students: at most 0.1 % in 100 steps, over 1000 "
            "steps of 0.5 fs or more",
        ),
        "momentum": Threshold(1e-3, "1", _ROUNDING.format("float32")),
        "momentum_float64": Threshold(1e-8, "1", _ROUNDING.format("float64")),
        "temperature": Threshold(
            3.0, "sigma", "three standard errors (99.7 %), Student t over replicas"
        ),
        "lammps_force": Threshold(2e-5, "eV/Å", _LAMMPS.format("float32", "5e-6 eV/Å")),
        "lammps_force_float64": Threshold(1e-6, "eV/Å", _LAMMPS.format("float64", "3e-14 eV/Å")),
        "lammps_energy": Threshold(1e-6, "eV/atom", _LAMMPS.format("float32", "4e-8 eV/atom")),
        "lammps_energy_float64": Threshold(
            1e-8, "eV/atom", _LAMMPS.format("float64", "less than 1e-12 eV/atom")
        ),
        "lammps_pressure": Threshold(1e-5, "1", _LAMMPS.format("either", "2e-6 of the largest")),
        "force_gradient": Threshold(
            3e-3, "1", f"{_PROTOTYPE.format('9e-4')}; {_FLOAT32.format('6e-5')}"
        ),
        "force_gradient_float64": Threshold(
            1e-6, "1", f"{_PROTOTYPE.format('9e-4')}; {_FLOAT64.format('4e-11')}"
        ),
        "virial_gradient": Threshold(3e-3, "1", f"as for forces; {_FLOAT32.format('7e-5')}"),
        "virial_gradient_float64": Threshold(
            1e-6, "1", f"as for forces; {_FLOAT64.format('1e-10')}"
        ),
        "jacobian_symmetry": Threshold(
            3e-3, "1", f"{_PROTOTYPE.format('1e-3')}; {_FLOAT32.format('2e-5')}"
        ),
        "jacobian_symmetry_float64": Threshold(
            1e-6, "1", f"{_PROTOTYPE.format('1e-3')}; {_FLOAT64.format('2e-9')}"
        ),
        "level_error": Threshold(
            1e-4,
            "1",
            "an error that does not depend on the difference step is no rounding: GFN2-xTB has "
            "3e-7 (from its SCF tolerance), a curl of 1.1 % of the forces has 6e-3",
        ),
        "level_error_float64": Threshold(
            1e-6,
            "1",
            f"as in float32, for an error that is no rounding; {_FLOAT64.format('4e-11')}",
        ),
        "force_noise": Threshold(
            1e-5, "1", f"{_FLOAT32.format('4e-7')}; forces rounded to 0.001 eV/Å have 8e-5"
        ),
        "force_noise_float64": Threshold(
            1e-8, "1", _FLOAT64.format("7e-11, from the third derivative of splines")
        ),
        "net_force": Threshold(1e-3, "1", f"rounding floor of float32; {_FLOAT32.format('1e-16')}"),
        "net_force_float64": Threshold(
            1e-8, "1", f"rounding floor of float64; {_FLOAT64.format('6e-15')}"
        ),
        "net_torque": Threshold(1e-3, "1", f"rounding floor of float32; {_FLOAT32.format('8e-9')}"),
        "net_torque_float64": Threshold(
            1e-8, "1", f"rounding floor of float64; {_FLOAT64.format('4e-16')}"
        ),
        "invariance": Threshold(1e-3, "1", f"rounding floor of float32; {_FLOAT32.format('5e-7')}"),
        "invariance_float64": Threshold(
            1e-8, "1", f"rounding floor of float64; {_FLOAT64.format('3e-14')}"
        ),
        "cutoff_energy_step": Threshold(1e-4, "eV", _FLOAT32_STEP.format("1.6e-5 eV", "2e-3 eV")),
        "cutoff_energy_step_float64": Threshold(1e-7, "eV", _FLOAT64.format("4e-9 eV")),
        "cutoff_force_step": Threshold(2e-4, "1", _FLOAT32_STEP.format("6e-5", "8e-4 or more")),
        "cutoff_force_step_float64": Threshold(
            1e-6,
            "1",
            f"{_FLOAT64.format('1.1e-7, of EMT, whose cutoff function ends at 1e-4')}",
        ),
        "repeatability": Threshold(
            1e-5,
            "1",
            "on a CPU students repeat to the bit; GFN2-xTB, which starts from its last wave "
            "function, to 3e-6",
        ),
        "repeatability_float64": Threshold(
            1e-8, "1", f"rounding floor of float64; {_FLOAT64.format('0')}"
        ),
        "kinetic_temperature": Threshold(2.0, "%", _LANGEVIN),
        "kinetic_spread": Threshold(
            10.0, "%", f"Merz and Shirts, PLOS ONE 13, e0202764 (2018); {_SAMPLED}"
        ),
        "equipartition": Threshold(
            5.0, "%", f"{_LANGEVIN}; 50 ps know an element of few atoms to 2 to 3 %"
        ),
        "two_temperatures": Threshold(
            20.0, "%", f"Shirts, J. Chem. Theory Comput. 9, 909 (2013); {_SAMPLED}"
        ),
        "restart": Threshold(
            0.0,
            "Å",
            "on one machine a run that goes on is made of the same floating-point operations",
        ),
        "energy_resolution": Threshold(
            0.05,
            "meV/atom/ps",
            "as the drift limit: what rounding can hide must not be more than what is judged",
        ),
        "ensemble": Threshold(
            0.3,
            "1",
            "at constant energy the swing of the total energy is a small part of that of the "
            "kinetic energy: measured 0.02 for ethanol at 0.5 fs",
        ),
        "energy_jump": Threshold(
            8.0,
            "sigma",
            "level before against level after in units of the scatter; the largest in 60 series of "
            "white noise of 100 to 100,000 samples is 2.6",
        ),
        "dt_order": Threshold(1.85, "1", _ORDER, sense="lower"),
        "dt_order_high": Threshold(2.15, "1", _ORDER),
        "dt_order_fail": Threshold(1.5, "1", f"{_DEFECTS_BELOW}", sense="lower"),
        "reversibility": Threshold(
            1e-5, "Å", f"{_PROTOTYPE.format('7e-7 Å')}; students measured 1e-15, GFN2-xTB 1e-7"
        ),
        "reversibility_float64": Threshold(
            1e-10, "Å", f"{_PROTOTYPE.format('7e-7 Å')}; students measured 1e-15"
        ),
        "export_parity": Threshold(
            1.0,
            "tolerance",
            "5e-5 of the RMS force or of 1 eV/Å, and 1e-5 eV in an atom's energy: what float32 "
            "arithmetic leaves, with a margin of two; measured on the shipped students",
        ),
        "batch": Threshold(
            2e-5, "eV/Å", "float32 arithmetic in another order; measured: 5e-6 eV/Å on molecules"
        ),
        "latency": Threshold(
            5.0, "ms", "testing checklist of the reference documents: below 5 ms at batch 1"
        ),
        "memory": Threshold(
            2.0, "GB", "testing checklist of the reference documents: less than 2 GB"
        ),
        "leak": Threshold(
            1.0,
            "MB",
            "in 10,000 evaluations: 100 bytes in each, below which the allocator's own breathing "
            "hides a leak; measured: 0.0 MB (native)",
        ),
        "stability": Threshold(
            100.0,
            "%",
            "every replica must reach its last step; stability as a gate: Fu et al., "
            "arXiv 2210.07237",
            sense="lower",
        ),
        "force_r2": Threshold(
            0.99,
            "1",
            "below it a student's forces explain less than 99 % of the teacher's; depends on how "
            "hot the frames are (the spread of the forces), so compare like with like",
            sense="lower",
        ),
        "force_mae": Threshold(1.5, "x card", _HELD_OUT),
        "energy_mae": Threshold(1.5, "x card", _HELD_OUT),
        "worst_molecule": Threshold(
            3.0,
            "x card",
            "twice the margin of the mean: one molecule has more scatter than all together; of the "
            "41 held-out molecules the worst is at 2.0 for tiny and ultra-tiny, 1.6 for original",
        ),
        "card": Threshold(
            1e-5, "1", "float32 rounding between engines changes R2 by less than 1e-6"
        ),
        "hot_stability": Threshold(
            100.0,
            "%",
            "no bond longer than its reference by 0.5 Å that the teacher would not open: Fu et "
            "al., arXiv 2210.07237",
            sense="lower",
        ),
        "on_policy_force_error": Threshold(
            1.5,
            "x yardstick",
            "the model's own runs must not lead it to where it is half as bad again as on held-out "
            "frames (without a held-out error: as on the teacher's frames)",
        ),
        "teacher_frames_force_error": Threshold(
            1.5,
            "x yardstick",
            "half as bad again as on the held-out molecules that its card was measured on",
        ),
        "on_policy_trend": Threshold(
            50.0,
            "%",
            "within one run the error must not grow by the half that the limit of its level allows",
        ),
        "survival": Threshold(
            100.0,
            "%",
            "every run must reach its end with no bond off by 0.5 Å: Fu et al., arXiv 2210.07237",
            sense="lower",
        ),
        "bonds": Threshold(0.01, "Å", _DFT_GEOMETRY),
        "angles": Threshold(1.0, "degree", _DFT_GEOMETRY),
        "dihedrals": Threshold(
            5.0,
            "degree",
            "equivalence margin: less than half of the thermal width of a torsion in its well, 12 "
            "degrees at 300 K for a threefold barrier of 3 kcal/mol",
        ),
        "pair_distances": Threshold(
            0.1,
            "1",
            "equivalence margin: 5 % of the 2 between disjoint distributions; h(r) as in Fu et "
            "al., arXiv 2210.07237",
        ),
        "rdf": Threshold(0.05, "1", "equivalence margin: 5 % of the mean of g(r), which is 1"),
        "rmsf": Threshold(
            0.05,
            "Å",
            "equivalence margin: half of the 0.1 Å at which two runs count as parted; for aspirin, "
            "0.6 ps of GFN2-xTB from other starts are 0.05 Å from each other",
        ),
        "vibrational_shift": Threshold(
            15.0,
            "cm^-1",
            "equivalence margin: half of the 34 cm^-1 by which scaled B3LYP/6-31G(d) is off (Scott "
            "and Radom, J. Phys. Chem. 100, 16502 (1996)); a potential 2 % too stiff shifts "
            "the stretches of hydrogen by 30",
        ),
        "vibrational_scale": Threshold(
            2.0,
            "%",
            "equivalence margin where all vibrations are soft: a potential that is 4 % too stiff",
        ),
        "msd": Threshold(20.0, "%", "equivalence margin: a fifth of the mean displacement"),
        "rdf_window": Threshold(
            3.0, "Å", "integral of abs(g - g of the teacher), water: Fu et al., arXiv 2210.07237"
        ),
        "horizon": Threshold(0.1, "Å", "a tenth of a bond: the two runs are no longer the same"),
        "short_range": Threshold(
            0.0, "scans", "a single hole is enough for two atoms to fall into each other"
        ),
    }
)
"""Check id -> limit. ``drift`` is the limit that judges; ``drift_class_a`` names the better class;
``momentum_float64`` replaces ``momentum`` for calculators that say they compute in float64."""


def with_overrides(
    overrides: Mapping[str, float] | None,
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
) -> Mapping[str, Threshold]:
    """Return the thresholds with some limits replaced; each says that a user set it.

    Parameters
    ----------
    overrides
        Check id -> limit in the unit of that threshold; ``None`` changes nothing.
    thresholds
        What to start from.

    Raises
    ------
    ConfigError
        For an id that does not exist (with near matches), or a limit that is not a number.
    """
    changed = dict(thresholds)
    for name, value in (overrides or {}).items():
        if name not in thresholds:
            raise ConfigError(f"there is no threshold {name!r}; {hint(name, thresholds)}")
        if not (math.isfinite(value) and value >= 0.0):
            raise ConfigError(f"the threshold {name} must be a number, zero or more, got {value}")
        old = thresholds[name]
        unit = "" if old.unit == "1" else f" {old.unit}"
        source = f"set by the user (was {old.value:g}{unit}: {old.source})"
        changed[name] = dataclasses.replace(old, value=float(value), source=source)
    return MappingProxyType(changed)


def parse_overrides(texts: Iterable[str]) -> dict[str, float]:
    """Read ``drift=0.01`` as a command line gives it.

    Raises
    ------
    ConfigError
        If a text is not of the form ID=NUMBER, or an id comes twice.
    """
    overrides: dict[str, float] = {}
    for text in texts:
        name, equals, number = (part.strip() for part in text.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (name and equals and math.isfinite(value)):
            raise ConfigError(f"cannot read the threshold {text!r}; write it as drift=0.01")
        if name in overrides:
            raise ConfigError(f"the threshold {name} is given twice")
        overrides[name] = value
    return overrides
