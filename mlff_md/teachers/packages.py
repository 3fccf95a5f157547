"""The calculators behind the names of :mod:`mlff_md.teachers.registry`, guarded.

A teacher that is fed rubbish answers with whatever its library does: a message on stdout, a
Fortran stop, forces that are not numbers. Each class made here checks the structure first and
turns the failures its package is known for into one line.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_md.errors import ConfigError, MissingDependencyError, StructureError
from mlff_md.hints import hint
from mlff_md.structures import check_structure

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator


_GFN_NUMBERS = {"accuracy", "charge", "electronic_temperature", "max_iterations", "multiplicity"}


def make_gfn(method: str, argument: str, options: Mapping[str, Any]) -> Calculator:
    """Return GFN1-xTB or GFN2-xTB from tblite.

    The charges are converged to ``accuracy=0.01``, a hundred times tighter than tblite's
    default, at the same cost: NVE of ethanol drifts by 0.1 meV/atom/ps at the default, and by
    less than 0.001 with this.

    Raises
    ------
    ConfigError
        For an argument (there is none) or an unknown option.
    MissingDependencyError
        If tblite is not installed.
    """
    _no_argument(method.lower(), argument)
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise missing("tblite", "mlff-md[teacher]", error) from error
    _check_options(method.lower(), options, TBLite.default_parameters)
    for name in _GFN_NUMBERS & options.keys():
        if not isinstance(options[name], int | float):
            raise ConfigError(f"{method.lower()}: {name} must be a number, got {options[name]!r}")
    defaults = {"method": method, "verbosity": 0, "accuracy": 0.01}
    multiplicity = options.get("multiplicity") or 1
    state = (("charge", options.get("charge") or 0), ("multiplicity", multiplicity))
    return guarded(TBLite, method, state=state)(**{**defaults, **options})


def make_emt(argument: str, options: Mapping[str, Any]) -> Calculator:
    """Return ASE's effective medium theory.

    Raises
    ------
    ConfigError
        For an argument (there is none) or an unknown option.
    """
    from ase.calculators.emt import EMT

    _no_argument("emt", argument)
    _check_options("emt", options, EMT.default_parameters)
    return guarded(EMT, "EMT")(**options)


def make_lj(argument: str, options: Mapping[str, Any]) -> Calculator:
    """Return ASE's Lennard-Jones for ``epsilon,sigma,cutoff`` (eV, Å, Å); argon by default.

    It is switched off smoothly before the cutoff: the plain cut conserves no energy.

    Raises
    ------
    ConfigError
        For numbers that are none, or an unknown option.
    """
    from ase.calculators.lj import LennardJones

    _check_options("lj", options, LennardJones.default_parameters)
    values = {"epsilon": 0.0103, "sigma": 3.405, "rc": 8.5}
    given = [item for item in argument.split(",") if item.strip()]
    try:
        if len(given) > len(values):
            raise ValueError
        values.update(zip(values, map(float, given), strict=False))
        values.update({key: float(options[key]) for key in values if options.get(key) is not None})
        if not all(0.0 < value < float("inf") for value in values.values()):
            raise ValueError
    except (TypeError, ValueError):
        raise ConfigError(
            f"lj takes three positive numbers, lj:EPSILON_EV,SIGMA_A,CUTOFF_A, not {argument!r}"
        ) from None
    return guarded(LennardJones, "Lennard-Jones")(**{"smooth": True, **options, **values})


def make_orb(argument: str, options: Mapping[str, Any]) -> Calculator:
    """Return an Orb pretrained model.

    The weights come from Orb's own server, or from the file of the option ``weights_path``. Other
    options go to the loader (``precision``, ``compile``); ``device`` to both.

    Raises
    ------
    ConfigError
        If Orb has no such model or it cannot be loaded.
    MissingDependencyError
        If orb-models is not installed.
    """
    try:
        from orb_models.forcefield import pretrained
    except ImportError as error:
        raise missing("orb-models", "orb-models", error) from error
    try:  # where newer versions keep it
        from orb_models.forcefield.inference.calculator import ORBCalculator
    except ImportError:
        from orb_models.forcefield.calculator import ORBCalculator

    models = pretrained.ORB_PRETRAINED_MODELS
    if argument not in models:
        raise ConfigError(f"Orb has no model {argument!r}; {hint(argument, sorted(models))}")
    settings = {"device": "cpu", **options}
    try:
        loaded = models[argument](**settings)
    except Exception as error:
        raise ConfigError(f"Orb's {argument} cannot be loaded: {one_line(error)}") from error
    # Newer versions return the model and the adapter that makes its graphs.
    model, adapter = loaded if isinstance(loaded, tuple) else (loaded, None)
    extra = {} if adapter is None else {"atoms_adapter": adapter}
    return guarded(ORBCalculator, "Orb", needs_charge=True)(
        model, device=settings["device"], **extra
    )


def make_mace(argument: str, options: Mapping[str, Any]) -> Calculator:
    """Return a MACE model: a file, or a foundation model as ``mp-SIZE`` or ``off-SIZE``.

    A MACE file is a pickle and can run code when it is read, so a file needs the option
    ``trust=True``; foundation models are fetched by mace from where its authors keep them.

    Raises
    ------
    ConfigError
        If the file is missing, not trusted, or cannot be loaded.
    MissingDependencyError
        If mace-torch is not installed.
    """
    settings = {"device": "cpu", "default_dtype": "float64", **options}
    trust = settings.pop("trust", False)
    family, _, size = argument.partition("-")
    from_file = family not in ("mp", "off") or Path(argument).exists()
    if from_file and not Path(argument).is_file():
        trouble = f"there is no MACE model file {argument!r}" if argument else "mace needs a model"
        raise ConfigError(f"{trouble}; write mace:FILE.model, mace:mp-small or mace:off-small")
    if from_file and trust is not True:
        raise ConfigError(
            f"{argument} is a MACE file, which can run code when it is read; if you trust where "
            f"it comes from, use mace:{argument}?trust=True"
        )
    try:
        from mace.calculators import MACECalculator, mace_mp, mace_off
    except ImportError as error:
        raise missing("mace-torch", "mace-torch", error) from error
    try:
        if from_file:
            return guarded(MACECalculator, "MACE")(model_paths=argument, **settings)
        made: Any = (mace_mp if family == "mp" else mace_off)(model=size or "small", **settings)
        # What the loader returns is finished: only its class can still be guarded.
        made.__class__ = guarded(made.__class__, "MACE")
        return made
    except Exception as error:
        raise ConfigError(f"MACE model {argument} cannot be loaded: {one_line(error)}") from error


@lru_cache(maxsize=32)
def guarded(
    base: type, label: str, needs_charge: bool = False, state: tuple[tuple[str, float], ...] = ()
) -> Any:
    """Return a subclass of an ASE calculator that checks structures and mends its errors.

    Parameters
    ----------
    base
        The calculator's class.
    label
        What messages call it.
    needs_charge
        Give neutral singlets their ``charge`` and ``spin`` in ``atoms.info``, where the
        structure does not say otherwise.
    state
        Charge and multiplicity that the calculator was made for: a structure that says otherwise
        in ``atoms.info`` is refused, since the calculator would ignore it.
    """
    from ase.calculators.calculator import (
        CalculatorError,
        PropertyNotImplementedError,
        all_changes,
    )

    class Guarded(base):
        teacher_spec: Any = None

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: Sequence[str] | None = None,
            system_changes: Sequence[str] = tuple(all_changes),
        ) -> None:
            if atoms is not None:
                check_structure(atoms)
                for name, value in state:
                    if atoms.info.get(name, value) != value:
                        raise StructureError(
                            f"the structure says {name}={atoms.info[name]}, the teacher was made "
                            f"for {value}: write {label.lower()}?{name}={atoms.info[name]}"
                        )
                if needs_charge and not {"charge", "spin"} <= atoms.info.keys():
                    atoms = atoms.copy()
                    atoms.info = {"charge": 0, "spin": 1, **atoms.info}
            try:
                super().calculate(atoms, properties or ["energy"], list(system_changes))
            except PropertyNotImplementedError:
                raise  # ASE's own way to say that there is no such property
            except (CalculatorError, ArithmeticError, RuntimeError, ValueError) as error:
                raise StructureError(
                    f"{label} cannot evaluate this structure: {one_line(error)}"
                ) from error

        def __reduce__(self) -> tuple[Any, ...]:
            from mlff_md.teachers import teacher

            if self.teacher_spec is None:
                raise TypeError(f"this {label} calculator was not made from a string")
            return teacher, (str(self.teacher_spec),)

    Guarded.__name__ = Guarded.__qualname__ = base.__name__
    Guarded.__doc__ = base.__doc__
    return Guarded


def missing(package: str, requirement: str, error: Exception) -> MissingDependencyError:
    """Return the error for a package that cannot be imported, with the line that installs it."""
    quoted = f"'{requirement}'" if "[" in requirement else requirement
    return MissingDependencyError(
        f"{package} cannot be imported ({one_line(error)}); run: "
        f"{Path(sys.executable).name} -m pip install {quoted}"
    )


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _no_argument(name: str, argument: str) -> None:
    if argument:
        raise ConfigError(f"{name} takes no argument, got {argument!r}; options: {name}?NAME=VALUE")


def _check_options(name: str, options: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for option in options:
        if option not in known:
            raise ConfigError(f"{name} has no option {option!r}; {hint(option, sorted(known))}")
