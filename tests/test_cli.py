"""The command line: what it prints and writes, its exit codes, and the true equations it compares with."""

import re
import subprocess
import sys

import numpy as np
import pytest

from spice import __version__
from spice.cli import main, true_equations
from spice.resources.agents import replay
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset

COEFFICIENTS = re.compile(r"-?\d\.\d\d")


@pytest.fixture(autouse=True)
def headless(monkeypatch):
    """No display, and no figure left open."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.delenv("DISPLAY", raising=False)
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_true_equations_of_the_tutorial_agent():
    equations = true_equations(alpha=0.3, beta=3.0)
    chosen = equations["x_value_reward_chosen"].coefficients
    assert chosen == pytest.approx({"1": -0.30, "x_value_reward_chosen": 0.70, "c_reward": 0.90})
    assert equations["x_value_reward_not_chosen"].coefficients == {"x_value_reward_not_chosen": 1.0}


def test_true_equations_with_forgetting():
    coefficients = true_equations(alpha=0.3, beta=3.0, forget_rate=0.2)["x_value_reward_not_chosen"].coefficients
    assert coefficients == pytest.approx({"1": 0.10, "x_value_reward_not_chosen": 0.80})


@pytest.mark.parametrize(("q0", "x0"), [(0.5, 0.5), (0.2, 0.0), (0.0, 1.0)])
def test_true_equations_give_the_agents_logits(q0, x0):
    """Run by hand on an agent's session, they give its logits but for a constant per trial."""
    alpha, beta, forget_rate = 0.25, 4.0, 0.15
    agent = AgentQ(alpha_reward=alpha, beta_reward=beta, forget_rate=forget_rate, start=q0)
    dataset, _, _ = create_dataset(agent, BanditsDrift(0.2, seed=1), n_trials=40, n_sessions=1, seed=2)
    equations = true_equations(alpha, beta, forget_rate, q0, x0)
    (of_one, (name_one, name_reward)), (of_others, (name_others,)) = (
        (entry.coefficients, entry.features) for entry in equations.values()
    )
    value, logits = np.full(2, x0), []
    for choice, reward in zip(dataset.xs[0, :, :2].numpy(), dataset.xs[0, :, 2:4].nan_to_num().numpy(), strict=True):
        logits.append(value)
        chosen = of_one.get("1", 0.0) + of_one[name_one] * value + of_one[name_reward] * reward
        others = of_others.get("1", 0.0) + of_others[name_others] * value
        value = np.where(choice == 1, chosen, others)
    expected = replay(agent, dataset.xs[0]).logits
    difference = np.array(logits) - expected[: len(logits)]
    np.testing.assert_allclose(difference, difference[:, :1] * np.ones(2), atol=1e-6)


def test_demo_prints_discovered_beside_true_equations(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "new" / "folder"), "--quick"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    true = [line for line in lines if line.startswith("   true  (x_value_reward")]
    found = [line for line in lines if line.startswith("   found (x_value_reward")]
    assert true[0] == (
        "   true  (x_value_reward_chosen)[k+1] = -0.30 1 + 0.70 x_value_reward_chosen[k] + 0.90 c_reward[k]"
    )
    assert true[2] == "   true  (x_value_reward_not_chosen)[k+1] = 0.10 1 + 0.80 x_value_reward_not_chosen[k]"
    assert len(true) == len(found) == 3
    numbers = [float(number) for number in COEFFICIENTS.findall(found[0])]
    np.testing.assert_allclose(numbers, [-0.3, 0.7, 0.9], atol=0.25)
    assert (
        len(
            re.findall(
                r"seconds: simulation [\d.]+, network [\d.]+, equations [\d.]+, refinement [\d.]+, figure [\d.]+", text
            )
        )
        == 2
    )
    figures = sorted((tmp_path / "new" / "folder").iterdir())
    assert [figure.name for figure in figures] == ["forgetting.png", "rescorla_wagner.png"]
    for figure in figures:
        assert figure.read_bytes().startswith(b"\x89PNG")
        assert str(figure) in lines[-3] + lines[-2]


def test_a_folder_that_cannot_be_made_is_an_error_on_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file" / "folder")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("spice demo: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fit"], "invalid choice: 'fit'"),
        (["demo", "--seed", "-1"], "-1 is not a whole number from 0 to 2**63 - 1"),
        (["demo", "--seed", "x"], "x is not a whole number from 0 to 2**63 - 1"),
    ],
)
def test_wrong_arguments_exit_with_two(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_module_runs_and_knows_its_version():
    run = subprocess.run(
        [sys.executable, "-m", "spice", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == f"spice {__version__}\n"


def test_importing_the_package_and_its_command_line_is_light():
    heavy = "{'torch', 'pysindy', 'pandas', 'matplotlib', 'numpy'}"
    code = f"import sys, spice.cli; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
