"""How files go wrong: strategies that damage a real one, by bytes, by words and by structure."""

from __future__ import annotations

import copy
import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import HypothesisProvider

ODD_NUMBERS = (
    *("0", "-1", "1e999", "-1e999", "nan", "inf", "1e308", "-1e308", "1e-320", "2147483648"),
    *("-2147483649", "9223372036854775808", "99999999999999999999999", "1" * 400, "0x10", "1_0"),
)
ODD_WORDS = (
    *("", '"', "'", "=", "#", "\\", "%s", "{}", "\x00", "\x1b[2J", "\u202e", "é", "../../../etc"),
    *("/etc/passwd", "$(touch pwned)", "__import__('os')", "A" * 5000, "\r", "\t", "nan", "None"),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 10**400, 1e308, -1e-320),
    *(float("nan"), float("inf"), "", "\x1b[2J", "x" * 3000, "/etc/passwd", "../..", "<script>"),
    *([], {}, [[]], {"": {}}, [0] * 3000, [None], ["H"], "H", [1e308, -1e308], {"x": [1]}),
)
_WORD = re.compile(rb"[^\s,=\"']+")


@contextmanager
def same_every_time(wanted: bool) -> Iterator[None]:
    """Keep Hypothesis from drawing on the constants of all modules that happen to be loaded."""
    with pytest.MonkeyPatch.context() as patch:
        if wanted:
            patch.setattr(HypothesisProvider, "_maybe_draw_constant", lambda *_, **__: None)
        yield


