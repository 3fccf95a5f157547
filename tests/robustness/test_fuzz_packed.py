"""Damaged packed students in the C++ reader of the LAMMPS plugin, under the sanitizers."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from damage import damaged_bytes, same_every_time
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from loaders import small_student

import mlff_md
from mlff_md.lammps.pack import _hash, pack
from mlff_md.lammps.plugin import sources

NATIVE = Path(mlff_md.__file__).parent / "native" / "src"
FEW, MANY = 100, int(os.environ.get("MLFF_MD_FUZZ", "500"))
REPEATABLE = "MLFF_MD_FUZZ" not in os.environ  # as in test_fuzz.py
ODD_INTEGERS = (0, -1, 1, 2, 8, 9, 4096, 4097, 65535, 2**30, 2**31 - 1, -(2**31))
ODD_LENGTHS = (0, -1, 1, 8, 64, 192, 2**28, 2**28 + 1, 2**31, 2**61, 2**62, 2**63 - 1, -(2**63))
ODD_DOUBLES = (0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf"), float("-inf"), 50.0)
# Offsets of the layout that mlff_md/lammps/pack.py describes.
INTEGERS, DOUBLES, LENGTHS = range(8, 56, 4), range(56, 120, 8), range(120, 152, 8)
FLAGS = ("-std=c++17", "-O1", "-g", "-pthread", "-fsanitize=address,undefined")
FLAGS += ("-fno-sanitize-recover=all", f"-I{NATIVE}")

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def compiled(folder: Path, *, engine: bool) -> Path:
    """Build the reader, with the native engine behind it or alone."""
    plugin = sources()
    files = [Path(__file__).with_name("read_packed.cpp"), plugin / "packed_student.cpp"]
    files += sorted(NATIVE.glob("*.cpp")) if engine else []
    define = [] if engine else ["-DWITHOUT_ENGINE"]
    objects = [str(folder / f"{source.stem}.o") for source in files]
    for source, target in zip(files, objects, strict=True):
        command = ["g++", *FLAGS, *define, f"-I{plugin}", "-c", str(source), "-o", target]
        subprocess.run(command, check=True)
    program = folder / "read_packed"
    subprocess.run(["g++", *FLAGS, *objects, "-lm", "-o", str(program)], check=True)
    return program


def sealed(content: bytes) -> bytes:
    """Return a file with the checksum that it should have: damage that only parsing can find."""
    body = content[:-8] if len(content) >= 16 else content
    body += b"\0" * (-len(body) % 8)
    return body + struct.pack("=Q", _hash(body))


def damaged(seed: bytes) -> st.SearchStrategy[bytes]:
    """Return damaged files: any bytes, or fields of the layout; most with a good checksum."""

    def put(fields: Sequence[tuple[str, int, int | float]]) -> bytes:
        content = bytearray(seed)
        for kind, offset, value in fields:
            struct.pack_into(f"={kind}", content, offset, value)
        return bytes(content)

    field = st.one_of(
        st.tuples(st.just("i"), st.sampled_from(INTEGERS), st.sampled_from(ODD_INTEGERS)),
        st.tuples(st.just("d"), st.sampled_from(DOUBLES), st.sampled_from(ODD_DOUBLES)),
        st.tuples(st.just("q"), st.sampled_from(LENGTHS), st.sampled_from(ODD_LENGTHS)),
    )
    # Lengths that follow from the sizes are forged together, or nothing would get past them.
    species = st.sampled_from((1, 2, 7, 46341, 65536, 2**20, 1753413056, 2**31 - 1)).map(
        lambda n: [("i", 48, n), ("q", 120, n), ("q", 128, (3 * n * n + 2**63) % 2**64 - 2**63)]
    )
    fields = st.one_of(st.lists(field, min_size=1, max_size=3), species)
    return st.one_of(
        damaged_bytes([seed]), damaged_bytes([seed]).map(sealed), fields.map(put).map(sealed)
    )


def fuzz(folder: Path, count: int, *, engine: bool, repeatable: bool) -> Counter[str]:
    """Try damaged files; return how many got which answer."""
    seed = pack(small_student())
    tried = [seed]

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=repeatable,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(seed))
    def collect(content: bytes) -> None:
        tried.append(content)

    with same_every_time(repeatable):
        collect()
    path = folder / "all"
    path.write_bytes(b"".join(struct.pack("=Q", len(item)) + item for item in tried))
    done = subprocess.run(
        [str(compiled(folder, engine=engine)), str(path)], capture_output=True, text=True
    )
    answers = done.stdout.splitlines()
    if done.returncode:
        (folder / "guilty").write_bytes(tried[len(answers)])
    assert done.returncode == 0, f"{done.stderr[:3000]}\nat input {len(answers)}"
    assert len(answers) == len(tried)
    assert answers[0] == "accepted"
    return Counter(answers)


def test_a_few_packed_students(tmp_path: Path) -> None:
    found = fuzz(tmp_path, FEW, engine=False, repeatable=True)
    assert set(found) == {
        "accepted",
        "this is not a packed student",
        "this student was packed by another version of mlff-md; pack it again",
        "the packed student is damaged; pack it again",
    }


@pytest.mark.slow
def test_hundreds_of_packed_students(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = fuzz(tmp_path, MANY, engine=True, repeatable=REPEATABLE)
    with capsys.disabled():
        refused = found.total() - found["accepted"]
        print(f"\nfuzzed packed student: {found.total()} files, {refused} refused")
