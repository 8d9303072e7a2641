"""Importing the package may take 0.3 s longer than importing torch and pysindy, in the median CPU time of several runs.

What comes on top is timed inside an interpreter that has imported torch and pysindy: the difference between two
interpreters would be small beside what each of them varies by. The interpreters are isolated (`-I`), so that the
package is the installed one, compiled to bytecode, and not the sources in the working directory.
"""

import statistics
import subprocess
import sys

ALLOWANCE = 0.3  # seconds
REPEATS = 5
MODULES = ("spice", "spice.estimator")
PROGRAM = """
import time
import torch, pysindy
before = time.process_time()
import {module}
print(time.process_time() - before)
"""


def seconds(module: str) -> float:
    """CPU time that importing a module takes after torch and pysindy."""
    program = [sys.executable, "-I", "-c", PROGRAM.format(module=module)]
    return float(subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout)


median = {module: statistics.median(seconds(module) for _ in range(REPEATS)) for module in MODULES}
for module, time in median.items():
    print(f"{time:5.2f} s after torch and pysindy: import {module}")
slow = [module for module, time in median.items() if time > ALLOWANCE]
if slow:
    sys.exit(f"slower than torch and pysindy by more than {ALLOWANCE} s: {', '.join(slow)}")
