"""What a run goes on from, and what must be the same for that: state, structure, calculator."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_md.trajectory import Mark

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class State:
    """A run after a step, its sample and its frame.

    Attributes
    ----------
    step
        Number of the step.
    samples
        Samples so far.
    positions_A, momenta_ase, forces_eV_per_A
        Shape (N, 3) each; momenta in ASE's units.
    random
        State of the thermostat's bit generator, ``None`` without one.
    force_consistent
        Which energy of the calculator is sampled.
    trajectory
        Length of the trajectory, ``None`` without one.
    """

    step: int
    samples: int
    positions_A: NDArray[np.float64]
    momenta_ase: NDArray[np.float64]
    forces_eV_per_A: NDArray[np.float64]
    random: Mapping[str, Any] | None
    force_consistent: bool
    trajectory: Mark | None

    def to_bytes(self) -> bytes:
        """Return the content of a checkpoint file."""
        mark = self.trajectory
        told = {
            "step": self.step,
            "samples": self.samples,
            "random": self.random,
            "force_consistent": self.force_consistent,
            "trajectory": None if mark is None else [mark.size_bytes, mark.header.hex()],
        }
        stream = io.BytesIO()
        np.savez(
            stream,
            told=np.array(json.dumps(told)),
            positions_A=self.positions_A,
            momenta_ase=self.momenta_ase,
            forces_eV_per_A=self.forces_eV_per_A,
        )
        return stream.getvalue()

    @classmethod
    def from_file(cls, path: Path) -> State:
        """Read a checkpoint file; whatever numpy, zipfile and json raise, it is damaged."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            told = json.loads(str(data["told"]))
            mark = told["trajectory"]
            return cls(
                step=int(told["step"]),
                samples=int(told["samples"]),
                positions_A=data["positions_A"],
                momenta_ase=data["momenta_ase"],
                forces_eV_per_A=data["forces_eV_per_A"],
                random=told["random"],
                force_consistent=bool(told["force_consistent"]),
                trajectory=None if mark is None else Mark(int(mark[0]), bytes.fromhex(mark[1])),
            )


def fingerprint(atoms: Atoms) -> str:
    """Return the sha256 of all of a structure that a run depends on."""
    digest = hashlib.sha256()
    arrays = (atoms.numbers, atoms.positions, atoms.get_momenta(), atoms.get_masses())
    for array in (*arrays, atoms.cell.array, atoms.pbc):
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    digest.update(str([constraint.todict() for constraint in atoms.constraints]).encode())
    return digest.hexdigest()


def forget_history(calculator: Any) -> None:
    """Make the next evaluation depend on its structure alone, as far as the calculator lets us.

    Students forget the order of their neighbor list. Other ASE calculators are reset: those that
    then build their lists anew and start their SCF from scratch (EMT, tblite) repeat to the bit.
    """
    forget = getattr(calculator, "forget_history", None) or getattr(calculator, "reset", None)
    if callable(forget):
        forget()


_OF_THE_MACHINE = ("engine", "device", "threads", "instruction_set", "skin_A", "package", "version")


def describe(calculator: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a calculator computes, and what may differ at the price of the last digits."""
    kind = type(calculator)
    told: dict[str, Any] = {"calculator": f"{kind.__module__}.{kind.__qualname__}"}
    asked = getattr(calculator, "describe", None)
    described = asked() if callable(asked) else None
    if isinstance(described, Mapping):
        told |= described
    elif isinstance(getattr(calculator, "parameters", None), Mapping):
        told["parameters"] = dict(calculator.parameters)
    if getattr(calculator, "teacher_spec", None) is not None:
        told["teacher"] = str(calculator.teacher_spec)
    machine = {name: told.pop(name) for name in _OF_THE_MACHINE if name in told}
    return told, machine
