"""Tests of ready models import their oracles by the bare name."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
