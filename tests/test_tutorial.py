"""The tutorial script, verbatim, as a new user types it; and the notebooks that tell it."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SCRIPT = """\
import numpy as np, torch
np.random.seed(42); torch.manual_seed(42)
from spice.resources.bandits import BanditsDrift, AgentQ, create_dataset
environment = BanditsDrift(sigma=0.2, n_actions=2)
environment.reward_probs; environment.step(choice=0)
agent = AgentQ(n_actions=2, alpha_reward=0.3)
dataset, experiments, parameters = create_dataset(agent=agent, environment=environment, n_trials=100, n_sessions=100)
dataset.xs[..., -1] = 0                      # one participant
from spice.utils.plotting import plot_session
fig, axs = plot_session(agents={'groundtruth': agent}, experiment=dataset.xs[0], signals_to_plot=['x_value_reward'])
from spice.estimator import SpiceEstimator, SpiceConfig
from spice.precoded import RescorlaWagnerRNN, RESCOLA_WAGNER_CONFIG
spice_estimator = SpiceEstimator(rnn_class=RescorlaWagnerRNN, spice_config=RESCOLA_WAGNER_CONFIG, learning_rate=1e-2, epochs=1024, verbose=False)
spice_estimator.fit(dataset.xs, dataset.ys)
spice_estimator.print_spice_model()
agents = {'groundtruth': agent, 'rnn': spice_estimator.rnn_agent, 'spice': spice_estimator.spice_agent}
fig, axs = plot_session(agents, dataset.xs[0], signals_to_plot=['x_value_reward'])

from spice.resources.rnn import BaseRNN
class CustomRNN(BaseRNN):
    init_values = {'x_value_reward': 0.5}
    def __init__(self, n_actions, **kwargs):
        super(CustomRNN, self).__init__(n_actions=n_actions)
        self.submodules_rnn['x_value_reward_chosen'] = self.setup_module(input_size=1)
    def forward(self, inputs, prev_state=None, batch_first=False):
        inputs, ids, logits, timesteps = self.init_forward_pass(inputs, prev_state, batch_first)
        actions, rewards, _, _ = inputs
        for timestep, action, reward in zip(timesteps, actions, rewards):
            self.record_signal('c_action', action)
            self.record_signal('c_reward', reward)
            self.record_signal('x_value_reward_chosen', self.state['x_value_reward'])
            next_chosen = self.call_module(key_module='x_value_reward_chosen', key_state='x_value_reward', action=action, inputs=reward)
            next_not_chosen = self.state['x_value_reward'] * (1 - action)
            self.state['x_value_reward'] = next_chosen + next_not_chosen
            logits[timestep] = self.state['x_value_reward']
        logits = self.post_forward_pass(logits, batch_first)
        return logits, self.get_state()
custom_config = SpiceConfig(
    rnn_modules=['x_value_reward_chosen'],
    control_parameters=['c_action', 'c_reward'],
    library_setup={'x_value_reward_chosen': ['c_reward']},
    filter_setup={'x_value_reward_chosen': ['c_action', 1, True]},   # also a list of such triplets
)
custom = SpiceEstimator(rnn_class=CustomRNN, spice_config=custom_config, learning_rate=1e-2, epochs=1024)
custom.fit(dataset.xs, dataset.ys)
custom.print_spice_model()
spice_estimator.save_spice(path_rnn='rnn_model.pkl', path_spice='spice_model.pkl')
loaded = SpiceEstimator(rnn_class=CustomRNN, spice_config=custom_config)
loaded.load_spice(path_rnn='rnn_model.pkl', path_spice='spice_model.pkl')
prob_rnn, prob_spice = loaded.predict(dataset.xs)      # each (n_sessions, n_trials, n_actions), rows sum to 1
"""  # noqa: E501

NUMBER = r"\d+\.\d\d"
LINE = re.compile(
    rf"\(x_value_reward_chosen\)\[k\+1\] = (-?{NUMBER}) 1 "
    rf"\+ ({NUMBER}) x_value_reward_chosen\[k\] \+ ({NUMBER}) c_reward\[k\]"
)
TUTORIALS = Path(__file__).parent.parent / "tutorials"


@pytest.fixture
def random_state():
    """Restores the global random states that the script seeds."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    np.random.set_state(state)


@pytest.fixture
def run_script(random_state, tmp_path, monkeypatch):
    """Runs a script in an empty folder, without a display; returns its names."""
    monkeypatch.chdir(tmp_path)
    import matplotlib.pyplot as plt

    def run(script: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(script, "tutorial", "exec"), names)
        return names

    with plt.rc_context({"backend": "agg"}):
        yield run
        plt.close("all")


def check(names: dict[str, Any], printed: str) -> list[list[float]]:
    """What must hold after the script however few epochs it had; returns the printed coefficients."""
    lines = [line for line in printed.splitlines() if ")[k+1] = " in line]
    assert len(lines) == 2, printed
    assert printed.count("Q ← Q + ") == 2
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), printed
    dataset, loaded, original = names["dataset"], names["loaded"], names["spice_estimator"]
    assert len(names["experiments"]) == len(names["parameters"]) == len(dataset)
    assert len(names["axs"]) == 3
    for probabilities, expected in zip(
        (names["prob_rnn"], names["prob_spice"]), original.predict(dataset.xs), strict=True
    ):
        assert probabilities.shape == (len(dataset), 100, 2)
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-12)
        np.testing.assert_array_equal(probabilities, expected)
    assert {path.name for path in Path().iterdir()} == {"rnn_model.pkl", "spice_model.pkl"}
    assert type(loaded.rnn_model_).__name__ == "CustomRNN"
    assert loaded.equations_[0]["x_value_reward_chosen"] == original.equations_[0]["x_value_reward_chosen"]
    return [[float(number) for number in match.groups()] for match in matches]


@pytest.mark.filterwarnings("ignore::spice.errors.ConvergenceWarning")
def test_script_runs_as_typed_on_small_settings(run_script, capsys):
    small = SCRIPT.replace("epochs=1024", "epochs=20").replace("n_sessions=100", "n_sessions=20")
    check(run_script(small), capsys.readouterr().out)


@pytest.mark.slow
def test_script_finds_the_agent(run_script, capsys):
    for coefficients in check(run_script(SCRIPT), capsys.readouterr().out):
        assert np.all(np.abs(np.subtract(coefficients, (-0.3, 0.7, 0.9))) <= (0.17, 0.05, 0.10)), coefficients


@pytest.mark.parametrize("name", ["0_your_data.ipynb", "1_rescorla_wagner.ipynb"])
def test_notebooks_are_stored_with_clean_outputs(name):
    notebook = json.loads((TUTORIALS / name).read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert [output for output in outputs if "image/png" in output.get("data", {})]
    assert os.path.getsize(TUTORIALS / name) < 500_000
