"""Importing the package may take 0.3 s longer than importing torch and pysindy; medians over fresh interpreters."""

import statistics
import subprocess
import sys
import time

ALLOWANCE = 0.3  # seconds
REPEATS = 5
STATEMENTS = ("import torch, pysindy", "import spice", "import spice.estimator")


def seconds(statement: str) -> float:
    """Wall time of an interpreter that runs one statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


# one of each per round, so that a busy moment of the machine meets all of them
rounds = [[seconds(statement) for statement in STATEMENTS] for _ in range(REPEATS)]
medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
for statement, median in zip(STATEMENTS, medians, strict=True):
    print(f"{median:5.2f} s  {statement}")
limit = medians[0] + ALLOWANCE
slow = [statement for statement, median in zip(STATEMENTS, medians, strict=True) if median > limit]
if slow:
    sys.exit(f"slower than torch and pysindy by more than {ALLOWANCE} s: {', '.join(slow)}")
