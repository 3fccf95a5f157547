"""The guard of a run: finds the step at which a student leaves what it was trained on. No torch.

:class:`Inspector` looks at one structure, :class:`Guard` at a run.
"""

from __future__ import annotations

from mlff_md.guard.findings import Finding
from mlff_md.guard.inspector import Inspector
from mlff_md.guard.watch import POLICIES, Guard, make_guard

__all__ = ["POLICIES", "Finding", "Guard", "Inspector", "make_guard"]
