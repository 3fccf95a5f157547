"""Teachers: any ASE calculator, made from one string such as ``gfn2-xtb``."""

from mlff_md.teachers.registry import (
    DEFAULT_TEACHER,
    TEACHERS,
    TeacherSpec,
    is_teacher,
    teacher,
    teacher_name,
)

__all__ = [
    "DEFAULT_TEACHER",
    "TEACHERS",
    "TeacherSpec",
    "is_teacher",
    "teacher",
    "teacher_name",
]
