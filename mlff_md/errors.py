"""Errors that a user can mend: one line each, what is wrong and what to do about it.

The command line prints the line and ends with exit code 3; anything that is not an
:class:`MlffError` is a bug and shows its traceback.
"""

from __future__ import annotations


class MlffError(Exception):
    """Base of every error that the user can mend."""


class StructureError(MlffError):
    """A structure cannot be evaluated: empty, not finite, overlapping atoms, unknown element."""


class StudentFileError(MlffError):
    """A student is unknown, damaged, foreign, or from a newer version of the package."""


class MissingDependencyError(MlffError):
    """An optional package is not installed; the message holds the pip line to run."""


class ConfigError(MlffError):
    """An option, a configuration file or an output folder cannot be used."""


class SimulationError(MlffError):
    """A simulation ended before its last step."""


class DataError(MlffError):
    """A data set, a report or a raw-data file is missing, damaged or inconsistent."""
