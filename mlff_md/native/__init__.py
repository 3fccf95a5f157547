"""The native engine's library and its binding. No torch.

The C++ sources are in ``src``; ``src/mlff_native.h`` is the interface. The library is built when
the package is installed, where there is a compiler; all else works without it.
"""

from mlff_md.native.kernel import NativeKernel
from mlff_md.native.library import available, instruction_sets, library_path, why_unavailable

__all__ = [
    "NativeKernel",
    "available",
    "instruction_sets",
    "library_path",
    "why_unavailable",
]
