"""From the frames that a guard flagged to a student that knows them.

The teacher labels the frames; then all weights are trained a little further, on the frames and on
a sample of the original training set, so that nothing else is forgotten.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_md.distill.accuracy import accuracy_record, measure
from mlff_md.distill.batches import Targets, make_buckets
from mlff_md.distill.config import DistillConfig, OptimizerConfig
from mlff_md.distill.data_sets import (
    DataSets,
    largest_force,
    load_data_sets,
    unknown_elements,
)
from mlff_md.distill.dataset import Dataset
from mlff_md.distill.dense import DenseMolecules
from mlff_md.distill.domain import measure_domain, measure_environments
from mlff_md.distill.optimization import Optimization
from mlff_md.distill.periodic import PeriodicFrames
from mlff_md.distill.shards import Teacher, make_teacher
from mlff_md.engines import make_engine
from mlff_md.errors import ConfigError, DataError, MlffError
from mlff_md.force_errors import ForceErrors
from mlff_md.structures import read_structures
from mlff_md.student import Student, load_student, save_student
from mlff_md.student.domain import Domain

if TYPE_CHECKING:
    from ase import Atoms

KIND = "flagged"
"""Kind of the frames in the data set that this makes."""

_RATTLE_A = 0.04
"""Standard deviation of what is added to the copies of a frame: neighbors of a run that another
run will meet."""

_THINNING = 5
"""Steps between frames of a run that are worth a label: 2.5 fs at 0.5 fs."""

Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Repair:
    """What became of a student.

    Attributes
    ----------
    student
        The new one.
    path
        Its file.
    before, after
        Errors on flagged frames that were kept out of training.
    validation_before, validation_after
        Errors on the validation set.
    """

    student: Student
    path: Path
    before: ForceErrors
    after: ForceErrors
    validation_before: ForceErrors
    validation_after: ForceErrors


def repair(
    config: DistillConfig | str | Path,
    flagged: Sequence[str | Path],
    out: str | Path,
    *,
    student: str | Path | None = None,
    steps: int = 600,
    learning_rate: float = 3e-4,
    copies: int = 4,
    sample: int = 6000,
    share: float = 0.2,
    seed: int = 0,
    tell: Tell | None = None,
) -> Repair:
    """Label flagged frames and train a student on them.

    Parameters
    ----------
    config
        Of the student's distillation: its data, its teacher, its buckets.
    flagged
        Files that a guard wrote.
    out
        Folder for the labels, ``flagged.npz``, and the student.
    student
        Name or file of the student to mend; that of the configuration unless given.
    steps
        Optimiser steps.
    learning_rate
        Peak of the cosine schedule; a tenth of that of a distillation.
    copies
        Frames made of each one by small random displacements.
    sample
        Frames of the training set that go along.
    share
        Part of the frames of an epoch that are flagged ones.
    seed
        Seed of the sample, the displacements and the batches.
    tell
        Called with a line for each stage.

    Raises
    ------
    ConfigError, DataError, StructureError, StudentFileError
        If something cannot be read or used.
    """
    if not isinstance(config, DistillConfig):
        config = DistillConfig.load(config)
    if not 0.0 < share < 1.0 or copies < 0 or sample < 1:
        raise ConfigError("share must be between 0 and 1, copies 0 or more, sample at least 1")
    say = tell or (lambda _: None)
    old = load_student(student or config.student.name)
    rng = np.random.default_rng(seed)
    frames = select_frames([atoms for path in flagged for atoms in read_structures(path)], old)
    say(f"{len(frames)} frames and {copies} copies of each to label with {config.data.teacher}")
    # Before the teacher's work, which may take hours.
    remedy = "choose another --student, or leave that data set out"
    known = load_data_sets(config.data, old.elements, remedy)
    usual, validation = known.train, known.validation
    labels = label_frames(frames, config.data.teacher, copies, rng, say)
    labels.save(Path(out) / "flagged.npz")
    kept_out = np.isin(labels.molecules, _every_fifth(labels.molecules))
    say(f"{len(labels)} labelled frames, {int(kept_out.sum())} of them kept out of training")
    chosen = rng.permutation(len(usual))[:sample]
    mixed, new_frames = usual.select(chosen), labels.select(~kept_out)
    repeats = max(1, round(share / (1.0 - share) * len(mixed) / len(new_frames)))
    data = Dataset.concatenate([mixed, *[new_frames] * repeats])
    data = data.select(largest_force(data) <= config.data.max_force_eV_per_A)
    settings = dataclasses.replace(
        config.training,
        steps=steps,
        learning_rate=learning_rate,
        warmup_steps=min(50, steps // 4),
        ema_decay=0.99,
        seed=seed,
        compile=False,
    )
    new = _train(old, data, settings, say)
    errors = [
        measure(make_engine(each), frames)
        for frames in (labels.select(kept_out), validation)
        for each in (old, new)
    ]
    everything = Dataset.concatenate([usual, new_frames])
    new = _with_manifest(new, old, known, everything, mixed, labels)
    path = Path(out) / f"{new.name}.safetensors"
    return Repair(save_student(path, new.manifest, new.weights), path, *errors)


def select_frames(frames: Sequence[Atoms], student: Student) -> list[Atoms]:
    """Return the frames that are worth a label: flagged ones, each once, thinned out.

    Raises
    ------
    DataError
        If none is left: also those are left out whose number of electrons is odd, if the student
        knows none such. If one holds an element that the student does not know.
    """
    raw = student.manifest.domain
    even = bool(raw.get("even_electrons", False))
    found, last, seen = [], -_THINNING, set()
    for atoms in frames:
        step = int(atoms.info.get("step", last + _THINNING))
        flagged = atoms.arrays.get("flagged")
        inside = flagged is not None and not np.any(flagged)
        # A run that was cut off writes again what came after its last checkpoint.
        key = atoms.numbers.tobytes(), atoms.positions.tobytes()
        again = key in seen
        seen.add(key)
        if inside or again or (even and atoms.numbers.sum() % 2) or 0 <= step - last < _THINNING:
            continue
        found.append(atoms)
        last = step
    if not found:
        raise DataError(
            "none of the frames can be used: they are not flagged, or are radicals or ions, which "
            "a student that knows neither charge nor spin cannot learn"
        )
    unknown = unknown_elements(np.concatenate([atoms.numbers for atoms in found]), student.elements)
    if unknown:
        raise DataError(
            f"the flagged frames hold {', '.join(unknown)}, and {student.name} knows only "
            f"{' '.join(student.elements)}; an element can only be added by training a new student"
        )
    return found


def label_frames(
    frames: Sequence[Atoms],
    teacher: Teacher,
    copies: int,
    rng: np.random.Generator,
    tell: Tell | None = None,
) -> Dataset:
    """Return frames and displaced copies of them with the teacher's energies and forces.

    Copies of a frame share its name, ``flagged-NUMBER``. What the teacher cannot label is left
    out, and told.

    Raises
    ------
    DataError
        If nothing is left.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    calculator = make_teacher(teacher)
    done: list[Atoms] = []
    for number, frame in enumerate(frames):
        for copy in range(copies + 1):
            atoms = frame.copy()
            if copy:
                atoms.positions += rng.normal(scale=_RATTLE_A, size=atoms.positions.shape)
            # Data sets hold float32; the label must belong to what is stored.
            atoms.positions[:] = atoms.positions.astype(np.float32)
            try:
                energy, forces = _evaluate(calculator, atoms)
            except MlffError as error:
                if tell:
                    tell(f"flagged frame {number} is left out: {error}")
                continue
            atoms.info = {"name": f"flagged-{number}", "kind": KIND}
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
            done.append(atoms)
    if not done:
        raise DataError("the teacher could label none of the flagged frames")
    return Dataset.from_atoms(done)


