import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.morse import MorsePotential

from mlff_md.distill.dataset import Dataset
from mlff_md.distill.label_folder import failures
from mlff_md.distill.labelling import label
from mlff_md.distill.molecules import Molecule, hand_molecules
from mlff_md.distill.recipe import label_test_set
from mlff_md.distill.sampling import SamplingSettings
from mlff_md.errors import ConfigError, DataError

pytest.importorskip("rdkit")

MOLECULES = [
    Molecule("ethanol", "CCO"),
    Molecule("water", "O"),
    Molecule("methylamine", "CN"),
    Molecule("dimethyl sulfide", "CSC"),
    Molecule("chloromethane", "CCl"),
    Molecule("propyne", "CC#C"),
]
FAST = {"teacher": MorsePotential, "frames_per_molecule": 4, "chunk_items": 2, "scans": False}


class Sulky(Calculator):
    """A teacher that does not converge for sulfur and has no finite answer for chlorine."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if 16 in atoms.numbers:
            raise RuntimeError("SCF not\nconverged")
        value = np.nan if 17 in atoms.numbers else 1.0
        big = 100.0 if 7 in atoms.numbers else 0.0
        self.results = {"energy": value, "forces": np.full((len(atoms), 3), big)}


def content(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.glob("shard-*.npz"))}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return label(MOLECULES, tmp_path_factory.mktemp("labels") / "out", **FAST)


def test_labels_belong_to_the_stored_geometry(finished):
    dataset = Dataset.load(finished)
    assert len(dataset) >= 20
    assert set(dataset.molecules) >= {"ethanol", "water", "propyne"}
    for atoms in dataset:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = MorsePotential()
        assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
        np.testing.assert_array_equal(forces, atoms.get_forces().astype(np.float32))


def test_workers_and_executors_give_the_same_shards(finished, tmp_path):
    with ThreadPoolExecutor(2) as executor:
        threads = label(MOLECULES, tmp_path / "threads", executor=executor, **FAST)
    processes = label(MOLECULES, tmp_path / "processes", workers=2, **FAST)
    assert content(threads) == content(processes) == content(finished)


def test_seed_decides(finished, tmp_path):
    other = label(MOLECULES, tmp_path / "other", seed=1, **FAST)
    assert content(other) != content(finished)


def test_a_rerun_makes_only_what_is_missing(finished, tmp_path):
    out = label(MOLECULES, tmp_path / "out", **FAST)
    before = content(out)
    kept, removed = out / "shard-00000.npz", out / "shard-00001.npz"
    stamp = kept.stat().st_mtime_ns
    removed.unlink()
    seen = []
    label(MOLECULES, out, progress=seen.append, **FAST)
    assert content(out) == before == content(finished)
    assert kept.stat().st_mtime_ns == stamp
    assert [p.chunks_done for p in seen] == [len(before)]
    assert seen[0].frames_per_minute > 0.0
    assert seen[0].minutes_left == 0.0


SCRIPT = """
import sys
from ase.calculators.morse import MorsePotential
from mlff_md.distill.labelling import label
from mlff_md.distill.molecules import Molecule
molecules = [Molecule(f"m{i}", "C" * (i % 3 + 1)) for i in range(24)]
label(molecules, sys.argv[1], teacher=MorsePotential, frames_per_molecule=2, chunk_items=2,
      scans=False, progress=lambda p: print(p.chunks_done, flush=True))
