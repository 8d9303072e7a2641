"""The command line: ``python -m spice demo``."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spice.errors import SpiceError
from spice.version import __version__

if TYPE_CHECKING:
    from spice.equations import Equation
    from spice.estimator import SpiceEstimator
    from spice.resources.bandits import AgentQ
    from spice.resources.dataset import DatasetRNN

STATE = "x_value_reward"
SIGMA = 0.2  # drift of the reward probabilities per trial


@dataclass(frozen=True)
class Scenario:
    """A simulated participant, and the data to recover it from.

    Attributes
    ----------
    name : str
        Name of the figure's file.
    title : str
        What is simulated, for the reader.
    alpha, beta, forget_rate : float
        Learning rate, inverse temperature and forgetting rate of the agent.
    n_sessions, n_trials : int
        Size of the data.
    """

    name: str
    title: str
    alpha: float
    beta: float
    forget_rate: float
    n_sessions: int
    n_trials: int


SCENARIOS = (
    Scenario("rescorla_wagner", "Learning rate 0.3, inverse temperature 3", 0.3, 3.0, 0.0, 100, 100),
    Scenario("forgetting", "The same with forgetting rate 0.2", 0.3, 3.0, 0.2, 50, 100),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default are those of the command line.

    Returns
    -------
    int
        Exit code: 0 for success, 1 for an error that was printed. Arguments that argparse cannot read end the
        program with code 2.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (SpiceError, OSError) as error:
        print(f"spice {arguments.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m spice", description="Find the equations behind choices.")
    parser.add_argument("--version", action="version", version=f"spice {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="simulate participants, recover their equations, draw one session",
        description="Simulate participants whose equations are known, fit them, and print discovered beside true "
        "equations. Takes less than a minute.",
    )
    demo.add_argument(
        "--out", type=Path, default=Path("demo_output"), help="folder for the figures (default: %(default)s)"
    )
    demo.add_argument("--seed", type=_seed, default=0, help="seed of simulation and fit (default: %(default)s)")
    demo.add_argument("--quick", action="store_true", help="a quarter of the trials: faster and less exact")
    demo.set_defaults(run=lambda arguments: run_demo(arguments.out, arguments.seed, arguments.quick))
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 2**63 - 1")
    return int(text)


def run_demo(out: Path, seed: int = 0, quick: bool = False) -> None:
    """Simulate, fit, print discovered beside true equations, and draw one session of each participant.

    Parameters
    ----------
    out : pathlib.Path
        Folder for the figures; made if there is none.
    seed : int, default 0
        Seed of simulation and fit.
    quick : bool, default False
        Whether to use a quarter of the trials.
    """
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    import spice.estimator
    import spice.utils.plotting

    print(f"imports: {time.perf_counter() - started:.1f} s", flush=True)
    files = []
    for number, scenario in enumerate(SCENARIOS, 1):
        n_trials = scenario.n_trials // (4 if quick else 1)
        print(f"\n{number}. {scenario.title}, {scenario.n_sessions} sessions x {n_trials} trials", flush=True)
        agent, dataset, estimator, seconds = _simulate_and_fit(scenario, n_trials, seed)
        print(_compare(scenario, estimator))
        drawing = time.perf_counter()
        agents = {"groundtruth": agent, "rnn": estimator.rnn_agent, "spice": estimator.spice_agent}
        figure, _ = spice.utils.plotting.plot_session(agents, dataset.xs[0], signals_to_plot=[STATE])
        files.append(out / f"{scenario.name}.png")
        figure.savefig(files[-1], dpi=100)
        seconds["figure"] = time.perf_counter() - drawing
        print("   seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()), flush=True)
    print("\nfigures (truth, network and equations over one session):")
    print("\n".join(f"   {path}" for path in files))
    print(f"total: {time.perf_counter() - started:.1f} s")


def _simulate_and_fit(
    scenario: Scenario, n_trials: int, seed: int
) -> "tuple[AgentQ, DatasetRNN, SpiceEstimator, dict[str, float]]":
    """Agent, its choices, the fitted estimator, and the seconds of each stage."""
    from spice.estimator import SpiceEstimator
    from spice.precoded import FORGETTING_RNN_CONFIG, RESCORLA_WAGNER_CONFIG, ForgettingRNN, RescorlaWagnerRNN
    from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset

    started = time.perf_counter()
    agent = AgentQ(beta_reward=scenario.beta, alpha_reward=scenario.alpha, forget_rate=scenario.forget_rate, seed=seed)
    environment = BanditsDrift(SIGMA, seed=seed)
    dataset, _, _ = create_dataset(agent, environment, n_trials, scenario.n_sessions, seed=seed)
    dataset.xs[..., dataset.columns.participant] = 0  # all sessions by one participant
    simulated = time.perf_counter() - started
    if scenario.forget_rate:
        estimator = SpiceEstimator(ForgettingRNN, FORGETTING_RNN_CONFIG, random_state=seed)
    else:
        estimator = SpiceEstimator(RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, random_state=seed)
    estimator.fit(dataset)
    seconds = {
        "simulation": simulated,
        "network": estimator.timing_["network"],
        "equations": estimator.timing_["sindy"],
        "refinement": estimator.timing_["refine"],
    }
    return agent, dataset, estimator, seconds


def _compare(scenario: Scenario, estimator: "SpiceEstimator") -> str:
    """Text with each discovered equation under the true one."""
    x0 = estimator.rnn_class.init_values[STATE]
    truth = true_equations(scenario.alpha, scenario.beta, scenario.forget_rate, x0=x0)
    found = estimator.equations_[0]
    lines = [
        f"   {who:<6}{equation}"
        for name, equation in found.items()
        for who, equation in (("true", truth[name]), ("found", equation))
    ]
    known = {"beta": scenario.beta, "alpha": scenario.alpha, "forgetting": scenario.forget_rate, "initial_value": 0.5}
    for name, entry in estimator.canonical_[0].estimates.items():
        lines.append(
            f"   {name:<14} true {known.get(name, 0.0):.2f}   found {entry.value:.2f}   "
            f"95 % interval [{entry.low:.2f}, {entry.high:.2f}]"
        )
    return "\n".join(lines)


def true_equations(
    alpha: float, beta: float, forget_rate: float = 0.0, q0: float = 0.5, x0: float = 0.5
) -> "dict[str, Equation]":
    r"""Equations of an ``AgentQ`` in the gauge in which a network's equations are printed.

    A network's state is :math:`x = \beta (Q - Q_0) + x_0`: its logits differ from :math:`\beta Q` by a constant, which
    choices do not show. Put into :math:`Q \leftarrow Q + \alpha (r - Q)` and
    :math:`Q \leftarrow Q + f (Q_0 - Q)` this gives, for the chosen option and the others,

    .. math:: x \leftarrow (\alpha x_0 - \alpha \beta Q_0) + (1 - \alpha) x + \alpha \beta r, \qquad
              x \leftarrow f x_0 + (1 - f) x .

    Parameters
    ----------
    alpha : float
        Learning rate.
    beta : float
        Inverse temperature.
    forget_rate : float, default 0
        Forgetting rate f of the options not chosen, towards their start value.
    q0 : float, default 0.5
        Start value of the agent's Q.
    x0 : float, default 0.5
        Start value of the network's state.

    Returns
    -------
    dict of str to Equation
        For the modules ``x_value_reward_chosen`` and ``x_value_reward_not_chosen``.
    """
    from spice.equations import Equation

    def equation(module: str, controls: tuple[str, ...], coefficients: dict[str, float]) -> Equation:
        return Equation(module, controls, {term: value for term, value in coefficients.items() if value})

    chosen, others = f"{STATE}_chosen", f"{STATE}_not_chosen"
    learning = {"1": alpha * (x0 - beta * q0), chosen: 1 - alpha, "c_reward": alpha * beta}
    forgetting = {"1": forget_rate * x0, others: 1 - forget_rate}
    return {chosen: equation(chosen, ("c_reward",), learning), others: equation(others, (), forgetting)}
