"""Raw data of runs on disk: one npz per run, one JSON of how they were made; written whole."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlff_md.errors import ConfigError, DataError
from mlff_md.files import explain, write_atomically
from mlff_md.md import MdRun
from mlff_md.protocols.records import DERIVED_FILES, FIGURES_FOLDER, REPORT_JSON

_SERIES: Mapping[str, tuple[int, ...]] = {
    "time_fs": (),
    "potential_energy_eV": (),
    "kinetic_energy_eV": (),
    "momentum_u_A_per_fs": (3,),
    "angular_momentum_u_A2_per_fs": (3,),
    "force_power_eV_per_fs2": (),
}
"""Series of a run and the shape of one sample."""
STATIC_FILE, ORDER_FILE, RESTART_FILE = "static.npz", "order.npz", "restart.npz"
ENSEMBLE_FILE = "ensemble.npz"
_OTHER_FILES = (STATIC_FILE, ORDER_FILE, RESTART_FILE, ENSEMBLE_FILE)
"""What the parts of a protocol leave beside, or in place of, the replicas."""
RESTART_FOLDER = "restart"
"""What an unfinished protocol goes on from, removed at its end."""
_SCALARS = ("degrees_of_freedom", "timestep_fs", "sample_every")


def write_run(path: Path, run: MdRun) -> None:
    """Write the series and the last structure of a run.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    content = io.BytesIO()
    arrays: dict[str, Any] = {name: getattr(run, name) for name in (*_SERIES, *_SCALARS)}
    np.savez_compressed(
        content,
        numbers=run.atoms.numbers,
        masses_u=run.atoms.get_masses(),
        positions_A=run.atoms.positions,
        momenta_ase=run.atoms.get_momenta(),
        cell_A=run.atoms.cell.array,
        pbc=run.atoms.pbc,
        **arrays,
    )
    write_atomically(path, content.getvalue())


def read_run(path: Path) -> MdRun:
    """Read what :func:`write_run` wrote.

    Raises
    ------
    DataError
        If the file is missing, damaged or foreign.
    """
    from ase import Atoms

    try:
        # Opened here: numpy leaves the file open when it is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            series = {name: data[name] for name in _SERIES}
            atoms = Atoms(
                numbers=data["numbers"],
                positions=data["positions_A"],
                momenta=data["momenta_ase"],
                masses=data["masses_u"],
                cell=data["cell_A"],
                pbc=data["pbc"],
            )
            n = len(series["time_fs"])
            if any(series[name].shape != (n, *rest) for name, rest in _SERIES.items()):
                raise DataError(f"{path.name} is damaged: its series have unlike lengths")
            return MdRun(
                **series,
                degrees_of_freedom=int(data["degrees_of_freedom"]),
                timestep_fs=float(data["timestep_fs"]),
                sample_every=int(data["sample_every"]),
                n_atoms=len(atoms),
                atoms=atoms,
            )
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; run the protocol again") from error
    except DataError:
        raise
    except Exception as error:
        # zipfile, zlib and numpy raise whatever a damaged byte leads them into.
        raise DataError(f"{path.name} is not raw data of a run, or is damaged") from error


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays that are no run, such as the raw numbers of the static protocol.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(path, content.getvalue())


def read_arrays(path: Path) -> dict[str, Any]:
    """Read what :func:`write_arrays` wrote.

    Raises
    ------
    DataError
        If the file is missing, damaged or foreign.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; run the protocol again") from error
    except Exception as error:
        raise DataError(f"{path.name} is not raw data of a protocol, or is damaged") from error


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the JSON of how a set of runs was made."""
    write_atomically(path, (json.dumps(record, indent=1, default=str) + "\n").encode())


def raw_of(folder: str | Path) -> Path:
    """Return the folder with the record: ``folder`` itself, or ``raw`` in it."""
    folder = Path(folder)
    if not (folder / "run.json").exists() and (folder / "raw" / "run.json").exists():
        return folder / "raw"
    return folder


def read_record(path: Path, kind: str) -> dict[str, Any]:
    """Read the JSON of :func:`write_record` and check that it is of this ``kind``.

    Raises
    ------
    DataError
        If it is missing, damaged, or of another protocol.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path.parent} holds no raw data ({path.name} is missing)") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read or is damaged") from error
    if not isinstance(record, dict) or record.get("kind") != kind:
        raise DataError(f"{path} is not the record of a {kind} run")
    return record


def claim_folder(raw: Path, *, overwrite: bool) -> None:
    """Make the raw folder; refuse one in use unless told to replace its runs.

    A report in the folder above goes as well: it tells of the runs that are replaced, and must
    not stand beside new ones if those are cut off.

    Raises
    ------
    ConfigError
        If the folder holds a run, or cannot be made or emptied.
    """
    if not overwrite and (raw / "run.json").exists():
        raise ConfigError(
            f"{raw} already holds a run; choose another folder, or say that it may be overwritten"
        )
    try:
        if overwrite:
            _remove_report(raw.parent)
            # The record goes first: what is left if we die here is no run at all.
            (raw / "run.json").unlink(missing_ok=True)
            for old in (*raw.glob("replica-*.npz"), *(raw / name for name in _OTHER_FILES)):
                old.unlink(missing_ok=True)
            remove_restart(raw)
        raw.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {raw}: {explain(error)}") from error


def checkpoints(raw: Path, name: str) -> dict[str, Any]:
    """Return the options with which a run of a protocol goes on from where it was cut off."""
    return {"restart": raw / RESTART_FOLDER / name, "resume": True, "checkpoint_s": 5.0}


def remove_restart(raw: Path) -> None:
    """Remove what a protocol that is finished, or thrown away, would have gone on from."""
    shutil.rmtree(raw / RESTART_FOLDER, ignore_errors=True)


def _remove_report(folder: Path) -> None:
    """Remove ``report.json``, then what was drawn from it; figures of others stay."""
    drawn = list(DERIVED_FILES)
    try:
        figures = json.loads((folder / REPORT_JSON).read_text(encoding="utf-8"))["figures"]
        names = [str(figure["id"]) for figure in figures]
    except (OSError, ValueError, LookupError, TypeError):
        names = []
    for name in names:
        # A file name alone, never a path: the report may come from a stranger.
        if re.fullmatch(r"[A-Za-z0-9_-]+", name):
            drawn += [f"{FIGURES_FOLDER}/{name}.png", f"{FIGURES_FOLDER}/{name}.svg"]
    for old in (REPORT_JSON, *drawn):
        (folder / old).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (folder / FIGURES_FOLDER).rmdir()
