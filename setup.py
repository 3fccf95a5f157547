"""Build the native engine where there is a C++ compiler; all else is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("mlff_md/native/src")

setup(
    ext_modules=[
        # Not a Python module: a plain shared library that ctypes and LAMMPS load. Optional: if it
        # cannot be built the package works without the native engine and says so.
        Extension(
            "mlff_md.native._kernel",
            sources=[str(path) for path in sorted(SOURCES.glob("*.cpp"))],
            depends=[str(path) for path in sorted(SOURCES.glob("*.h"))],
            extra_compile_args=[
                *("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math"),
                *("-fvisibility=hidden", "-pthread", "-g0"),
            ],
            extra_link_args=["-pthread", "-s"],
            language="c++",
            optional=True,
        )
    ]
)
