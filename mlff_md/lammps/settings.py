"""Which student ``pair_style python`` runs, and how: deck variables, else environment. No torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlff_md.errors import ConfigError
from mlff_md.lammps.ctypes_lammps import Lammps

if TYPE_CHECKING:
    from mlff_md.engines import Engine
    from mlff_md.student import Student


@dataclass(frozen=True)
class Settings:
    """What the user chose.

    Attributes
    ----------
    student
        Name or file, as for :func:`mlff_md.load_student`.
    engine, dtype, threads
        As for :func:`mlff_md.engines.make_engine`.
    check_masses
        Whether the masses must fit the elements.
    guard
        Whether a run stops where the student leaves what it was trained on.
    """

    student: str = "tiny"
    engine: str = "auto"
    dtype: str = "float32"
    threads: int = 1
    check_masses: bool = True
    guard: bool = False

    def load(self) -> tuple[Student, Engine]:
        """Return the student and its engine.

        Raises
        ------
        MlffError
            If either cannot be had.
        """
        from mlff_md.engines import make_engine
        from mlff_md.student import load_student

        student = load_student(self.student)
        return student, make_engine(student, self.engine, dtype=self.dtype, threads=self.threads)


def read_settings(lammps: Lammps) -> Settings:
    """Read ``mlff_student`` and the like from the deck, else ``MLFF_MD_STUDENT`` and the like.

    Raises
    ------
    ConfigError
        If a value cannot be used.
    """

    def value(name: str, default: str) -> str:
        environment = os.environ.get(f"MLFF_MD_{name.upper()}", "")
        return lammps.variable(f"mlff_{name}") or environment or default

    threads, masses = value("threads", "1"), value("masses", "check")
    if not threads.isdecimal():
        raise ConfigError(f"mlff_threads must be a number, not {threads!r}")
    if masses not in ("check", "any"):
        raise ConfigError(f"mlff_masses must be check or any, not {masses!r}")
    guard = value("guard", "off")
    if guard not in ("stop", "off"):
        raise ConfigError(f"mlff_guard must be stop or off, not {guard!r}")
    return Settings(
        student=value("student", Settings.student),
        engine=value("engine", Settings.engine),
        dtype=value("dtype", Settings.dtype),
        threads=int(threads),
        check_masses=masses == "check",
        guard=guard == "stop",
    )
