"""The scripts in benchmarks/ import each other by their bare names: so do their tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
