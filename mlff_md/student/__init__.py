"""The student: its network, its manifest and file, and the shipped ones.

Importing this package does not import torch; :class:`~mlff_md.student.network.StudentForceField`
does.
"""

from mlff_md.student.architecture import ORGANIC_ELEMENTS, SIZES, Architecture
from mlff_md.student.file import Student, load_student, save_student
from mlff_md.student.manifest import Manifest

__all__ = [
    "ORGANIC_ELEMENTS",
    "SIZES",
    "Architecture",
    "Manifest",
    "Student",
    "load_student",
    "save_student",
]
