"""One evaluation at a time: what an object keeps from the one before belongs to one thread."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def one_at_a_time(method: Method) -> Method:
    """Return a method that waits until no other thread is in one of its object.

    The object has the lock, a :class:`threading.RLock`, as ``_lock``.
    """

    @functools.wraps(method)
    def waiting(self: Any, *args: Any, **options: Any) -> Any:
        with self._lock:
            return method(self, *args, **options)

    return waiting  # type: ignore[return-value]
