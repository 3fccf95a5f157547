"""Settings of comparisons that are short enough for a test."""

from __future__ import annotations

from typing import Any

SHORT: dict[str, Any] = {
    "replicas": 4,
    "floor_replicas": 2,
    "kicked_replicas": 1,
    "steps": 120,
    "equilibration_fs": 30.0,
    "labels": 6,
}
