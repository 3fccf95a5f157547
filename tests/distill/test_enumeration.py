import pytest

from mlff_md.distill.enumeration import (
    SUBSTITUENTS,
    attach,
    enumerate_molecules,
    swap,
)
from mlff_md.distill.molecules import (
    HeldOut,
    Molecule,
    check_molecules,
    hand_molecules,
    require_rdkit,
)
from mlff_md.errors import ConfigError

pytest.importorskip("rdkit")


@pytest.fixture(scope="module")
def molecules():
    return enumerate_molecules(300, seed=3)


def mol(smiles):
    return require_rdkit().MolFromSmiles(smiles)


def canonical(molecule):
    return require_rdkit().MolToSmiles(molecule)


def test_enumerated_molecules_are_usable_distinct_and_new(molecules):
    check_molecules(molecules)
    chem = require_rdkit()
    smiles = {chem.CanonSmiles(m.smiles) for m in molecules}
    assert len(smiles) == 300
    assert not smiles & {chem.CanonSmiles(m.smiles) for m in hand_molecules()}
    sizes = [chem.AddHs(mol(m.smiles)).GetNumAtoms() for m in molecules]
    assert min(sizes) >= 6
    assert max(sizes) <= 38
    assert sum(size <= 30 for size in sizes) > 0.8 * len(sizes)


def test_no_held_out_analogue_is_made(molecules):
    held_out = HeldOut(m for m in hand_molecules() if m.split != "train")
    assert not any(held_out.is_analogue(m.smiles) for m in molecules)


def test_the_held_out_filter_acts():
    bases = [Molecule("benzene", "c1ccccc1")]
    free = enumerate_molecules(40, seed=0, bases=bases, held_out=HeldOut([]))
    target = free[5]
    kept = enumerate_molecules(40, seed=0, bases=bases, held_out=HeldOut([target]))
    assert target not in kept


def test_seed_decides_and_a_smaller_count_is_a_prefix(molecules):
    assert enumerate_molecules(40, seed=3) == molecules[:40]
    assert enumerate_molecules(40, seed=4) != molecules[:40]


def test_all_substituents_can_be_attached():
    for smiles in SUBSTITUENTS:
        assert attach(mol("C"), 0, mol(smiles)) is not None, smiles


def test_attach_uses_up_an_explicit_hydrogen():
    pyrrole, methane = mol("[nH]1cccc1"), mol("C")
    assert canonical(attach(pyrrole, 0, methane)) == canonical(mol("Cn1cccc1"))
    assert attach(mol("C(F)(F)(F)F"), 0, methane) is None


def test_swap():
    assert canonical(swap(mol("c1ccccc1"), 0, "N")) == canonical(mol("c1ccncc1"))
    assert canonical(swap(mol("CCC"), 1, "O")) == canonical(mol("COC"))
    assert swap(mol("CC(C)(C)C"), 1, "O") is None


def test_too_much_is_refused():
    with pytest.raises(ConfigError, match="of 90 molecules could be enumerated"):
        enumerate_molecules(90, bases=[Molecule("methane", "C")], max_atoms=6)
    with pytest.raises(ConfigError, match="only 0 of 1"):
        enumerate_molecules(1, bases=[Molecule("carbon tetrachloride", "ClC(Cl)(Cl)Cl")])
