"""LAMMPS in place of ASE's integrator: the runs of the NVE protocol through a pair style."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.errors import ConfigError, DataError, MissingDependencyError, SimulationError
from mlff_md.lammps.builds import Build
from mlff_md.lammps.data_file import data_file, place
from mlff_md.lammps.deck import DATA_NAME, STYLES, beginning
from mlff_md.lammps.launcher import choose_build, execute, prepare
from mlff_md.md import MdRun, UnstableRunError
from mlff_md.progress import Progress, silent
from mlff_md.student import Student, save_student
from mlff_md.units import ASE_TIME_UNIT_FS
from mlff_md.velocities import degrees_of_freedom

if TYPE_CHECKING:
    from ase import Atoms

_MOTION = """\
timestep {timestep_ps!r}
compute mlff_kinetic all ke
variable mlff_power atom "(fx*fx+fy*fy+fz*fz)/mass"
compute mlff_power all reduce sum v_mlff_power
variable mlff_px equal "vcm(all,x)*mass(all)"
variable mlff_py equal "vcm(all,y)*mass(all)"
variable mlff_pz equal "vcm(all,z)*mass(all)"
variable mlff_lx equal angmom(all,x)
variable mlff_ly equal angmom(all,y)
variable mlff_lz equal angmom(all,z)
fix mlff_motion all nve
fix mlff_samples all ave/time 1 1 1 c_thermo_pe c_mlff_kinetic c_mlff_power &
  v_mlff_px v_mlff_py v_mlff_pz v_mlff_lx v_mlff_ly v_mlff_lz &
  file {samples} format " %.17g"
thermo_modify norm no lost error
thermo {steps}
run {steps}
write_dump all custom {final} id xu yu zu vx vy vz modify sort id format float %.17g
"""

_MINUTES = 60.0


@dataclass(frozen=True)
class LammpsRuns:
    """Runs NVE in LAMMPS, each start in a process of its own.

    Attributes
    ----------
    student
        The student.
    style
        ``mlff`` or ``python``.
    engine, dtype
        As in the deck.
    build
        The LAMMPS.
    """

    student: Student
    style: str
    engine: str
    dtype: str
    build: Build

    def __call__(
        self,
        atoms: Atoms,
        calculator: Any = None,
        *,
        steps: int,
        timestep_fs: float,
        temperature_K: float | None = None,
        progress: Progress | None = None,
        **_: Any,
    ) -> MdRun:
        """Run velocity Verlet from the structure's own momenta; as :func:`mlff_md.md.run_nve`.

        Raises
        ------
        UnstableRunError
            If LAMMPS stops on the way, with its own message.
        SimulationError
            If it does not begin.
        """
        if temperature_K is not None:
            raise ConfigError("runs in LAMMPS keep the velocities: temperature_K has to be None")
        told = progress or silent
        told.begin("LAMMPS", steps, timestep_fs)
        try:
            with tempfile.TemporaryDirectory(prefix="mlff-md-lammps-") as name:
                folder = Path(name)
                trouble = self._execute(atoms, folder, steps, timestep_fs)
                run = _read(folder, atoms, timestep_fs, steps, trouble)
            told.update(steps)
        finally:
            told.end()
        return run

    @property
    def name(self) -> str:
        """What a report says of it."""
        return f"LAMMPS {self.build.version}, pair_style {self.style}"

    def _execute(self, atoms: Atoms, folder: Path, steps: int, timestep_fs: float) -> str:
        """Run the deck; return LAMMPS' error, nothing if there is none."""
        weights = folder / "student.safetensors"
        save_student(weights, self.student.manifest, self.student.weights)
        data = data_file(atoms)
        (folder / DATA_NAME).write_text(data.text, encoding="utf-8")
        start = beginning(
            atoms,
            data,
            self.student,
            str(weights),
            style=self.style,
            engine=self.engine,
            dtype=self.dtype,
        )
        motion = _MOTION.format(
            timestep_ps=float(np.round(timestep_fs / 1000.0, 15)),
            steps=steps,
            samples=folder / "samples",
            final=folder / "final",
        )
        deck = folder / "in.lmp"
        deck.write_text(start + motion, encoding="utf-8")
        launch = prepare(deck, self.build, log=folder / "log.lammps")
        # Far longer than any run should take: a LAMMPS that hangs must end some time.
        timeout_s = _MINUTES * 60.0 + steps * len(atoms) * 1e-3
        return execute(launch, folder, timeout_s=timeout_s)


