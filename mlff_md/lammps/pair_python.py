"""A whole many-body student inside LAMMPS' own ``pair_style python``. No torch.

LAMMPS calls ``check_units`` and ``map_coeff`` once, fetches the attributes ``compute_force`` and
``compute_energy`` at the start of each force evaluation, and then calls them pair by pair. Here
``compute_force`` is a property: that it is fetched is what evaluates the student, once, on LAMMPS'
own arrays; the function it returns adds nothing. Energy, and what of the virial LAMMPS does not
find from the forces, go through a ``fix external`` that is made on the way
(:mod:`mlff_md.lammps.energy_fix`).
"""

from __future__ import annotations

import sys
import traceback
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlff_md.errors import ConfigError, MlffError
from mlff_md.lammps.ctypes_lammps import Lammps
from mlff_md.lammps.domains import ManyRanks, OneRank, Share, check_finite
from mlff_md.lammps.elements import check_masses, check_name, numbers_by_type
from mlff_md.lammps.energy_fix import EnergyFix
from mlff_md.lammps.ranks import Ranks
from mlff_md.lammps.settings import Settings, read_settings
from mlff_md.lammps.watch import Watch
from mlff_md.units import KJ_PER_MOL_PER_EV

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ATTACH_LINES = (
    "python mlff input 1 SELF format p here 'from mlff_md.lammps import attach as mlff'",
    "python mlff invoke",
)
"""Deck lines by which LAMMPS passes itself; ``mlff-md lammps run`` adds them where they lack."""

_ENERGY_PER_EV = {"metal": 1.0, "real": KJ_PER_MOL_PER_EV / 4.184}


def _nothing(_rsq: float, _itype: int, _jtype: int) -> float:
    return 0.0


class _Attached:
    """The LAMMPS of this process, and the students that waited for it."""

    lammps: Lammps | None = None
    waiting: ClassVar[weakref.WeakSet[Student]] = weakref.WeakSet()


def attach(handle: Any) -> None:
    """Tell ``mlff_md`` which LAMMPS it runs in; called from the deck, see :data:`ATTACH_LINES`.

    Before or after ``pair_coeff``, once, and again for each further LAMMPS of the process.

    Parameters
    ----------
    handle
        The capsule of ``SELF``, or from Python ``lmp.lmp`` as a number.

    Raises
    ------
    MlffError
        If a student that was waiting cannot be loaded.
    """
    _one_line_errors()
    lammps = _Attached.lammps = Lammps(handle)
    if lammps.setting("box_exist"):
        EnergyFix.of(lammps).define()
    for student in list(_Attached.waiting):
        student.bind(lammps)
    _Attached.waiting.clear()


