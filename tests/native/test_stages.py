"""Layer by layer over domains: what a molecular dynamics code with ghost atoms calls."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from numpy.typing import NDArray

from mlff_md import native
from mlff_md.errors import StructureError
from mlff_md.graph import build_graph, species_index
from mlff_md.native import NativeKernel
from mlff_md.native.library import load
from mlff_md.student import Architecture, Manifest, Student
from mlff_md.student.prior import prior_radii

pytestmark = pytest.mark.skipif(
    not native.available(), reason=native.why_unavailable() or "the native engine is there"
)

CUTOFF_A = 5.0
BAD_ARGUMENT, OVERLAP = 2, 4
SHAPES = {
    "one layer": Architecture(8, 1, 6),
    "three layers": Architecture(24, 3, 8, vector_dim=10, quadrupole_dim=5, mlp_dim=20),
    "tiny": Architecture(64, 2, 12),
}


def student_of(shape: Architecture) -> Student:
    rng = np.random.default_rng(shape.num_parameters)
    weights = {}
    for name, size in shape.weight_shapes().items():
        spread = 0.2 if len(size) == 1 else 1.0 if "embedding" in name else (2 / sum(size)) ** 0.5
        weights[name] = (spread * rng.normal(size=size)).astype(np.float32)
    shifts = tuple(-10.0 * (k + 1) for k in range(len(shape.elements)))
    manifest = Manifest("untrained", shape, 1.3, shifts, prior_radii(shape.elements))
    return Student(manifest, weights, "")


def structure(name: str) -> Atoms:
    if name == "molecule":
        atoms = molecule("CH3CH2OH")
        atoms.rattle(0.05, seed=1)
        atoms.positions[1] = atoms.positions[0] + [0.6, 0.0, 0.0]  # inside the prior
        return atoms
    # One vector of the cell is shorter than the cutoff: atoms have images of themselves as ghosts.
    atoms = bulk("C", "diamond", a=3.7, cubic=True) * (1, 1, 2)
    atoms.numbers[::3] = 8
    atoms.numbers[1::4] = 1
    strain = np.array([[1.0, 0.12, 0.0], [0.0, 1.0, -0.2], [0.05, 0.0, 1.0]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.rattle(0.15, seed=3)
    if name == "slab":
        atoms.pbc = [True, True, False]
    return atoms


def arrays(atoms: Atoms):
    species = species_index(atoms.numbers, SHAPES["tiny"].elements)
    return species, atoms.positions.copy(), atoms.cell.array.copy(), atoms.pbc.copy()


def pointer(array: NDArray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class Domain:
    """Owns some atoms of a structure and sees copies of others, behind its own."""

    def __init__(self, kernel: NativeKernel, atoms: Atoms, owned: NDArray[np.int64]) -> None:
        self.kernel, self.library, self.handle = kernel, load(), kernel._handle
        self.owned = owned
        graph = build_graph(atoms, SHAPES["tiny"].elements, CUTOFF_A)
        centers, neighbors = graph.edges
        images = np.linalg.solve(
            np.array(atoms.cell.complete()).T,
            (graph.vectors - atoms.positions[neighbors] + atoms.positions[centers]).T,
        ).T
        shifts = np.rint(images).astype(int)
        assert np.abs(images - shifts).max(initial=0.0) < 1e-8
        place = {(int(atom), (0, 0, 0)): k for k, atom in enumerate(owned)}
        edges = []
        for k, atom in enumerate(owned):
            for e in np.flatnonzero(centers == atom):
                seen = (int(neighbors[e]), tuple(shifts[e].tolist()))
                edges.append((k, place.setdefault(seen, len(place)), e))
        self.ghosts = [atom for atom, _ in place][len(owned) :]
        self.species = graph.species[[atom for atom, _ in place]]
        table = np.array(edges, dtype=np.int32).reshape(-1, 3).T
        self.centers, self.neighbors = (np.ascontiguousarray(row) for row in table[:2])
        self.vectors = np.ascontiguousarray(graph.vectors[table[2]])
        self.keep_pairs()

    def keep_pairs(self) -> None:
        """Of two directions between owned atoms keep one, in front; all that go outside follow."""
        outward = self.neighbors >= len(self.owned)
        image = self.neighbors == self.centers
        two_sided = np.flatnonzero(~outward & (self.neighbors > self.centers))
        order = np.concatenate([two_sided, np.flatnonzero(outward | image)])
        self.num_two_sided = len(two_sided)
        self.centers, self.neighbors = self.centers[order].copy(), self.neighbors[order].copy()
        self.vectors = self.vectors[order].copy()

    def begin(self) -> int:
        return self.library.mlff_stage_begin(
            *(self.handle, len(self.owned), len(self.species), pointer(self.species)),
            *(len(self.centers), self.num_two_sided),
            *(pointer(self.centers), pointer(self.neighbors), pointer(self.vectors)),
        )

    def error(self) -> str:
        return self.library.mlff_engine_error(self.handle).decode()

    def pack(self, layer: int, reverse: int, atoms: Sequence[int]) -> NDArray[np.uint8]:
        size = self.library.mlff_stage_bytes(self.handle, layer, reverse)
        index = np.array(atoms, dtype=np.int32)
        buffer = np.full((len(index) + 1, size), 0xA5, dtype=np.uint8)
        self.library.mlff_stage_pack(
            self.handle, layer, reverse, len(index), pointer(index), pointer(buffer)
        )
        assert (buffer[-1] == 0xA5).all()  # no more is written than was asked for
        return buffer[:-1]

    def unpack(self, layer: int, reverse: int, atoms: Sequence[int], data: NDArray) -> None:
        index = np.array(atoms, dtype=np.int32)
        self.library.mlff_stage_unpack(
            self.handle, layer, reverse, len(index), pointer(index), pointer(data)
        )

    def end(self):
        energies, forces = np.empty(len(self.owned)), np.empty((len(self.owned), 3))
        virial = np.empty((3, 3))
        self.library.mlff_stage_end(
            self.handle, pointer(energies), pointer(forces), pointer(virial)
        )
        return energies, forces, virial


def exchange(domains: list[Domain], layer: int, reverse: int) -> None:
    """Give every ghost what its owner has packed; all pack before any unpacks."""
    owner = {int(atom): (d, k) for d in domains for k, atom in enumerate(d.owned)}
    messages = []
    for receiver in domains:
        for sender in domains:
            mine = [k for k, atom in enumerate(receiver.ghosts) if owner[atom][0] is sender]
            theirs = [owner[receiver.ghosts[k]][1] for k in mine]
            ghosts = [len(receiver.owned) + k for k in mine]
            messages.append((receiver, ghosts, sender.pack(layer, reverse, theirs)))
    for receiver, ghosts, data in messages:
        receiver.unpack(layer, reverse, ghosts, data)
        assert np.array_equal(receiver.pack(layer, reverse, ghosts), data)


def run(domains: list[Domain], layers: int):
    """Energies and forces of all atoms, and the virial, by the order of calls of the header."""
    library = load()
    for domain in domains:
        assert domain.begin() == 0, domain.error()
    for layer in range(layers):
        for domain in domains:
            library.mlff_stage_send(domain.handle, layer)
        exchange(domains, layer, 0)
        for domain in domains:
            library.mlff_stage_receive(domain.handle, layer)
    for domain in domains:
        library.mlff_stage_read_out(domain.handle)
    for layer in reversed(range(layers)):
        for domain in domains:
            library.mlff_stage_update_reverse(domain.handle, layer)
        exchange(domains, layer, 1)
        for domain in domains:
            library.mlff_stage_receive_reverse(domain.handle, layer)
    count = sum(len(domain.owned) for domain in domains)
    energies, forces, virial = np.full(count, np.nan), np.full((count, 3), np.nan), np.zeros((3, 3))
    for domain in domains:
        energies[domain.owned], forces[domain.owned], share = domain.end()
        virial += share
    return energies, forces, virial


def assert_close(found, expected, single: bool) -> None:
    scale = max(1.0, float(np.abs(expected[1]).max()))
    # The same splines: only the order of the sums differs.
    tolerance = (1e-5 if single else 1e-11) * scale
    assert np.abs(found[0] - expected[0]).max() <= tolerance
    assert abs(found[0].sum() - expected[0].sum()) <= tolerance * len(found[0]) ** 0.5
    assert np.abs(found[1] - expected[1]).max() <= tolerance
    assert np.abs(found[2] - expected[2]).max() <= tolerance * 5.0 * len(found[0]) ** 0.5


def halves(count: int) -> list[NDArray[np.int64]]:
    """Two halves drawn by chance, in an order that is not that of the structure."""
    order = np.random.default_rng(2).permutation(count)
    return [order[: count // 2], order[count // 2 :]]


@pytest.mark.parametrize("name", ["molecule", "box", "slab"])
@pytest.mark.parametrize("single", [True, False], ids=["single", "double"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_two_domains_are_the_whole(shape: Architecture, single: bool, name: str) -> None:
    student, atoms = student_of(shape), structure(name)
    expected = NativeKernel(student, single_precision=single).compute(*arrays(atoms))
    domains = [
        Domain(NativeKernel(student, single_precision=single), atoms, owned)
        for owned in halves(len(atoms))
    ]
    assert all(domain.ghosts for domain in domains)
    found = run(domains, shape.num_interactions)
    assert np.abs(expected[1]).max() > 0.5
    assert_close(found, expected, single)
    # Once more on the same engines, to the bit.
    for mine, theirs in zip(run(domains, shape.num_interactions), found, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("instruction_set", native.instruction_sets() if native.available() else ())
@pytest.mark.parametrize("sizes", [(16, 0), (1, 15), (5, 4, 7)], ids=str)
def test_any_division(sizes: tuple[int, ...], instruction_set: str) -> None:
    shape = SHAPES["three layers"]
    student, atoms = student_of(shape), structure("box")
    kernels = [
        NativeKernel(student, single_precision=False, instruction_set=instruction_set)
        for _ in sizes
    ]
    expected = kernels[0].compute(*arrays(atoms))
    parts = np.split(np.arange(len(atoms)), np.cumsum(sizes)[:-1])
    domains = [Domain(k, atoms, owned) for k, owned in zip(kernels, parts, strict=True)]
    assert_close(run(domains, shape.num_interactions), expected, single=False)


def test_what_is_exchanged() -> None:
    shape = SHAPES["three layers"]
    kernel = NativeKernel(student_of(shape))
    size = load().mlff_stage_bytes
    later = size(kernel._handle, 1, 0)
    assert size(kernel._handle, 0, 0) == 0  # the species says it all
    # What an atom sends, and what it carries: vectors and quadrupoles.
    carried = 3 * shape.vector_dim + 5 * shape.quadrupole_dim
    assert later >= 4 * (sum(shape.message_dims(0)) + carried)
    for layer in range(3):
        assert size(kernel._handle, layer, 1) >= 4 * (shape.hidden_dim + carried)
    double = NativeKernel(student_of(shape), single_precision=False)
    assert size(double._handle, 1, 0) == 2 * later


@pytest.mark.parametrize("threads", [1, 2])
def test_whole_structures_before_and_after(threads: int) -> None:
    shape = SHAPES["three layers"]
    student, atoms = student_of(shape), structure("box")
    kernels = [NativeKernel(student, single_precision=False, threads=threads) for _ in range(2)]
    expected = kernels[0].compute(*arrays(atoms))
    graph = build_graph(atoms, shape.elements, CUTOFF_A)
    local = np.arange(len(atoms)) % 2 == 0
    masked = kernels[1].evaluate(graph.species, graph.edges, graph.vectors, local)
    kernels[1].compute(*arrays(structure("molecule")))
    domains = [
        Domain(kernel, atoms, owned)
        for kernel, owned in zip(kernels, halves(len(atoms)), strict=True)
    ]
    assert_close(run(domains, shape.num_interactions), expected, single=False)
    for kernel in kernels:
        for mine, theirs in zip(kernel.compute(*arrays(atoms)), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        again = kernel.evaluate(graph.species, graph.edges, graph.vectors, local)
        for mine, theirs in zip(again, masked, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("threads", [1, 2])
def test_after_a_structure_that_was_refused(threads: int) -> None:
    shape = SHAPES["one layer"]
    student, atoms = student_of(shape), structure("box")
    kernel = NativeKernel(student, single_precision=False, threads=threads)
    bad = atoms.copy()
    bad.positions[-1] = bad.positions[-2]  # both belong to the last thread
    with pytest.raises(StructureError):
        kernel.compute(*arrays(bad))
    domain = Domain(kernel, atoms, np.arange(len(atoms)))
    expected = NativeKernel(student, single_precision=False).compute(*arrays(atoms))
    assert_close(run([domain], shape.num_interactions), expected, single=False)


def starts_at_ghost(domain: Domain) -> None:
    domain.centers[-1] = len(domain.owned)


def too_many_owned(domain: Domain) -> None:
    domain.owned = np.arange(len(domain.species) + 1)


def unknown_species(domain: Domain) -> None:
    domain.species[-1] = 8


def two_sided_with_ghost(domain: Domain) -> None:
    domain.num_two_sided = len(domain.centers)


def two_sided_with_itself(domain: Domain) -> None:
    domain.neighbors[0] = domain.centers[0]


def too_many_two_sided(domain: Domain) -> None:
    domain.num_two_sided = len(domain.centers) + 1


def unknown_neighbor(domain: Domain) -> None:
    domain.neighbors[3] = len(domain.species)


def overlap(domain: Domain) -> None:
    (ghosts,) = np.nonzero(domain.neighbors >= len(domain.owned))
    domain.vectors[ghosts[0]] = [1e-4, 0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (starts_at_ghost, BAD_ARGUMENT, "pairs must start at owned atoms and join existing ones"),
        (too_many_owned, BAD_ARGUMENT, "the number of owned atoms is out of range"),
        (unknown_species, BAD_ARGUMENT, "a species index is out of range"),
        (unknown_neighbor, BAD_ARGUMENT, "pairs must start at owned atoms and join existing ones"),
        (
            two_sided_with_ghost,
            BAD_ARGUMENT,
            "pairs must start at owned atoms and join existing ones",
        ),
        (two_sided_with_itself, BAD_ARGUMENT, "two-sided pairs must join two different atoms"),
        (too_many_two_sided, BAD_ARGUMENT, "the number of two-sided pairs is out of range"),
        (overlap, OVERLAP, "two atoms are at the same place"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_wrong_arguments(change, status: int, message: str) -> None:
    shape = SHAPES["one layer"]
    student, atoms = student_of(shape), structure("box")
    kernels = [NativeKernel(student, single_precision=False) for _ in range(2)]
    parts = halves(len(atoms))
    bad = Domain(kernels[0], atoms, parts[0])
    change(bad)
    assert bad.begin() == status
    assert bad.error() == message
    domains = [Domain(k, atoms, owned) for k, owned in zip(kernels, parts, strict=True)]
    expected = kernels[0].compute(*arrays(atoms))
    assert_close(run(domains, shape.num_interactions), expected, single=False)
