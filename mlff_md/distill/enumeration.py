"""Thousands of training molecules from the hand-made list by random edits.

Three edits, drawn at random and repeated one to three times, turn a molecule into a new one:

- *substitute*: a hydrogen is replaced by a small group (R-group enumeration);
- *link*: a hydrogen is replaced by another whole molecule of the list, at one of its hydrogens;
- *swap*: an atom is replaced by another element with as many free valences as it needs
  (CH -> N, CH2 -> O, S or NH, CH3 -> OH, F or Cl, N -> P, O -> S, ...).

The result depends on the seed alone. Test and validation molecules and their close analogues
(:class:`mlff_md.distill.molecules.HeldOut`) are never produced.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from mlff_md.distill.molecules import HeldOut, Molecule, hand_molecules, require_rdkit
from mlff_md.errors import ConfigError

_SUBSTITUENTS = """
F F Cl Cl O OC OCC OC(C)=O OC(F)(F)F OC(F)F OC#N ON=O O[N+](=O)[O-] OP(=O)(OC)OC OP(C)C
OS(C)(=O)=O OO OCl OCC1CO1 S SC SCC SC#N SC(F)(F)F SSC SCl S(C)=O S(C)(=O)=O S(N)(=O)=O
S(=O)(=O)O S(=O)(=O)F S(=O)(=O)Cl S(=O)O S(C)(=O)=N SC(C)=O S(F)(F)(F)(F)F N NC N(C)C NC(C)=O
NS(C)(=O)=O NN NO N=NC N=C=O N=C=S N=O N=[N+]=[N-] [N+](=O)[O-] [N+]#[C-] N1CCOCC1 N1CC1
N1CCC1 N1CCCC1 [nH]1cccc1 [nH]1ccnc1 [nH]1cccn1 [nH]1cncn1 N=C(C)C NCl N(F)C NP(=O)(OC)OC P
P(C)C P(Cl)Cl P(F)F P(C)(C)=O P(C)(C)=S P(=O)(O)O P(=O)(OC)OC P(=O)(Cl)Cl P(OC)OC P(=S)(OC)OC
P(N(C)C)N(C)C P(C)(=O)OC P(=O)(F)OC
C C CC C(C)C C(C)(C)C CO CN CF CCl CS C(F)F C(F)(F)F C(Cl)Cl C(Cl)(Cl)Cl C(F)(F)C(F)(F)F COC
CN(C)C CSC CP(C)C CC#N C#N C#C C#CC CC#C C=C C(C)=C C=C=C C=CC=O C=NO C=NN C=NC C=O C(C)=O
C(=O)O C(N)=O C(=O)OC C(=O)NC C(=O)Cl C(=O)F C(=O)S C(N)=S C(=O)NO C(=O)NN C(=O)C#N C(=N)N
C=[N+]=[N-] C=C=O CC(=O)O C[N+](=O)[O-] CN=[N+]=[N-] C(O)C(F)(F)F C=C(F)F C=C(Cl)Cl
C(=O)C(F)(F)F C1CC1 C1CO1 C1CN1 C1CS1 C1CCC1 C1COC1 C1=CC1 C12CC(C1)C2 C1CCCC1 c1ccccc1
c1ccccn1 c1cccnc1 c1cncnc1 c1ccco1 c1cccs1 c1cscn1 c1cocn1 c1nnco1 c1nncs1 c1ccn[nH]1
c1nn[nH]n1 Cc1ccccc1 c1ccc(F)cc1 c1ccc(Cl)cc1
"""
SUBSTITUENTS: tuple[str, ...] = tuple(_SUBSTITUENTS.split())
"""Groups that replace a hydrogen; the first atom of each binds. Repeats raise the odds."""

_SWAPS: dict[tuple[str, bool], tuple[str, ...]] = {
    ("C", True): ("N", "N", "N", "P"),
    ("C", False): ("N", "N", "O", "O", "S", "P", "F", "Cl"),
    ("N", True): ("C", "P"),
    ("N", False): ("C", "O", "P", "S"),
    ("O", True): ("S",),
    ("O", False): ("S", "N", "C"),
    ("S", True): ("O",),
    ("S", False): ("O", "C"),
}
_HETERO = frozenset(("N", "O", "S", "F", "Cl"))


def enumerate_molecules(
    count: int,
    *,
    seed: int = 0,
    bases: Sequence[Molecule] | None = None,
    held_out: HeldOut | None = None,
    min_atoms: int = 6,
    max_atoms: int = 38,
    usual_atoms: int = 30,
) -> tuple[Molecule, ...]:
    """Return ``count`` distinct training molecules made by random edits of ``bases``.

    Parameters
    ----------
    count
        How many molecules.
    seed
        Seed of all draws; a smaller ``count`` gives a prefix of a larger one.
    bases
        Molecules to edit; the hand-made training molecules if ``None``.
    held_out
        Whose analogues to avoid; the hand-made test and validation molecules if ``None``.
    min_atoms, max_atoms
        Allowed number of atoms, hydrogens included.
    usual_atoms
        Three quarters of the molecules that are larger than this are thrown away: small ones
        are cheaper to label and teach as much.

    Raises
    ------
    ConfigError
        If the bases and limits do not give that many molecules.
    """
    chem = require_rdkit()
    rng = random.Random(seed)
    if bases is None:
        bases = hand_molecules("train")
    if held_out is None:
        held_out = HeldOut(m for m in hand_molecules() if m.split != "train")
    parents = [chem.MolFromSmiles(m.smiles) for m in bases]
    parents = [mol for mol in parents if _sites(mol)]
    groups = [chem.MolFromSmiles(smiles) for smiles in SUBSTITUENTS]
    seen = {chem.MolToSmiles(mol) for mol in parents}
    found: list[Molecule] = []
    for _ in range(50 * count + 1000 if parents else 0):
        mol = rng.choice(parents)
        for _ in range(rng.choice((1, 1, 2, 2, 3))):
            mol = _edit(mol, parents, groups, rng)
            if mol is None:
                break
        if mol is None:
            continue
        smiles = chem.MolToSmiles(mol)
        atoms = mol.GetNumAtoms() + sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
        unwanted = atoms > usual_atoms and rng.random() > 0.25
        if unwanted or smiles in seen or not min_atoms <= atoms <= max_atoms:
            continue
        # A molecule that cannot be read back from its own SMILES cannot be labelled from it.
        again = chem.MolFromSmiles(smiles)
        if again is None or chem.GetFormalCharge(again) or held_out.is_analogue(smiles):
            continue
        seen.add(smiles)
        found.append(Molecule(name=smiles, smiles=smiles))
        if len(found) == count:
            return tuple(found)
    raise ConfigError(
        f"only {len(found)} of {count} molecules could be enumerated; give more base molecules "
        "or wider atom limits"
    )


def attach(mol: Any, site: int, group: Any, group_site: int = 0) -> Any | None:
    """Replace a hydrogen at ``site`` of ``mol`` by ``group``; ``None`` if valences forbid it.

    Parameters
    ----------
    mol, group
        RDKit molecules without explicit hydrogen atoms.
    site, group_site
        Atom indices that are joined by a single bond.
    """
    chem = require_rdkit()
    edited = chem.RWMol(chem.CombineMols(mol, group))
    other = mol.GetNumAtoms() + group_site
    for index in (site, other):
        atom = edited.GetAtomWithIdx(index)
        if atom.GetNumExplicitHs():
            atom.SetNumExplicitHs(atom.GetNumExplicitHs() - 1)
    edited.AddBond(site, other, chem.BondType.SINGLE)
    return _sanitized(edited)


def swap(mol: Any, site: int, symbol: str) -> Any | None:
    """Make the atom at ``site`` another element; ``None`` if valences or aromaticity forbid it."""
    chem = require_rdkit()
    edited = chem.RWMol(mol)
    atom = edited.GetAtomWithIdx(site)
    atom.SetAtomicNum(chem.GetPeriodicTable().GetAtomicNumber(symbol))
    if not atom.GetIsAromatic():
        atom.SetNumExplicitHs(0)
        atom.SetNoImplicit(False)
    return _sanitized(edited)


def _edit(
    mol: Any, parents: Sequence[Any], groups: Sequence[Any], rng: random.Random
) -> Any | None:
    draw = rng.random()
    if draw < 0.2:
        atoms = [a for a in mol.GetAtoms() if a.GetFormalCharge() == 0]
        atom = rng.choice(atoms)
        choices = _SWAPS.get((atom.GetSymbol(), atom.GetIsAromatic()))
        return swap(mol, atom.GetIdx(), rng.choice(choices)) if choices else None
    if draw < 0.75:
        group, group_site = rng.choice(groups), 0
    else:
        group = rng.choice(parents)
        group_site = rng.choice(_sites(group))
    sites = _sites(mol)
    if not sites:
        return None
    site = rng.choice(sites)
    pair = mol.GetAtomWithIdx(site).GetSymbol(), group.GetAtomWithIdx(group_site).GetSymbol()
    # Bonds between two electronegative atoms are wanted, but not at every second molecule.
    if pair[0] in _HETERO and pair[1] in _HETERO and rng.random() > 0.15:
        return None
    return attach(mol, site, group, group_site)


def _sites(mol: Any) -> list[int]:
    """Return the atoms that carry a hydrogen which may be replaced."""
    return [
        atom.GetIdx()
        for atom in mol.GetAtoms()
        if atom.GetTotalNumHs() and atom.GetAtomicNum() > 1 and atom.GetFormalCharge() == 0
    ]


def _sanitized(edited: Any) -> Any | None:
    chem = require_rdkit()
    mol = edited.GetMol()
    try:
        chem.SanitizeMol(mol)
    except (chem.MolSanitizeException, ValueError):
        return None
    if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        return None
    return mol