class Student:
    """``pair_coeff * * mlff_md.lammps.Student H C N O`` for ``pair_style python CUTOFF``.

    The elements are those of the atom types, in their order. The cutoff is the student's own,
    whatever LAMMPS' is. Which student is told by ``variable mlff_student string NAME`` or the
    environment variable ``MLFF_MD_STUDENT``; see :class:`~mlff_md.lammps.settings.Settings`.

    Pair factors of ``special_bonds`` and ``neigh_modify exclude`` do not act on a student: it sees
    all atoms. In ``pair_style hybrid/overlay`` it adds to the other styles; types that are mapped
    to ``NULL`` are not there for it.
    """

    compute_energy = staticmethod(_nothing)

    def __init__(self) -> None:
        _one_line_errors()
        self._types: dict[int, str] = {}
        self._energy_scale = 1.0
        self._lammps: Lammps | None = None
        self._started = False
        self._last: _Evaluation | None = None
        if _Attached.lammps is None:
            _Attached.waiting.add(self)
        else:
            self.bind(_Attached.lammps)

    def check_units(self, units: str) -> None:
        """Accept ``metal`` and ``real`` (LAMMPS' contract).

        Raises
        ------
        ConfigError
            For other units.
        """
        if units not in _ENERGY_PER_EV:
            raise ConfigError(f"a student runs in units metal or real, not {units}")
        self._energy_scale = _ENERGY_PER_EV[units]

    def map_coeff(self, name: str, kind: int) -> None:
        """Note the element of an atom type (LAMMPS' contract).

        Raises
        ------
        ConfigError
            If the student does not know it.
        """
        if self._lammps is None:
            self._types[kind] = name
            return
        check_name(name, self._engine.elements)
        self._types[kind] = name
        # LAMMPS still reads the words of pair_coeff, which a command would overwrite.
        if kind == self._lammps.setting("ntypes"):
            self._fix.define()

    def bind(self, lammps: Lammps) -> None:
        """Load the student that the deck or the environment names, for this LAMMPS.

        Raises
        ------
        MlffError
            If it cannot be loaded, or does not know the elements of ``pair_coeff``.
        """
        self._settings: Settings = read_settings(lammps)
        student, self._engine = self._settings.load()
        for name in self._types.values():
            check_name(name, self._engine.elements)
        self._student = student
        self._layers = student.manifest.architecture.num_interactions
        self._lammps = lammps
        self._fix = EnergyFix.of(lammps)
        if lammps.setting("world_rank") == 0:
            told = self._engine.describe()
            print(f"mlff_md: {student.name}, engine {told['engine']}, {told['dtype']}", flush=True)

    @property
    def compute_force(self) -> Callable[[float, int, int], float]:
        """Evaluate the student and add its forces; the function returned adds none."""
        try:
            self._evaluate()
        except Exception as error:
            self._stop(error)
            raise
        return _nothing

    def _evaluate(self) -> None:
        lammps = self._lammps
        if lammps is None:
            raise ConfigError(
                "LAMMPS has not passed itself: add these two lines after read_data, or run it "
                f"by 'mlff-md lammps run': {' / '.join(ATTACH_LINES)}"
            )
        if not self._started:
            self._start(lammps)
        step = lammps.step()
        if self._last is not None and self._last.still_there(lammps, step):
            return
        if isinstance(self._domain, ManyRanks) and (self._last is None or self._last.step == step):
            self._domain.check_ghosts(lammps)
        share = self._domain.evaluate(lammps, self._numbers)
        check_finite(share)
        scale = self._energy_scale
        energy = self._ranks.sum(float(share.energies.sum()))
        share = Share(share.energies * scale, share.forces * scale, share.virial * scale)
        self._last = _Evaluation(lammps, step, share.forces)
        self._fix.report(energy * scale, share.virial, share.energies)

    def _start(self, lammps: Lammps) -> None:
        """Look once, before the first evaluation, at what is fixed only when a run begins."""
        self._ranks = Ranks(lammps)
        if not self._fix.exists():
            raise ConfigError(
                "the energy has no way into LAMMPS: put the python lines of mlff_md after "
                "read_data or create_box, and do not unfix mlff_md"
            )
        if lammps.respa_levels():
            raise ConfigError("a student does not run under run_style respa; use verlet")
        masses = lammps.masses()
        if self._settings.check_masses and masses is not None:
            check_masses(self._types, masses)
        self._numbers = numbers_by_type(self._types, lammps.setting("ntypes"))
        self._domain: OneRank | ManyRanks
        if self._ranks.size == 1:
            guarded = self._settings.guard
            self._domain = OneRank(
                self._engine, Watch(self._student, self._engine) if guarded else None
            )
        else:
            if not lammps.setting("newton_pair"):
                raise ConfigError("several ranks need 'newton on' with pair_style python")
            if self._settings.guard:
                raise ConfigError("mlff_guard stop runs on one rank with pair_style python")
            self._domain = ManyRanks(self._engine, self._layers)
        self._started = True

    def _stop(self, error: Exception) -> None:
        """Say what happened and, with several ranks, end them all."""
        if self._lammps is None or self._lammps.setting("world_size") == 1:
            return
        if not isinstance(error, MlffError):
            traceback.print_exc()
        rank = self._lammps.setting("world_rank")
        print(f"ERROR on rank {rank}: mlff_md: {_line(error)}", file=sys.stderr, flush=True)
        Ranks(self._lammps).abort()


class _Evaluation:
    """The last evaluation: LAMMPS also fetches ``compute_force`` to look at a single pair.

    ``compute pair/local`` and the like do so after the forces are complete, for every pair. Then
    the positions are those of the last evaluation and its forces are still in ``f``; a new
    evaluation of the same positions, such as the one that begins the next run, starts from an
    ``f`` without them.

    Adds the forces to ``f``.
    """

    def __init__(self, lammps: Lammps, step: int, forces: NDArray[np.float64]) -> None:
        rows = len(forces)
        positions, target = lammps.vectors("x", rows), lammps.vectors("f", rows)
        self.step = step
        self._positions, self._before, self._forces = positions.copy(), target.copy(), forces
        target += forces

    def still_there(self, lammps: Lammps, step: int) -> bool:
        """Return whether LAMMPS' forces hold those of this evaluation, of these positions."""
        rows = len(self._forces)
        if step != self.step:
            return False
        if lammps.setting("nlocal") > rows or lammps.setting("nall") < rows:
            return False
        if not np.array_equal(lammps.vectors("x", rows), self._positions):
            return False
        added = lammps.vectors("f", rows) - self._before
        return float(np.vdot(added, self._forces)) > 0.5 * float(
            np.vdot(self._forces, self._forces)
        )


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, MlffError) else f"{type(error).__name__}: {text}"


def _one_line_errors() -> None:
    """Let LAMMPS print a mistake of the user as one line: it prints what Python's hook prints."""
    if getattr(sys.excepthook, "of_mlff_md", False):
        return
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not isinstance(error, MlffError):
            before(kind, error, trace)
        print(f"ERROR: mlff_md: {_line(error)}", file=sys.stderr, flush=True)

    hook.of_mlff_md = True  # type: ignore[attr-defined]
    sys.excepthook = hook
