"""Importing the package may take 0.3 s longer than importing torch and pysindy, in the least CPU time of several runs.

Other work on the machine lengthens wall time by more than that, and what is least is lengthened least.
"""

import resource
import subprocess
import sys

ALLOWANCE = 0.3  # seconds
REPEATS = 5
STATEMENTS = ("import torch, pysindy", "import spice", "import spice.estimator")


def seconds(statement: str) -> float:
    """CPU time of an interpreter that runs one statement."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# one of each per round, so that a busy time of the machine meets all of them
rounds = [[seconds(statement) for statement in STATEMENTS] for _ in range(REPEATS)]
least = [min(column) for column in zip(*rounds, strict=True)]
for statement, time in zip(STATEMENTS, least, strict=True):
    print(f"{time:5.2f} s  {statement}")
limit = least[0] + ALLOWANCE
slow = [statement for statement, time in zip(STATEMENTS, least, strict=True) if time > limit]
if slow:
    sys.exit(f"slower than torch and pysindy by more than {ALLOWANCE} s: {', '.join(slow)}")
