"""Importing the package changes nothing outside it, and draws nothing."""

import subprocess
import sys

PROGRAM = """
import sys, warnings
import numpy as np, torch, pysindy, sklearn
def state():
    random = np.random.get_state()
    return (list(warnings.filters), torch.get_default_dtype(), random[1].tobytes(), random[2],
            torch.random.get_rng_state().tolist(), list(sys.path), np.geterr(),
            np.get_printoptions(), torch.get_num_threads())
before, loaded = state(), set(sys.modules)
import spice, spice.estimator, spice.precoded, spice.resources.bandits, spice.resources.rnn
for was, now in zip(before, state()):
    assert was == now, (was, now)
new = set(sys.modules) - loaded
assert not [name for name in new if name.startswith(("matplotlib", "pandas.plotting"))], new
print("fine")
"""

LIGHT = """
import sys
import spice
assert not {"torch", "pysindy", "pandas", "matplotlib"} & set(sys.modules)
print("fine")
"""

HAND_WRITTEN = """
import sys
from spice.inference import fit, objective
from spice.precoded import rescorla_wagner
from spice.resources.dataset import DatasetRNN
assert not {"pysindy", "sklearn", "scipy.stats", "pandas", "matplotlib", "arviz", "nutpie"} & set(sys.modules)
from spice import inference
assert all(hasattr(inference, name) for name in inference.__all__) and not hasattr(inference, "fits")
print("fine")
"""


def run(program):
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120)
    assert result.stdout == "fine\n" and result.returncode == 0, result.stderr


def test_global_state_is_left_alone_and_nothing_draws():
    run(PROGRAM)


def test_the_package_alone_imports_nothing():
    run(LIGHT)


def test_fitting_hand_written_models_does_not_wait_for_other_stages():
    run(HAND_WRITTEN)
