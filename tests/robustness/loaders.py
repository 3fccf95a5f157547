"""The loaders of the package, real files for each, and how those are damaged."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from damage import damaged_arrays, damaged_bytes, damaged_json, damaged_text, json_bytes
from hypothesis import strategies as st

from mlff_md.student import Manifest, Student
from mlff_md.student.file import MANIFEST_KEY, parse_student

ROOT = Path(__file__).parents[2]
LOGS, STRUCTURES = ROOT / "inputs" / "logs", ROOT / "inputs" / "structures"
WATER = molecule("H2O")


@dataclass(frozen=True)
class Loader:
    """A loader to be tried.

    Attributes
    ----------
    read
        Reads a file and uses what is in it as far as that is cheap.
    inputs
        Makes the strategy of files, when asked.
    name
        Of the file.
    needs
        Package that it needs.
    asks_first
        Asks for as much memory as the file says that it holds, but fills only what it does hold.
    """

    read: Callable[[Path], Any]
    inputs: Callable[[], st.SearchStrategy[bytes]]
    name: str
    needs: str | None = None
    asks_first: bool = False


@cache
def small_student() -> Student:
    """Return an untrained student of a few kilobytes."""
    import safetensors.numpy
    import torch

    from mlff_md.student.network import StudentForceField

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = StudentForceField(8, 2, 4, vector_dim=4, quadrupole_dim=2, mlp_dim=6)
    manifest = Manifest(
        name="small",
        architecture=network.architecture,
        energy_scale_eV=network.energy_scale_eV,
        atomic_energies_eV=(-1.0,) * 8,
        prior_radii_A=network.prior_radii_A,
        teacher={"name": "none"},
        accuracy={"test": {"all": {"r2": 0.9, "mae_eV_per_A": 0.1, "num_frames": 3}}},
        domain={
            "num_frames": 3,
            "dataset_sha256": "0" * 64,
            "shortest_A": {"H-O": 0.9},
            "elements": {
                "H": {"num_atoms": 3, "most_neighbors": 2, "feature_min": [0], "feature_max": [1]}
            },
        },
    )
    weights = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}
    content = safetensors.numpy.save(arrays, metadata={MANIFEST_KEY: manifest.to_json()})
    return parse_student(content, "small")


@cache
def student_bytes(*, quantised: bool) -> bytes:
    """Return the file of the small student."""
    import safetensors.numpy

    student = small_student()
    if quantised:
        from mlff_md.engines.quantization import quantized_file

        return quantized_file(student, [WATER, molecule("CH3OH")])
    metadata = {MANIFEST_KEY: student.manifest.to_json()}
    return safetensors.numpy.save(dict(student.weights), metadata=metadata)


def _student_inputs(*, quantised: bool) -> st.SearchStrategy[bytes]:
    content = student_bytes(quantised=quantised)
    size = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    manifest = json.loads(header["__metadata__"][MANIFEST_KEY])

    def with_header(tree: Any) -> bytes:
        text = json.dumps(tree).encode()
        return len(text).to_bytes(8, "little") + text + body

    def with_manifest(tree: Any) -> bytes:
        metadata = {**header["__metadata__"], MANIFEST_KEY: json.dumps(tree)}
        return with_header({**header, "__metadata__": metadata})

    return st.one_of(
        damaged_bytes([content]),
        damaged_json([header]).map(with_header),
        damaged_json([manifest]).map(with_manifest),
        damaged_json([manifest]).map(with_manifest),
    )


def _read_student(path: Path) -> None:
    """Load, print the card, and evaluate a molecule: whatever is accepted must run."""
    from mlff_md import StudentForceFieldCalculator
    from mlff_md.student import load_student
    from mlff_md.student.card import card

    student = load_student(path)
    card(student)
    StudentForceFieldCalculator(student, engine="native").evaluate([WATER])


@cache
def _exported(format: str) -> bytes:
    import tempfile

    from mlff_md.exporters import FORMATS, export

    with tempfile.TemporaryDirectory() as folder:
        student, path = small_student(), Path(folder) / f"small{FORMATS[format]}"
        return export(student, path, format=format).path.read_bytes()


def _onnx_inputs() -> st.SearchStrategy[bytes]:
    import onnx

    content = _exported("onnx")
    manifest = json.loads(small_student().manifest.to_json())

    def with_manifest(tree: Any) -> bytes:
        model = onnx.load_model_from_string(content)
        for item in model.metadata_props:
            if item.key == MANIFEST_KEY:
                item.value = json.dumps(tree)
        return model.SerializeToString()

    return st.one_of(
        damaged_bytes([content]),
        damaged_bytes([content]),
        damaged_json([manifest]).map(with_manifest),
    )


def _read_exported(path: Path, trust: bool = False) -> None:
    from mlff_md.engines import load_exported

    load_exported(path, trust=trust)


def _frames(count: int = 3) -> list[Atoms]:
    rng, frames = np.random.default_rng(0), []
    for k in range(count):
        atoms = molecule("CH3OH")
        atoms.rattle(0.02, seed=k)
        atoms.set_momenta(rng.normal(0.0, 0.1, (len(atoms), 3)))
        atoms.info = {"time_fs": 0.5 * k, "step": k, "name": "methanol"}
        energy, forces = float(rng.normal()), rng.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    return frames


def written(format: str, *, frames: int = 0, periodic: bool = False) -> bytes:
    """Return what ASE writes in a format, of so many frames of a run if any."""
    stream: Any = io.BytesIO() if format in ("traj", "cif") else io.StringIO()
    single = bulk("Si", cubic=True) if periodic else molecule("CH3OH")
    what: Any = _frames(frames) if frames else single
    write(stream, what, format=format)
    content = stream.getvalue()
    return content if isinstance(content, bytes) else content.encode()


def _structure_inputs(content: Callable[[], bytes], *, text: bool) -> st.SearchStrategy[bytes]:
    seeds = [content()]
    return (
        st.one_of(damaged_bytes(seeds), damaged_text(seeds), damaged_text(seeds))
        if text
        else (damaged_bytes(seeds))
    )


def _read_structures(path: Path) -> None:
    from mlff_md.structures import read_structures

    read_structures(path)


def _dataset_arrays() -> dict[str, np.ndarray]:
    from mlff_md.distill.dataset import Dataset
    from mlff_md.distill.npz import FORMAT

    return {"format": np.array(FORMAT), **Dataset.from_atoms(_frames()).arrays()}


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **dict(arrays))
    return stream.getvalue()


def _npz_inputs() -> st.SearchStrategy[bytes]:
    arrays = _dataset_arrays()
    return st.one_of(damaged_bytes([_npz(arrays)]), damaged_arrays(arrays))


def _read_dataset(path: Path) -> None:
    from mlff_md.distill.dataset import Dataset

    data = Dataset.load(path)
    list(data)
    _ = data.sha256


def _text_inputs(*paths: Path, extra: Callable[[], list[bytes]] = list) -> Any:
    seeds = [_shortened(path.read_bytes()) for path in paths] + extra()
    return st.one_of(damaged_text(seeds), damaged_text(seeds), damaged_bytes(seeds))


def _shortened(content: bytes, lines: int = 260) -> bytes:
    """Return a log with less of its table: what is tried is the parser, not its patience."""
    every = content.splitlines(keepends=True)
    return b"".join(every[: lines // 2] + every[-lines // 2 :]) if len(every) > lines else content


def _tables() -> list[bytes]:
    steps = range(40)
    csv = ['#"Time (ps)","Potential Energy (kJ/mole)","Kinetic Energy (kJ/mole)","Temperature (K)"']
    csv += [f"{0.1 * k:.3f},{-100 + 0.01 * k:.4f},{20 - 0.01 * k:.4f},300.1" for k in steps]
    xvg = [
        '@    xaxis  label "Time (ps)"',
        '@ yaxis label "(kJ/mol)"',
        '@ s0 legend "Total Energy"',
    ]
    xvg += [f"{k:.3f} {-100 + 1e-4 * k:.5f}" for k in steps]
    return ["\n".join([*lines, ""]).encode() for lines in (csv, xvg)]


def _read_energies(path: Path) -> None:
    from mlff_md.protocols.drift import analyze_drift

    analyze_drift(path, n_atoms=9)


def _dump() -> bytes:
    lines = []
    for step in range(3):
        lines += ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", "3"]
        lines += ["ITEM: BOX BOUNDS pp pp pp", *(["0 5"] * 3), "ITEM: ATOMS id type x y z"]
        lines += [f"{k} 1 {k} 0 {0.1 * step}" for k in (1, 2, 3)]
    return ("\n".join(lines) + "\n").encode()


def _read_dump(path: Path) -> None:
    from mlff_md.protocols.drift import analyze_drift

    analyze_drift(path, energies=LOGS / "lammps-melt.log")


@cache
def _report() -> dict[str, Any]:
    from mlff_md.protocols.drift import analyze_drift

    return json.loads(analyze_drift(LOGS / "lammps-melt.log").to_json())


def _report_inputs() -> st.SearchStrategy[bytes]:
    report = _report()
    for figure in report["figures"]:
        for series in figure["series"]:
            for key in ("x", "y", "low", "high"):
                series[key] = series[key] and series[key][:5]
    return st.one_of(
        damaged_json([report]).map(json_bytes),
        damaged_json([report]).map(json_bytes),
        damaged_bytes([json_bytes(report)]),
    )


def _read_report(path: Path) -> None:
    from mlff_md.errors import DataError
    from mlff_md.report.html import to_html
    from mlff_md.report.junit import to_junit
    from mlff_md.report.markdown import to_markdown
    from mlff_md.report.read import parse_report

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:  # as render does
        raise DataError("this report is not UTF-8 text") from error
    report = parse_report(text)
    to_html(report, [""] * len(report.figures))
    to_markdown(report)
    to_junit(report)


def _read_config(path: Path) -> None:
    from mlff_md.distill.config import DistillConfig

    _ = DistillConfig.load(path).student.architecture


def _read_molecules(path: Path) -> None:
    from mlff_md.distill.molecules import read_molecules

    read_molecules(path)


def _of_structure(format: str, name: str, *, text: bool = True, **options: Any) -> Loader:
    content = partial(written, format, **options)
    inputs = partial(_structure_inputs, content, text=text)
    return Loader(_read_structures, inputs, name, asks_first=not text)


SMILES = (
    b"CCO ethanol\nc1ccccc1 benzene test\nO=C=O carbon-dioxide\n# a comment\nCS(=O)C dmso val\n"
)

LOADERS: Mapping[str, Loader] = {
    "student": Loader(_read_student, partial(_student_inputs, quantised=False), "a.safetensors"),
    "quantised student": Loader(
        _read_student, partial(_student_inputs, quantised=True), "a.safetensors"
    ),
    "ONNX": Loader(_read_exported, _onnx_inputs, "a.onnx", "onnx"),
    "TorchScript, not trusted": Loader(
        _read_exported, lambda: damaged_bytes([_exported("torchscript")]), "a.pt"
    ),
    "AOTInductor, not trusted": Loader(
        _read_exported, lambda: damaged_bytes([_exported("torchscript")]), "a.pt2"
    ),
    "TorchScript, before it is run": Loader(
        partial(_read_exported, trust=True),
        lambda: damaged_bytes([_exported("torchscript")]),
        "a.pt",
    ),
    "extended XYZ": _of_structure("extxyz", "a.extxyz", frames=3),
    "XYZ": _of_structure("xyz", "a.xyz"),
    "ASE trajectory": _of_structure("traj", "a.traj", text=False, frames=3),
    "CIF": _of_structure("cif", "a.cif", periodic=True),
    "PDB": _of_structure("proteindatabank", "a.pdb"),
    "POSCAR": _of_structure("vasp", "POSCAR", periodic=True),
    "LAMMPS data": _of_structure("lammps-data", "a.lammps-data", periodic=True),
    "LAMMPS dump as a structure": Loader(
        _read_structures, partial(_structure_inputs, _dump, text=True), "a.lammpstrj"
    ),
    "data set": Loader(_read_dataset, _npz_inputs, "a.npz", asks_first=True),
    "data set as extended XYZ": Loader(
        _read_dataset,
        partial(_structure_inputs, partial(written, "extxyz", frames=12), text=True),
        "a.extxyz",
    ),
    "LAMMPS log": Loader(
        _read_energies,
        partial(_text_inputs, LOGS / "lammps-melt.log", LOGS / "lammps-argon-nvt-nve.log"),
        "log.lammps",
    ),
    "LAMMPS dump beside a log": Loader(
        _read_dump, partial(_text_inputs, extra=lambda: [_dump()]), "a.dump"
    ),
    "ASE log": Loader(_read_energies, partial(_text_inputs, LOGS / "ase-ethanol.log"), "md.log"),
    "table of energies": Loader(
        _read_energies, partial(_text_inputs, extra=_tables), "energies.csv"
    ),
    "trajectory with energies": Loader(
        _read_energies,
        partial(_structure_inputs, partial(written, "extxyz", frames=12), text=True),
        "a.extxyz",
    ),
    "report": Loader(_read_report, _report_inputs, "report.json"),
    "configuration": Loader(
        _read_config,
        partial(_text_inputs, ROOT / "inputs" / "training" / "tiny.toml"),
        "a.toml",
    ),
    "list of molecules": Loader(
        _read_molecules, partial(_text_inputs, extra=lambda: [SMILES]), "a.smi", "rdkit"
    ),
}
"""What is tried -> how. The packed students of LAMMPS are in ``test_fuzz_packed.py``."""
