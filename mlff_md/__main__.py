"""``python -m mlff_md``: the command line without an installed script."""

import sys

from mlff_md.cli import main

# MPI workers import the main module under another name.
if __name__ == "__main__":
    sys.exit(main())
