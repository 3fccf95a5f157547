import pytest

from mlff_md.distill.molecules import (
    HeldOut,
    Molecule,
    check_molecules,
    hand_molecules,
    parse_molecules,
    read_molecules,
    require_rdkit,
    training_molecules,
)
from mlff_md.errors import DataError
from mlff_md.student import ORGANIC_ELEMENTS

pytest.importorskip("rdkit")


def elements(molecules):
    chem = require_rdkit()
    mols = [chem.AddHs(chem.MolFromSmiles(m.smiles)) for m in molecules]
    return {atom.GetSymbol() for mol in mols for atom in mol.GetAtoms()}


def test_hand_list_is_large_neutral_and_unique():
    molecules = hand_molecules()
    check_molecules(molecules)
    chem = require_rdkit()
    canonical = {chem.CanonSmiles(m.smiles) for m in molecules}
    assert len(canonical) == len(molecules)
    assert len(hand_molecules("train")) >= 300
    assert len(hand_molecules("val")) >= 10


def test_test_split_is_varied():
    test = hand_molecules("test")
    assert len(test) >= 30
    assert elements(test) == set(ORGANIC_ELEMENTS)


@pytest.mark.parametrize(
    "smarts",
    [
        *(
            "C#C",
            "C=C=C",
            "[NX1]#[CX2]",
            "[N+]#[C-]",
            "C=C=O",
            "C1NC1",
            "C1OC1",
            "C1SC1",
            "C1=CCC1",
        ),
        *("[n+][O-]", "N=[N+]=[N-]", "C=[N+]=[N-]", "[N+](=O)[O-]", "[C,c]N=O", "NN", "C=NO"),
        *("OO", "SS", "[#6]S(=O)[#6]", "[#6]S(=O)(=O)[#6]", "S(=O)(=O)N", "[SX2H]", "SC#N"),
        *("N=C=S", "[PX3]", "P=O", "P(=O)(O)O", "P(=O)N", "PCl", "P=S", "SCl", "NF", "NCl"),
        *("C(F)(F)C(F)F", "C(Cl)(Cl)Cl", "[SX6]", "[PX5]"),
    ],
)
def test_rare_motifs_are_covered(smarts):
    chem = require_rdkit()
    pattern = chem.MolFromSmarts(smarts)
    hits = [
        m for m in training_molecules() if chem.MolFromSmiles(m.smiles).HasSubstructMatch(pattern)
    ]
    assert hits


def test_held_out_rules():
    held_out = HeldOut([Molecule("paracetamol", "CC(=O)Nc1ccc(O)cc1", "test")])
    assert held_out.is_analogue("Oc1ccc(NC(C)=O)cc1"), "the molecule itself, written otherwise"
    assert held_out.is_analogue("CC(=O)Nc1cccc(O)c1"), "positional isomer"
    assert held_out.is_analogue("CCC(=O)Nc1ccc(O)cc1") == (
        HeldOut([Molecule("homologue", "CCC(=O)Nc1ccc(O)cc1")]).is_analogue("CC(=O)Nc1ccc(O)cc1")
    )
    assert not held_out.is_analogue("c1ccncc1")
    assert not HeldOut([]).is_analogue("C")
    # Same formula and no ring: not a positional isomer in the rule's sense.
    assert not HeldOut([Molecule("ether", "COC")]).is_analogue("CCO")


def test_training_molecules_keep_away_from_held_out_ones():
    held_out = HeldOut(m for m in hand_molecules() if m.split != "train")
    training = training_molecules()
    assert not any(held_out.is_analogue(m.smiles) for m in training)
    assert all(m.split == "train" for m in training)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CCO", "line 1: expected"),
        ("CCO ethanol valid", "unknown split 'valid'"),
        ("CCO a\nCC a", "line 2: the name 'a' is used twice"),
        ("# nothing\n", "holds no molecules"),
    ],
)
def test_malformed_lists_are_refused(text, reason):
    with pytest.raises(DataError, match=reason):
        parse_molecules(text)


def test_read_molecules(tmp_path):
    path = tmp_path / "list.smi"
    path.write_text("# mine\nCCO ethanol\n\n[H][H] hydrogen test\n")
    assert read_molecules(path) == (
        Molecule("ethanol", "CCO"),
        Molecule("hydrogen", "[H][H]", "test"),
    )
    with pytest.raises(DataError, match="cannot be read"):
        read_molecules(tmp_path / "absent.smi")


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C1CC", "cannot read the SMILES"),
        ("[NH4+]", "charged"),
        ("[CH3]", "radical"),
        ("CBr", "unknown element Br"),
    ],
)
def test_unusable_molecules_are_named(smiles, reason):
    with pytest.raises(DataError, match=f"culprit: .*{reason}"):
        check_molecules([Molecule("fine", "C"), Molecule("culprit", smiles)])
