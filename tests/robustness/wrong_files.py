"""The files that the commands of ``bad_input.py`` name: wrong ones, and some right ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write

ROOT = Path(__file__).parents[2]


def make_inputs(folder: Path) -> None:
    """Write the files that the commands name."""
    ethanol = molecule("CH3CH2OH")
    write(folder / "ethanol.xyz", ethanol)
    write(folder / "gold.xyz", Atoms("AuH", [[0, 0, 0], [0, 0, 1.5]]))
    write(folder / "none.xyz", Atoms())
    write(folder / "argon.xyz", Atoms("Ar"))
    write(folder / "overlap.xyz", Atoms("CHC", [[0, 0, 0], [1.1, 0, 0], [0, 0, 0]]))
    nan = ethanol.copy()
    nan.positions[1, 1] = np.nan
    write(folder / "nan.xyz", nan)
    nanometres = ethanol.copy()
    nanometres.positions /= 10.0
    write(folder / "nanometres.xyz", nanometres)
    flat = ethanol.copy()
    flat.set_cell([10.0, 10.0, 0.0])
    flat.pbc = True
    write(folder / "flat.extxyz", flat)
    thin = bulk("Si", cubic=True)
    thin.set_cell([5.43, 5.43, 0.01])
    write(folder / "thin.extxyz", thin)
    (folder / "empty.xyz").write_bytes(b"")
    (folder / "damaged.xyz").write_text("9\n\nC 0 0\n")
    (folder / "noise.xyz").write_bytes(bytes(range(256)) * 4)
    (folder / "structure.pkl").write_bytes(b"\x80\x04.")
    (folder / "notes.txt").write_text("not a structure\n")
    water = read(ROOT / "inputs" / "structures" / "water-box-64.xyz")
    write(folder / "large.extxyz", water.repeat(3))
    _make_students(folder)
    _make_data(folder)


def _make_students(folder: Path) -> None:
    from loaders import student_bytes

    good = student_bytes(quantised=False)
    (folder / "mine.safetensors").write_bytes(good)
    (folder / "cut.safetensors").write_bytes(good[: len(good) // 2])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "foreign.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    newer = good.replace(b'\\"schema_version\\":\\"2', b'\\"schema_version\\":\\"9')
    (folder / "newer.safetensors").write_bytes(newer)
    (folder / "program.pt").write_bytes(b"PK\x03\x04 whatever")
    (folder / "weights.pth").write_bytes(b"PK\x03\x04 whatever")
    (folder / "half-trained").mkdir()
    (folder / "half-trained" / "checkpoint.pt").write_bytes(b"PK\x03\x04 whatever")


def _make_data(folder: Path) -> None:
    from mlff_md.distill.dataset import Dataset
    from mlff_md.protocols.drift import analyze_drift

    logs = ROOT / "inputs" / "logs"
    for name in ("lammps-melt.log", "ase-ethanol.log"):
        shutil.copy(logs / name, folder / name)
    report = analyze_drift(folder / "lammps-melt.log")
    (folder / "used").mkdir()
    (folder / "used" / "report.json").write_text(report.to_json())
    (folder / "used" / "mine.txt").write_text("mine")
    (folder / "a-file").write_text("not a folder")
    (folder / "cut.json").write_text((folder / "used" / "report.json").read_text()[:500])
    future = json.loads((folder / "used" / "report.json").read_text())
    (folder / "newer.json").write_text(json.dumps({**future, "schema_version": "9.0"}))
    (folder / "no-energy.csv").write_text("Time (ps),Temp\n0,300\n1,300\n2,300\n")
    (folder / "no-atoms.csv").write_text("Time (ps),Etot (eV)\n0,1.0\n1,1.0\n2,1.0\n")
    (folder / "furlongs.csv").write_text("Time (ps),Etot (furlong)\n0,1.0\n1,1.0\n2,1.0\n")
    (folder / "run.dump").write_text("ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n3\n")
    blown = (folder / "ase-ethanol.log").read_text().splitlines()
    middle = blown[len(blown) // 2].split()
    blown[len(blown) // 2] = " ".join([middle[0], *("nan" for _ in middle[1:])])
    (folder / "blown-up.log").write_text("\n".join(blown) + "\n")
    frames = Dataset.load(ROOT / "tests" / "data" / "gfn2-test.npz").select(range(2))
    frames.save(folder / "frames.npz")
    content = (folder / "frames.npz").read_bytes()
    (folder / "cut.npz").write_bytes(content[: len(content) // 2])
    np.savez(folder / "foreign.npz", x=np.zeros(3))
    (folder / "bad.smi").write_text("C1CC ethanol\n")
    (folder / "twice.smi").write_text("CCO one\nCC one\n")
    (folder / "salt.smi").write_text("[Na+].[Cl-] salt\n")
    _make_configs(folder)
    _make_decks(folder)
    (folder / "deck").mkdir()
    (folder / "deck" / "in.lmp").write_text("# mine\n")
    (folder / "occupied").write_text("mine")
    for name in ("run.traj", "out.onnx", "bench"):
        if name == "bench":
            (folder / name).mkdir()
            (folder / name / "bench.json").write_text("{}")
        else:
            (folder / name).write_text("mine")


def _make_decks(folder: Path) -> None:
    from mlff_md.lammps.data_file import data_file

    water = data_file(read(ROOT / "inputs" / "structures" / "water-box-64.xyz"))
    (folder / "water.data").write_text(water.text)
    deck = (
        "units metal\natom_style atomic\nread_data water.data\npair_style mlff\n"
        "pair_coeff * * tiny H O\nrun 0\n"
    )
    (folder / "order.lmp").write_text(deck.replace("H O", "O H"))
    (folder / "units.lmp").write_text(deck.replace("metal", "lj"))
    (folder / "element.lmp").write_text(deck.replace("H O", "H Au"))
    (folder / "student.lmp").write_text(deck.replace("tiny", "tinny"))


def _make_configs(folder: Path) -> None:
    good = '[student]\nname = "x"\n[data]\ntrain = ["frames.npz"]\nvalidation = ["frames.npz"]\n'
    texts: Mapping[str, str] = {
        "no-data.toml": '[student]\nname = "x"\n',
        "syntax.toml": "[student\n",
        "typo.toml": good + "[training]\nlearning_rat = 1\n",
        "words.toml": good + '[training]\nsteps = "many"\n',
        "negative.toml": good + "[training]\nsteps = -5\n",
        "path.toml": good.replace('"x"', '"../../x"'),
        "missing.toml": good.replace("frames.npz", "absent.npz"),
        "elements.toml": good.replace('"x"', '"x"\nelements = ["H"]'),
        "small.toml": good + "[training]\nbuckets = [2]\nsteps = 1\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
