"""`python -m microscope_tui`: the same as the command `microscope-tui`."""

import sys

from microscope_tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
