"""What was probably meant by a name that does not exist: one wording for all messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_FAR = 0.75
"""A name that is less alike than this part of the best one was not meant."""


def near_names(typed: str, known: Iterable[str], *, cutoff: float = 0.6) -> list[str]:
    """Return up to three names that are like what was typed, or begin so, the likeliest first.

    Parameters
    ----------
    typed
        What there is not.
    known
        What there is.
    cutoff
        Least similarity, 0..1, as of :func:`difflib.get_close_matches`; lower for short names.
    """
    lower = {name.lower(): name for name in known}
    typed = typed.strip().lower()
    found = difflib.get_close_matches(typed, lower, n=3, cutoff=cutoff)
    alike = [difflib.SequenceMatcher(None, name, typed).ratio() for name in found]
    found = [name for name, ratio in zip(found, alike, strict=True) if ratio > _FAR * alike[0]]
    # Letters in another order are the likeliest slip.
    swapped = [name for name in found if sorted(name) == sorted(typed)]
    begun = [name for name in lower if typed and name.startswith(typed)]
    return [lower[name] for name in swapped or found or begun[:3]]


def did_you_mean(near: Iterable[str]) -> str:
    """Return the question after names that are near."""
    return f"did you mean {' or '.join(near)}?"


def hint(typed: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return what an error adds about a wrong name: near ones, or else all that there are.

    Examples
    --------
    >>> hint("tinny", ["original", "tiny"])
    'did you mean tiny?'
    >>> hint("large", ["original", "tiny"])
    'there are original, tiny'
    """
    names = list(known)
    near = near_names(typed, names, cutoff=cutoff)
    return did_you_mean(near) if near else f"there are {', '.join(names)}"
