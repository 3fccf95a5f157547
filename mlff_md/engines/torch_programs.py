"""Students as programs in files: TorchScript and AOTInductor, in float32 on the CPU.

Both take what the engine contract says, ``species`` int32 [N], ``edges`` int32 [2, E], ``vectors``
float32 [E, 3] and ``local`` bool [N], and return ``energies`` float64 [N] and ``gradients`` float32
[E, 3].
"""

from __future__ import annotations

import io
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mlff_md.engines.exported import ExportedStudent
from mlff_md.engines.gradient import EdgeGradientNetwork
from mlff_md.errors import MissingDependencyError, StudentFileError
from mlff_md.graph import Graph
from mlff_md.student import Student


class ContractNetwork(nn.Module):
    """The reverse pass, behind the types of the engine contract."""

    def __init__(self, network: EdgeGradientNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, species: Tensor, edges: Tensor, vectors: Tensor, local: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return energies and gradients."""
        return self.network(species.long(), edges.long(), vectors, local.to(vectors.dtype))


def contract_inputs(graph: Graph) -> tuple[Tensor, ...]:
    """Return a graph as the tensors of the contract."""
    return (
        torch.from_numpy(graph.species),
        torch.from_numpy(np.ascontiguousarray(graph.edges)),
        torch.from_numpy(graph.vectors).float(),
        torch.from_numpy(graph.local),
    )


def _contract_network(student: Student) -> ContractNetwork:
    network = EdgeGradientNetwork(student.network())
    return ContractNetwork(network).eval().requires_grad_(False)


def _example() -> tuple[Tensor, ...]:
    """Return three atoms and four pairs: no two sizes that a compiler could take for one."""
    edges = torch.tensor([[0, 0, 1, 2], [1, 2, 0, 0]], dtype=torch.int32)
    vectors = torch.tensor(
        [[1.0, 0.5, 0.2], [-0.7, 0.9, 0.1], [-1.0, -0.5, -0.2], [0.7, -0.9, -0.1]]
    )
    return torch.zeros(3, dtype=torch.int32), edges, vectors, torch.ones(3, dtype=torch.bool)


def traced(module: nn.Module, example: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """Return the module as a frozen TorchScript graph."""
    with warnings.catch_warnings():
        # Torch announces that TorchScript will go one day; users of this format chose it.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return torch.jit.freeze(torch.jit.trace(module, example, check_trace=False))


def torchscript_program(student: Student, metadata: Mapping[str, str]) -> bytes:
    """Return the content of a ``.pt`` file."""
    module = traced(_contract_network(student), _example())
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.jit.save(module, stream, _extra_files=dict(metadata))
    # Debug records name the source files of whoever made the export.
    return _rewritten(stream.getvalue(), leave_out=(".debug_pkl",))


def aoti_program(student: Student, metadata: Mapping[str, str]) -> bytes:
    """Compile the student for this machine and return the content of a ``.pt2`` file: minutes.

    Raises
    ------
    MissingDependencyError
        If there is no C++ compiler.
    """
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        raise MissingDependencyError(
            "AOTInductor needs a C++ compiler (Debian: apt install g++); without one, use "
            "engine='native', 'onnx' or 'torchscript'"
        )
    from torch._inductor import aoti_compile_and_package

    atoms, pairs = (torch.export.Dim(name, min=2, max=2**31 - 1) for name in ("N", "E"))
    sizes = ({0: atoms}, {1: pairs}, {0: pairs}, {0: atoms})
    with tempfile.TemporaryDirectory(prefix="mlff-md-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.no_grad():
            program = torch.export.export(
                _contract_network(student), _example(), dynamic_shapes=sizes
            )
        path = Path(folder, "student.pt2")
        aoti_compile_and_package(program, package_path=str(path))
        content = path.read_bytes()
    return _rewritten(content, leave_out=(".cpp",), extra=metadata)


def load_torchscript(student: ExportedStudent) -> torch.jit.ScriptModule:
    """Return the program of a ``.pt`` file that is trusted."""
    _require_trust(student)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            return torch.jit.load(io.BytesIO(student.content), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise StudentFileError(f"{student.origin} cannot be loaded by this torch") from error


def load_aoti(student: ExportedStudent) -> object:
    """Return the program of a ``.pt2`` file that is trusted."""
    _require_trust(student)
    from torch._inductor import aoti_load_package

    try:
        # From what was read and hashed, not from the file: that may be another by now.
        with tempfile.NamedTemporaryFile(prefix="mlff-md-", suffix=".pt2") as copy:
            copy.write(student.content)
            copy.flush()
            return aoti_load_package(copy.name)
    except (RuntimeError, ValueError, OSError) as error:
        raise StudentFileError(
            f"{student.origin} cannot be loaded: it holds code for the machine and the torch that "
            "it was made with; export it here"
        ) from error


def _require_trust(student: ExportedStudent) -> None:
    if not student.trusted:
        raise StudentFileError(f"{student.origin} is a program that is not trusted")


def _rewritten(
    content: bytes, leave_out: tuple[str, ...], extra: Mapping[str, str] | None = None
) -> bytes:
    """Return an archive without some of its records, and with more texts."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as new,
    ):
        root = old.namelist()[0].split("/", 1)[0]
        records = {
            item.filename: old.read(item)
            for item in old.infolist()
            if not item.filename.endswith(leave_out)
        }
        records |= {f"{root}/extra/{name}": text.encode() for name, text in (extra or {}).items()}
        for name, record in records.items():
            # A fixed date: the same student gives the same file.
            new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), record)
    return stream.getvalue()
