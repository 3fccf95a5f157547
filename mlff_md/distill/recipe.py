"""The recipe of the shipped students' training set, and the held-out sets beside it.

``label_training_set`` with its defaults reproduces the training set of the shipped students;
``label_test_set`` the frames in ``tests/data/gfn2-test.npz``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_md.distill.dataset import Dataset
from mlff_md.distill.enumeration import enumerate_molecules
from mlff_md.distill.forcefield import embed, langevin_frames
from mlff_md.distill.labelling import LabelProgress, label
from mlff_md.distill.molecules import Molecule, training_molecules
from mlff_md.distill.shards import Teacher, make_teacher, teacher_md
from mlff_md.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

ENUMERATED = 7200
"""Enumerated molecules in the training set."""

LABEL_TEACHER = "gfn2-xtb?accuracy=1.0"
"""The labels were made with tblite's default convergence: within 5e-4 eV/Å of converged forces."""

HAND_REPEATS = 2
"""How often each hand-made molecule is sampled."""


def training_set_molecules(seed: int = 0) -> tuple[Molecule, ...]:
    """Return the molecules of the training set: hand-made ones (repeated) and enumerated ones."""
    hand = training_molecules()
    return hand * HAND_REPEATS + enumerate_molecules(ENUMERATED, seed=seed, bases=hand)


def label_training_set(
    out: str | Path,
    *,
    teacher: Teacher = LABEL_TEACHER,
    seed: int = 0,
    workers: int = 1,
    executor: Executor | str | None = None,
    progress: Callable[[LabelProgress], None] | None = None,
) -> Path:
    """Label the training set of the shipped students.

    About 58k frames of 8095 molecules; 50 minutes of one core with GFN2-xTB. See
    :func:`mlff_md.distill.labelling.label` for the arguments, resuming and errors.
    """
    # Enumerating the molecules takes a while: what is wrong is said before.
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    make_teacher(teacher)
    return label(
        training_set_molecules(seed),
        out,
        teacher=teacher,
        seed=seed,
        frames_per_molecule=6,
        chunk_items=250,
        workers=workers,
        executor=executor,
        progress=progress,
    )


def label_test_set(
    molecules: Sequence[Molecule],
    out: str | Path,
    *,
    teacher: Teacher = LABEL_TEACHER,
    seed: int = 0,
    temperatures_K: Sequence[float] = (300.0, 600.0, 1000.0),
    frames: int = 8,
    equilibration_steps: int = 40,
    steps: int = 12,
    progress: Callable[[str], None] | None = None,
) -> Dataset:
    """Sample molecules by teacher MD, filter nothing, and write one small ``.npz``.

    For each molecule and temperature: a new conformer, force-field MD at that temperature, then
    Langevin MD (1 fs) with the teacher; ``frames`` frames, ``steps`` steps apart.

    Parameters
    ----------
    molecules
        Held-out molecules.
    out
        File to write.
    teacher
        Name of a teacher, or a function that returns an ASE calculator.
    seed
        Seed of everything random.
    temperatures_K, frames, equilibration_steps, steps
        Temperatures, frames kept at each, teacher-MD steps before and between them.
    progress
        Called with the name of each molecule that is done.

    Raises
    ------
    DataError
        If a molecule cannot be embedded or the teacher fails: a test set has no holes.
    """
    from ase import Atoms

    labelled: list[Atoms] = []
    for number, molecule in enumerate(molecules):
        for index, temperature in enumerate(temperatures_K):
            rng = np.random.default_rng([seed, number, index])
            conformer = embed(molecule, int(rng.integers(1, 2**31 - 1)))
            start = langevin_frames(conformer, np.array([temperature]), rng)
            if not start:
                raise DataError(f"{molecule.name}: force-field MD at {temperature} K is unstable")
            atoms = Atoms(numbers=conformer.numbers, positions=start[0])
            atoms.calc = make_teacher(teacher)
            dynamics = teacher_md(atoms, temperature, rng)
            try:
                dynamics.run(equilibration_steps)
                for _ in range(frames):
                    dynamics.run(steps)
                    # The stored geometry is rounded; the label must belong to that one.
                    atoms.set_positions(atoms.get_positions().astype(np.float32).astype(float))
                    frame = atoms.copy()
                    frame.calc = _frozen(atoms)
                    frame.info.update(name=molecule.name, kind="tmd", temperature_K=temperature)
                    labelled.append(frame)
            except Exception as error:  # teachers are foreign code and raise anything
                raise DataError(
                    f"{molecule.name}: the teacher failed at {temperature} K: {error}"
                ) from error
        if progress is not None:
            progress(molecule.name)
    dataset = Dataset.from_atoms(labelled)
    dataset.save(out)
    return dataset


def _frozen(atoms: Atoms) -> Calculator:
    """Return the present energy and forces as a calculator of their own."""
    from ase.calculators.singlepoint import SinglePointCalculator

    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    return SinglePointCalculator(atoms, energy=energy, forces=forces)
