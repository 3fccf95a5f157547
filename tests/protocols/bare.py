"""The NVE protocol with its replicas alone: no static protocol, no order, no reversal."""

from __future__ import annotations

from functools import partial
from typing import Any

from mlff_md.protocols import nve

REPLICAS_ALONE: dict[str, Any] = {
    "static": False,
    "order_steps": 0,
    "reversal_steps": 0,
    "restart_steps": 0,
}

run = partial(nve.run, **REPLICAS_ALONE)
validate_nve = partial(nve.validate_nve, **REPLICAS_ALONE)
