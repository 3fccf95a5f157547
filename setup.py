"""Build the native engine where there is a C++ compiler; all else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

SOURCES = Path("mlff_md/native/src")
PLUGIN = Path("lammps_plugin")


class BuildPy(build_py):
    """Put the sources of the LAMMPS plugin, which is compiled on first use, into the package."""

    def run(self):
        """Copy the modules, then the sources; an editable installation finds them in the tree."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "mlff_md", "lammps", "src")
            shutil.copytree(PLUGIN, target, dirs_exist_ok=True)

    def get_source_files(self):
        """Return what a source distribution holds."""
        files = (path for path in sorted(PLUGIN.rglob("*")) if path.is_file())
        return [*super().get_source_files(), *map(str, files)]


setup(
    cmdclass={"build_py": BuildPy},
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
    ],
)
