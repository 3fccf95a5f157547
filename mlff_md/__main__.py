"""``python -m mlff_md``: the command line without an installed script."""

import sys

from mlff_md.cli import main

sys.exit(main())
