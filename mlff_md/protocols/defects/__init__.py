"""Defects made on purpose: a calculator with a known fault, and the check that must find it.

A check that no defect trips is not a check. :data:`DEFECTS` holds twelve faults that force fields
really have; :func:`with_defect` gives any ASE calculator one of them, and :func:`self_test` shows
that each is caught by the check named for it, on your own structure and calculator.
"""

from mlff_md.protocols.defects.catalog import DEFECTS, Defect, with_defect
from mlff_md.protocols.defects.matrix import self_test, table

__all__ = ["DEFECTS", "Defect", "self_test", "table", "with_defect"]