"""


def test_kill_9_loses_at_most_a_chunk(tmp_path):
    command = [sys.executable, "-c", SCRIPT]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run([*command, str(whole)], check=True, capture_output=True)
    with subprocess.Popen([*command, str(broken)], stdout=subprocess.PIPE) as process:
        for _ in range(3):
            process.stdout.readline()
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    survivors = content(broken)
    assert 3 <= len(survivors) < len(content(whole))
    Dataset.load(broken)
    subprocess.run([*command, str(broken)], check=True, capture_output=True)
    assert content(broken) == content(whole)


def test_a_dead_worker_gives_one_line(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import sys\n"
        "from ase.calculators.morse import MorsePotential\n"
        "from mlff_md.distill.labelling import label\n"
        "from mlff_md.distill.molecules import Molecule\n"
        "label([Molecule('m', 'C')], sys.argv[1], teacher=MorsePotential, scans=False, workers=2)\n"
    )
    command = [sys.executable, str(script), str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "ConfigError: a labelling worker died" in ended.stderr
    assert not content(tmp_path / "out")


def test_other_settings_are_refused(finished):
    with pytest.raises(ConfigError, match=r"other settings \(seed\)"):
        label(MOLECULES, finished, seed=7, **FAST)
    with pytest.raises(ConfigError, match=r"molecules, molecules_sha256"):
        label(MOLECULES[:5], finished, **FAST)
    with pytest.raises(ConfigError, match="sampling"):
        label(MOLECULES, finished, sampling=SamplingSettings(scan_points=3), **FAST)


def test_the_record_says_how_the_labels_were_made(finished):
    record = json.loads((finished / "label.json").read_text())
    assert record["settings"]["teacher"].endswith("MorsePotential")
    assert record["settings"]["sampling"]["temperatures_K"] == [300.0, 500.0, 800.0, 1200.0]
    assert record["made_with"]["ase"]


def test_unusable_folders(tmp_path):
    (tmp_path / "stray").mkdir()
    (tmp_path / "stray" / "shard-00000.npz").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"no label\.json"):
        label(MOLECULES, tmp_path / "stray", **FAST)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "label.json").write_text("{")
    with pytest.raises(DataError, match=r"label\.json is damaged"):
        label(MOLECULES, tmp_path / "torn", **FAST)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        label(MOLECULES, tmp_path / "file", **FAST)


def test_unusable_arguments(tmp_path):
    with pytest.raises(ConfigError, match="list of molecules is empty"):
        label([], tmp_path / "a", **FAST)
    with pytest.raises(ConfigError, match="must be positive"):
        label(MOLECULES, tmp_path / "b", **{**FAST, "chunk_items": 0})
    assert not list(tmp_path.iterdir())


def test_failures_are_recorded_and_skipped(tmp_path):
    molecules = [*MOLECULES, Molecule("nonsense", "C1CC")]
    out = label(molecules, tmp_path / "out", dimer_fraction=0.0, **{**FAST, "teacher": Sulky})
    dataset = Dataset.load(out)
    assert set(dataset.molecules) == {"ethanol", "water", "propyne"}
    reasons = {f.name: f.reason for f in failures(out)}
    assert reasons["dimethyl sulfide"] == "SCF not converged"
    assert reasons["chloromethane"] == "the teacher's answer is not finite"
    assert reasons["methylamine"] == "force 100 eV/A is above the cap"
    assert "cannot read the SMILES" in reasons["nonsense"]


def test_a_chunk_may_be_all_failures(tmp_path):
    out = label(
        [Molecule("nonsense", "C1CC")], tmp_path, dimer_fraction=0.0, **{**FAST, "teacher": Sulky}
    )
    assert len(Dataset.load(out)) == 0
    assert len(failures(out)) == 1


def test_test_sets_are_complete_and_repeatable(tmp_path):
    few = {"temperatures_K": (300.0, 600.0), "frames": 3, "steps": 2, "teacher": MorsePotential}
    seen = []
    first = label_test_set(MOLECULES[:2], tmp_path / "a.npz", progress=seen.append, **few)
    label_test_set(MOLECULES[:2], tmp_path / "b.npz", **few)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert len(first) == 2 * 2 * 3
    assert seen == ["ethanol", "water"]
    for atoms in Dataset.load(tmp_path / "a.npz"):
        energy = atoms.get_potential_energy()
        atoms.calc = MorsePotential()
        assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    with pytest.raises(DataError, match="dimethyl sulfide: the teacher failed at 300"):
        label_test_set(MOLECULES[3:4], tmp_path / "c.npz", **{**few, "teacher": Sulky})


def test_shipped_test_set_fits_the_molecule_list(request):
    path = request.config.rootpath / "tests" / "data" / "gfn2-test.npz"
    assert path.stat().st_size < 1_000_000
    dataset = Dataset.load(path)
    assert set(dataset.molecules) == {m.name for m in hand_molecules("test")}
    assert sorted(set(dataset.temperature_K)) == [300.0, 600.0, 1000.0]
    _, counts = np.unique(dataset.molecules, return_counts=True)
    assert set(counts) == {24}
    # Teacher labels of isolated molecules: no net force on any frame.
    net = np.add.reduceat(dataset.forces.astype(float), dataset.offsets[:-1], axis=0)
    assert np.abs(net).max() < 1e-3


def test_gfn2_labels(tmp_path):
    tblite = pytest.importorskip("tblite.ase")

    def gfn2():
        return tblite.TBLite(method="GFN2-xTB", verbosity=0)

    out = label(MOLECULES[1:2], tmp_path, teacher=gfn2, frames_per_molecule=3, scans=False)
    for atoms in Dataset.load(out):
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = gfn2()
        # A restarted SCF ends within its threshold of a fresh one.
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=2e-3)
