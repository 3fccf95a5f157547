"""The molecule list: names, SMILES and the split by molecule.

The hand-made list in ``molecules.smi`` holds neutral molecules of H, C, N, O, F, P, S and Cl, from
drug-like ones to the motifs that drug-like lists lack (alkynes, cumulenes, strained rings, azides,
N-oxides, phosphorus and sulfur in all common states, perhalogenated and inorganic-like molecules).
Each line is ``SMILES name [split]``; without a split the molecule is for training.

Data are split by molecule, never by frame. :class:`HeldOut` keeps close analogues of the test and
validation molecules out of the training set as well.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from mlff_md.errors import DataError, MissingDependencyError
from mlff_md.student import ORGANIC_ELEMENTS

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Molecule:
    """A molecule by its SMILES.

    Attributes
    ----------
    name
        Unique name; frames carry it.
    smiles
        SMILES without explicit hydrogens (they are added when the molecule is embedded).
    split
        ``train``, ``val`` or ``test``.
    """

    name: str
    smiles: str
    split: Split = "train"


def require_rdkit() -> Any:
    """Return the ``rdkit.Chem`` module, with RDKit's own log switched off.

    Raises
    ------
    MissingDependencyError
        If RDKit is not installed.
    """
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:
        raise MissingDependencyError(
            "building molecules needs RDKit: pip install 'mlff-md[teacher]'"
        ) from error
    rdBase.DisableLog("rdApp.*")
    return Chem


def read_molecules(path: str | Path) -> tuple[Molecule, ...]:
    """Read a molecule list, ``SMILES name [split]`` per line, ``#`` for comments.

    Raises
    ------
    DataError
        If the file is missing or a line is malformed, a name is repeated, a split unknown, or a
        molecule not one that can be labelled (see :func:`check_molecules`).
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"molecule list {path} cannot be read: {reason}") from error
    molecules = parse_molecules(text, source=str(path))
    check_molecules(molecules)
    return molecules


def parse_molecules(text: str, *, source: str = "molecule list") -> tuple[Molecule, ...]:
    """Parse the text of a molecule list; see :func:`read_molecules`."""
    molecules: list[Molecule] = []
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("# "):
            continue
        words = line.split()
        if not 2 <= len(words) <= 3:
            raise DataError(f"{source} line {number}: expected 'SMILES name [split]', got {line!r}")
        split = words[2] if len(words) == 3 else "train"
        if split not in get_args(Split):
            raise DataError(f"{source} line {number}: unknown split {split!r} (train, val or test)")
        if words[1] in names:
            raise DataError(f"{source} line {number}: the name {words[1]!r} is used twice")
        names.add(words[1])
        molecules.append(Molecule(words[1], words[0], split))  # type: ignore[arg-type]
    if not molecules:
        raise DataError(f"{source} holds no molecules")
    return tuple(molecules)


def hand_molecules(split: Split | None = None) -> tuple[Molecule, ...]:
    """Return the shipped hand-made list, or one split of it."""
    text = importlib.resources.files(__package__).joinpath("molecules.smi").read_text("utf-8")
    molecules = parse_molecules(text, source="molecules.smi")
    return tuple(m for m in molecules if split is None or m.split == split)


def training_molecules() -> tuple[Molecule, ...]:
    """Return the hand-made training molecules, without close analogues of held-out ones."""
    held_out = HeldOut(m for m in hand_molecules() if m.split != "train")
    return tuple(m for m in hand_molecules("train") if not held_out.is_analogue(m.smiles))


@dataclass
class HeldOut:
    """Decides whether a molecule is too close to a held-out (test or validation) molecule.

    A molecule is a *close analogue*, and must not be trained on, if for any held-out molecule

    - the Tanimoto similarity of the Morgan fingerprints (radius 2, 2048 bits) exceeds 0.7, or
    - both have the same molecular formula and the same, non-empty Bemis-Murcko scaffold, i.e. it
      is a positional isomer on the same rings.

    Identical molecules fall under the first rule.

    Parameters
    ----------
    molecules
        The held-out molecules.
    tanimoto_limit
        Highest similarity that is still allowed.
    """

    molecules: Iterable[Molecule]
    tanimoto_limit: float = 0.7
    _fingerprints: list[Any] = field(init=False, repr=False)
    _families: set[tuple[str, str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        chem = require_rdkit()
        from rdkit.Chem import rdFingerprintGenerator

        self.molecules = tuple(self.molecules)
        self._generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
        parsed = [chem.MolFromSmiles(m.smiles) for m in self.molecules]
        self._fingerprints = [self._generator.GetFingerprint(mol) for mol in parsed]
        self._families = {family for mol in parsed if (family := _family(mol))[0]}

    def is_analogue(self, smiles: str) -> bool:
        """Return whether ``smiles`` is a close analogue of any held-out molecule."""
        from rdkit import DataStructs

        mol = require_rdkit().MolFromSmiles(smiles)
        if _family(mol) in self._families:
            return True
        fingerprint = self._generator.GetFingerprint(mol)
        similarities = DataStructs.BulkTanimotoSimilarity(fingerprint, self._fingerprints)
        return max(similarities, default=0.0) > self.tanimoto_limit


def _family(mol: Any) -> tuple[str, str]:
    """Return (Bemis-Murcko scaffold SMILES, molecular formula); the scaffold may be empty."""
    from rdkit.Chem import rdMolDescriptors
    from rdkit.Chem.Scaffolds import MurckoScaffold

    scaffold = MurckoScaffold.MurckoScaffoldSmiles(mol=mol)
    return scaffold, rdMolDescriptors.CalcMolFormula(mol)


def check_molecules(molecules: Sequence[Molecule]) -> None:
    """Check that every molecule is readable, neutral, closed-shell and of known elements.

    Raises
    ------
    DataError
        Naming the first molecule that is not.
    """
    chem = require_rdkit()
    for molecule in molecules:
        mol = chem.MolFromSmiles(molecule.smiles)
        if mol is None:
            raise DataError(f"{molecule.name}: RDKit cannot read the SMILES {molecule.smiles!r}")
        if chem.GetFormalCharge(mol) != 0:
            raise DataError(f"{molecule.name}: charged; only neutral molecules can be labelled")
        if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
            raise DataError(f"{molecule.name}: a radical; only closed shells can be labelled")
        unknown = {atom.GetSymbol() for atom in mol.GetAtoms()} - set(ORGANIC_ELEMENTS)
        if unknown:
            raise DataError(f"{molecule.name}: unknown element {', '.join(sorted(unknown))}")
