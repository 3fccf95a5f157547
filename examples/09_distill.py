"""Distil a student of one molecule from its teacher's own MD.

Run: python examples/09_distill.py
"""

import tempfile
from pathlib import Path

import ase.io

from mlff_md import (
    StudentForceFieldCalculator,
    analyze_forces,
    distill,
    read_structure,
    run_nvt,
    teacher,
)
from mlff_md.distill.config import DataConfig, DistillConfig, OptimizerConfig, StudentConfig

structures = Path(__file__).parent.parent / "inputs" / "structures"
ethanol = read_structure(structures / "ethanol.xyz")

try:
    master = teacher("gfn2-xtb")  # or any other ASE calculator
except ImportError as error:
    raise SystemExit(f"{error}; pip install 'mlff-md[teacher]'") from None

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    # Teacher MD at three temperatures for training, and another one at each to judge by.
    for part, seed in (("train", 0), ("validation", 1)):
        frames = []
        for temperature in (300, 600, 1000):
            path = folder / f"{part}-{temperature}.extxyz"
            run_nvt(
                ethanol,
                master,
                steps=800 if part == "train" else 300,
                timestep_fs=1.0,
                temperature_K=temperature,
                friction_per_ps=20.0,
                seed=seed,
                trajectory=path,
                trajectory_every=4 if part == "train" else 20,
            )
            frames += ase.io.read(path, ":")
        ase.io.write(folder / f"{part}.extxyz", frames)
        print(f"{part}: {len(frames)} frames")

    config = DistillConfig(
        student=StudentConfig(name="ethanol", hidden_dim=16, elements=("H", "C", "O")),
        data=DataConfig(
            train=(str(folder / "train.extxyz"),),
            validation=(str(folder / "validation.extxyz"),),
        ),
        # compile=True halves the time of long runs, and takes a minute or two to begin with.
        training=OptimizerConfig(
            steps=1500, atoms_per_batch=64, buckets=(9,), compile=False, validate_every=500
        ),
    )
    student = distill(
        config,
        folder / "run",
        log=lambda record: print(f"step {record['step']}"),
    )
    weights = folder / "run" / "ethanol.safetensors"
    parameters = sum(array.size for array in student.weights.values())
    print(f"{parameters} parameters, {weights.stat().st_size // 1000} kB")

    report = analyze_forces(
        ase.io.read(folder / "validation.extxyz", ":"), StudentForceFieldCalculator(weights)
    )
    print(f"{report.title}: {report.checks[0].summary}")