def damaged_bytes(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return files with a few bytes changed, cut out, put in, repeated, or cut short."""
    return st.sampled_from(seeds).flatmap(
        lambda seed: st.lists(_byte_edit(len(seed)), min_size=1, max_size=6).map(
            lambda edits: _applied(seed, edits)
        )
    )


def _byte_edit(size: int) -> st.SearchStrategy[tuple[str, int, int, bytes]]:
    # Most of the structure stands at the beginning.
    place = st.one_of(st.integers(0, max(0, min(size, 400) - 1)), st.integers(0, max(0, size - 1)))
    kind = st.sampled_from(("change", "change", "insert", "delete", "repeat", "cut"))
    return st.tuples(kind, place, st.integers(1, 64), st.binary(min_size=1, max_size=8))


def _applied(seed: bytes, edits: Sequence[tuple[str, int, int, bytes]]) -> bytes:
    content = bytearray(seed)
    for kind, place, count, new in edits:
        if kind == "change":
            content[place : place + len(new)] = new
        elif kind == "insert":
            content[place:place] = new
        elif kind == "delete":
            del content[place : place + count]
        elif kind == "repeat":
            content[place:place] = content[place : place + count] * 3
        else:
            del content[place:]
    return bytes(content)


def damaged_text(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return texts in which words are replaced and lines lost, repeated, swapped or cut."""
    word = st.tuples(
        st.just("word"), st.integers(0, 10**6), st.sampled_from(ODD_NUMBERS + ODD_WORDS)
    )
    line = st.tuples(
        st.sampled_from(("drop", "repeat", "swap", "cut", "join")),
        st.integers(0, 10**6),
        st.just(""),
    )
    edits = st.lists(st.one_of(word, word, line), min_size=1, max_size=5)
    return st.tuples(st.sampled_from(seeds), edits).map(lambda drawn: _edited(*drawn))


def _edited(seed: bytes, edits: Sequence[tuple[str, int, str]]) -> bytes:
    for kind, place, new in edits:
        if kind == "word":
            words = list(_WORD.finditer(seed))
            if words:
                found = words[place % len(words)]
                seed = seed[: found.start()] + new.encode() + seed[found.end() :]
            continue
        lines = seed.splitlines(keepends=True)
        if not lines:
            continue
        at = place % len(lines)
        if kind == "drop":
            del lines[at]
        elif kind == "repeat":
            lines[at:at] = lines[at : at + 1] * 2
        elif kind == "swap":
            lines[at], lines[-at] = lines[-at], lines[at]
        elif kind == "cut":
            lines[at:] = [lines[at][: len(lines[at]) // 2]]
        else:
            lines[at] = lines[at].rstrip() + b" "
        seed = b"".join(lines)
    return seed


def damaged_json(seeds: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Return trees in which a few values are replaced by odd ones, or taken out."""
    edit = st.tuples(
        st.integers(0, 10**6), st.sampled_from(ODD_VALUES), st.sampled_from(("put", "put", "drop"))
    )
    return st.tuples(st.sampled_from(seeds), st.lists(edit, min_size=1, max_size=4)).map(
        lambda drawn: _regrown(*drawn)
    )


def _regrown(seed: Any, edits: Sequence[tuple[int, Any, str]]) -> Any:
    tree = copy.deepcopy(seed)
    for place, value, kind in edits:
        holders = list(_places(tree))
        if not holders:
            return value
        holder, key = holders[place % len(holders)]
        if kind == "drop":
            del holder[key]
        else:
            holder[key] = copy.deepcopy(value)
    return tree


def _places(tree: Any) -> Any:
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, value in list(items):
        yield tree, key
        yield from _places(value)


def json_bytes(tree: Any) -> bytes:
    """Return a tree as JSON, with the infinities that JSON does not have."""
    return json.dumps(tree).encode()


def damaged_arrays(seed: dict[str, np.ndarray]) -> st.SearchStrategy[bytes]:
    """Return ``.npz`` files with odd arrays: other shapes, types and values, left out, pickled."""
    odd = st.sampled_from(
        (
            *("drop", "scalar", "empty", "short", "transposed", "float", "text", "object", "nan"),
            *("huge", "negative", "zero", "record", "forged"),
        )
    )
    edits = st.lists(st.tuples(st.sampled_from(sorted(seed)), odd), min_size=1, max_size=3)
    return edits.map(lambda chosen: _archive(seed, chosen))


def _archive(seed: dict[str, np.ndarray], edits: Sequence[tuple[str, str]]) -> bytes:
    arrays, forged = dict(seed), set()
    for name, kind in edits:
        if name not in arrays:
            continue
        if kind == "drop":
            del arrays[name]
        elif kind == "forged":
            forged.add(name)
        else:
            with np.errstate(all="ignore"):
                arrays[name] = _odd_array(arrays[name], kind)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=True)
            content = member.getvalue()
            if name in forged:  # says that it holds far more than it does
                content = re.sub(
                    rb"'shape': \([^)]*\)", b"'shape': (99999999999,)", content, count=1
                )
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


class Bomb:
    """A pickle of this runs code where it is opened."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code of a file was run')",)


def _odd_array(array: np.ndarray, kind: str) -> np.ndarray:
    numeric = array.dtype.kind in "biuf"
    if kind == "scalar":
        return array.reshape(-1)[:1].reshape(()) if array.size else np.array(0)
    if kind == "empty":
        return array[:0] if array.ndim else np.empty(0)
    if kind == "short":
        return array[:-1] if array.ndim else array
    if kind == "transposed":
        return array.T if array.ndim > 1 else array[None]
    if kind == "text":
        return np.array(["\x1b[2J", "x"])
    if kind == "object":
        return np.array([Bomb()], dtype=object)
    if kind == "record":
        return np.zeros(3, dtype=[("a", "f8"), ("b", "i4")])
    if not numeric:
        return np.zeros(len(array) if array.ndim else 1)
    if kind == "float":
        return array.astype(np.float64) + 0.5
    value = {"nan": np.nan, "huge": 1e300, "negative": -3.0, "zero": 0.0}[kind]
    changed = array.astype(np.float64)
    changed.reshape(-1)[: max(1, changed.size // 2)] = value
    return changed if value in (1e300,) or value != value else changed.astype(array.dtype)