def _evaluate(calculator: Any, atoms: Atoms) -> tuple[float, np.ndarray]:
    try:
        atoms.calc = calculator
        energy, forces = float(atoms.get_potential_energy()), atoms.get_forces()
    except Exception as error:  # teachers are foreign code and raise anything
        lines = str(error).splitlines()
        raise DataError(lines[0] if lines else type(error).__name__) from error
    if not np.isfinite(forces).all():
        raise DataError("the teacher's forces are not finite")
    return energy, forces


def _every_fifth(names: np.ndarray) -> np.ndarray:
    """Return the names of frames that are kept out of training, copies and all."""
    unique = list(dict.fromkeys(names.tolist()))
    if len(unique) < 2:
        raise DataError("one flagged frame is too few: some are kept out to judge by")
    return np.array(unique[2::5] or unique[-1:])


def _train(old: Student, data: Dataset, settings: OptimizerConfig, say: Tell) -> Student:
    network = old.network().requires_grad_(True)
    model = PeriodicFrames(network) if data.periodic else DenseMolecules(network)
    most = int(data.counts.max())
    sizes = tuple(dict.fromkeys([*(n for n in settings.buckets if n < most), most]))
    manifest = old.manifest
    known = Targets(np.array(manifest.atomic_energies_eV), manifest.energy_scale_eV, 1.0)
    buckets, targets = make_buckets(data, model, sizes, known)
    run = Optimization(model, buckets, targets, settings)
    while run.step < settings.steps:
        record = run.advance()
        if run.step % 100 == 0:
            say(f"step {run.step}  force loss {record['force_loss']:.4f}")
    return dataclasses.replace(old, weights=run.averaged(), sha256="", packed=None)


def _with_manifest(
    new: Student,
    old: Student,
    held_out: DataSets,
    known: Dataset,
    mixed: Dataset,
    labels: Dataset,
) -> Student:
    """Return the student with what was measured anew in its manifest, and nothing that was not."""
    engine = make_engine(new)
    accuracy = {
        name: accuracy_record(engine, frames)
        for name, frames in (("validation", held_out.validation), ("test", held_out.test))
        if frames is not None
    }
    domain = measure_domain(new, Dataset.concatenate([mixed, labels]))
    if old.manifest.domain:
        before = Domain.from_manifest(old.manifest.domain, old.elements)
        domain = dataclasses.replace(
            domain,
            shortest_A=np.minimum(domain.shortest_A, before.shortest_A),
            most_neighbors=np.maximum(domain.most_neighbors, before.most_neighbors),
            num_atoms=domain.num_atoms + before.num_atoms,
            num_frames=len(known),
            dataset_sha256=known.sha256,
            environments=measure_environments(new, known),
            even_electrons=before.even_electrons,
        )
    manifest = dataclasses.replace(
        old.manifest,
        name=f"{old.name}-flagged",
        training={
            **old.manifest.training,
            "flagged": {"frames": len(labels), "sha256": labels.sha256, "parent": old.sha256},
        },
        accuracy=accuracy,
        domain=domain.to_manifest(new.elements),
        nve={},
        robustness={},
        speed={},
    )
    return dataclasses.replace(new, manifest=manifest)