def lammps_runs(calculator: Any, md: str) -> LammpsRuns:
    """Return what runs a student's calculator in LAMMPS.

    Parameters
    ----------
    calculator
        A :class:`mlff_md.StudentForceFieldCalculator`.
    md
        ``lammps``, or with a pair style ``lammps:mlff`` or ``lammps:python``.

    Raises
    ------
    ConfigError
        If the calculator is no student's, or ``md`` is not understood.
    MissingDependencyError
        If no LAMMPS here has the pair style.
    """
    program, _, style = md.partition(":")
    if program != "lammps" or (style and style not in STYLES):
        names = ", ".join(("ase", "lammps", *(f"lammps:{name}" for name in STYLES)))
        raise ConfigError(f"md must be one of {names}, not {md!r}")
    student = getattr(calculator, "student", None)
    if not isinstance(student, Student):
        raise ConfigError("LAMMPS runs students; for another calculator leave --md lammps out")
    style, build = _choose([style] if style else ["mlff", "python"])
    return LammpsRuns(student, style, calculator.engine.name, calculator.describe()["dtype"], build)


def _choose(styles: list[str]) -> tuple[str, Build]:
    for style in styles:
        try:
            return style, choose_build(frozenset({style}))
        except MissingDependencyError as error:
            trouble = error
    raise trouble


def _read(folder: Path, start: Atoms, timestep_fs: float, steps: int, trouble: str) -> MdRun:
    rows = _samples(folder / "samples")
    if not len(rows):
        raise SimulationError(f"LAMMPS: {trouble or 'wrote no energies'}")
    finite = np.isfinite(rows).all(axis=1)
    whole = int(np.argmin(finite)) if not finite.all() else len(rows)
    rows = rows[:whole]
    atoms = start.copy()
    atoms.calc = None
    if not trouble and whole == steps + 1:
        _take_final(folder / "final", atoms)
    per_fs = 1e-3
    run = MdRun(
        time_fs=rows[:, 0] * timestep_fs,
        potential_energy_eV=rows[:, 1],
        kinetic_energy_eV=rows[:, 2],
        momentum_u_A_per_fs=rows[:, 4:7] * per_fs,
        angular_momentum_u_A2_per_fs=rows[:, 7:10] * per_fs,
        force_power_eV_per_fs2=rows[:, 3] / ASE_TIME_UNIT_FS**2,
        degrees_of_freedom=degrees_of_freedom(start),
        timestep_fs=timestep_fs,
        sample_every=1,
        n_atoms=len(atoms),
        atoms=atoms,
    )
    if trouble or whole != steps + 1:
        why = trouble or "the energy is not finite"
        raise UnstableRunError(f"LAMMPS stopped at step {whole - 1}: {why}", whole - 1, run)
    return run


def _samples(path: Path) -> NDArray[np.float64]:
    """Return the rows that are whole; a run that was stopped may end in a part of one."""
    if not path.is_file():
        return np.empty((0, 10))
    lines = [
        line.split()
        for line in path.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    return np.array([line for line in lines if len(line) == 10], dtype=np.float64).reshape(-1, 10)


def _take_final(path: Path, atoms: Atoms) -> None:
    """Set positions and momenta of the last step, in the frame of the structure."""
    try:
        _, _, rows = path.read_text(encoding="utf-8").partition("ITEM: ATOMS")
        table = np.array([row.split() for row in rows.splitlines()[1:]], dtype=np.float64)
        positions, velocities = table[:, 1:4], table[:, 4:7]
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"what LAMMPS wrote cannot be read: {error}") from error
    back = place(atoms).rotation.T
    atoms.set_velocities(velocities @ back * (ASE_TIME_UNIT_FS / 1000.0))
    atoms.positions[:] = positions @ back
