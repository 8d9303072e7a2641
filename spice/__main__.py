"""Run the command line: ``python -m spice``."""

import sys

from spice.cli import main

if __name__ == "__main__":
    sys.exit(main())
