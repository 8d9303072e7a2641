"""Simulations, problems, structures by name, and an independent recursion that the tests of stage 3 share."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spice.inference.build import pose
from spice.inference.canonical import canonical_parameters
from spice.inference.likelihood import Likelihood
from spice.inference.limits import Limits
from spice.inference.moves import Moves
from spice.inference.refine import Refinement
from spice.inference.refit import Refit
from spice.inference.structure import Layout, Structures
from spice.precoded import BANDIT_CONFIG, RESCORLA_WAGNER_CONFIG, BanditRNN, RescorlaWagnerRNN
from spice.resources.bandits import AgentQ, BanditsDrift, create_dataset
from spice.resources.dataset import DatasetRNN

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
REPEATED, NOT_REPEATED = "x_value_choice_chosen", "x_value_choice_not_chosen"
STATES = ("x_value_reward", "x_value_choice")

# Agents: what makes them differ from Rescorla-Wagner
MECHANISMS = {
    "rescorla-wagner": {"alpha_reward": 0.3, "beta_reward": 3.0},
    "forgetting": {"alpha_reward": 0.3, "beta_reward": 4.0, "forget_rate": 0.3},
    "asymmetric rates": {"alpha_reward": 0.6, "alpha_penalty": 0.2, "beta_reward": 4.0},
    "perseveration": {"alpha_reward": 0.3, "beta_reward": 3.0, "beta_choice": 0.8},
    "slow choice trace": {"alpha_reward": 0.3, "beta_reward": 3.0, "beta_choice": 2.0, "alpha_choice": 0.3},
    "counterfactual": {"alpha_reward": 0.4, "beta_reward": 3.0, "alpha_counterfactual": 0.2},
}


def simulated(n_sessions=60, n_trials=100, seed=0, n_actions=2, reward="binary", **parameters) -> DatasetRNN:
    """Sessions of one participant, an AgentQ with these parameters."""
    agent = AgentQ(n_actions=n_actions, **parameters)
    shown = "alpha_counterfactual" in parameters
    task = BanditsDrift(n_actions=n_actions, sigma=0.2, counterfactual=shown, reward=reward)
    data, _, _ = create_dataset(agent, task, n_trials=n_trials, n_sessions=n_sessions, seed=seed)
    data.xs[..., -1] = 0
    return data


def with_outcomes(data: DatasetRNN, share: float = 0.5, seed: int = 0) -> DatasetRNN:
    """The same with the outcomes of some options that were not chosen."""
    xs, rng = data.xs.clone(), np.random.default_rng(seed)
    rewards, choices = xs[..., data.columns.reward], xs[..., data.columns.choice]
    shown = rewards.isnan() & (choices == 0) & torch.as_tensor(rng.random(rewards.shape) < share)
    rewards[shown] = torch.as_tensor(rng.normal(0.5, 0.5, int(shown.sum())), dtype=rewards.dtype)
    return data.replace(xs, data.ys)


def recursion(data, terms, biases=0.0, starts=(0.0, 0.0)) -> torch.Tensor:
    """Logits (n_sessions, n_trials, n_actions) of values and choice traces that these terms update.

    ``terms[module][term]`` are numbers or tensors; a state that no module updates stays; a missing trial changes
    nothing; an unknown reward leaves the chosen option's value as it is.
    """
    xs, n_actions = data.xs.double(), data.n_actions
    action, reward = xs[..., :n_actions], xs[..., n_actions : 2 * n_actions]
    received = torch.where(action == 1, reward, 0.0).sum(-1, keepdim=True).expand_as(action)
    states = {
        name: torch.full((len(xs), n_actions), start, dtype=torch.float64)
        for name, start in zip(STATES, starts, strict=True)
    }
    logits = []
    for t in range(xs.shape[1]):
        signals = {"c_reward": received[:, t].nan_to_num(0.0), "c_outcome": reward[:, t].nan_to_num(0.0)}
        for name, old in list(states.items()):
            new = old
            for role, where in (("chosen", action[:, t] == 1), ("not_chosen", action[:, t] == 0)):
                module = f"{name}_{role}"
                if module not in terms:
                    continue
                if module == LEARNT:
                    where = where & ~received[:, t].isnan()
                total = torch.zeros_like(old)
                for term, weight in terms[module].items():
                    product = torch.ones_like(old)
                    for factor in [] if term == "1" else term.split(" "):
                        signal, _, power = factor.partition("^")
                        product = product * (old if signal == module else signals[signal]) ** int(power or 1)
                    total = total + weight * product
                new = torch.where(where, total, new)
            states[name] = new
        logits.append(sum(states.values()) + biases)
    return torch.stack(logits, dim=1)


def nll_of(logits, data) -> torch.Tensor:
    """Negative log-likelihood of each session, shape (n_sessions,)."""
    scored = ~data.ys.isnan().any(-1)
    logits = torch.where(scored.unsqueeze(-1), logits, 0.0)
    return -(torch.log_softmax(logits, -1) * data.ys.double().nan_to_num(0.0)).sum((1, 2))


def terms_of(problem, coefficients, group=0) -> dict:
    """Coefficients by module and term, of inputs as they are; the search has (s - offset) / size in their place."""
    library = problem.library
    terms = {module.name: {} for module in library.modules}
    for number, name in enumerate(library.names):
        parts = [([], coefficients[number])]
        for factor in [] if name == "1" else name.split(" "):
            signal, _, power = factor.partition("^")
            for _ in range(int(power or 1)):
                if signal not in problem.units[group]:
                    parts = [([*factors, signal], weight) for factors, weight in parts]
                else:
                    unit = problem.units[group][signal]
                    parts = [([*factors, signal], weight / unit.size) for factors, weight in parts] + [
                        (factors, -weight * unit.offset / unit.size) for factors, weight in parts
                    ]
        of_module = terms[library.modules[library.module[number]].name]
        for factors, weight in parts:
            key = " ".join(factors) or "1"
            of_module[key] = of_module.get(key, 0.0) + weight
    return terms


def read(problem, layout, rows, numbers, group=0):
    """The canonical parameters of one structure, and what is unread."""
    return canonical_parameters(layout, problem, group, rows, numbers)


def number_of(layout, module, term) -> int:
    """Where the number of a module's term stands."""
    library = layout.library
    names = [entry.name for entry in library.modules]
    return next(n for n, name in enumerate(library.names) if name == term and library.module[n] == names.index(module))


def structure(layout, free=(), tied=("x_value_choice_not_chosen",)) -> Structures:
    """One row: free terms (module, term) and biases (by option); tied modules, usually the trace of the others."""
    row = np.zeros((1, layout.n_numbers), bool)
    for entry in free:
        row[0, layout.biases[entry] if isinstance(entry, int) else number_of(layout, *entry)] = True
    names = [module.name for module in layout.library.modules]
    return layout.with_starts(Structures(row, np.isin(names, list(tied))[None]))


def penalty(layout, fits) -> np.ndarray:
    """What the weak priors add, in nats: normal around 0 with standard deviation 10 logits, of starts 5.

    Factors of higher powers of a state have 1, its multipliers none.
    """
    sd = np.full(layout.n_numbers, 10.0)
    powers = [module_exponents[0] for module in layout.library.modules for module_exponents in module.exponents]
    sd[: len(powers)] = [{0: 10.0, 1: np.inf}.get(power, 1.0) for power in powers]
    sd[layout.starts] = 5.0
    return (np.where(fits.rows.free, fits.numbers / sd, 0.0) ** 2).sum(1) / 2


def pose_problem(data, model_class=BanditRNN, config=BANDIT_CONFIG, degree=1, n_threads=1, n_participants=1):
    """Everything between the data and a fit: problem, library, layout, likelihood, refit, moves."""
    torch.manual_seed(0)
    model = model_class.build(data.n_actions, n_participants, hidden_size=2).double()
    problem = pose(model, config, data, degree)
    layout, likelihood = Layout(problem.library), Likelihood(problem.library, problem.trials, n_threads)
    extent, told_apart = problem.met()
    limits = Limits(problem)
    allowed = np.zeros((len(told_apart), layout.n_numbers), bool)
    allowed[:, : problem.library.n_terms] = told_apart
    allowed[:, layout.biases] = True
    return SimpleNamespace(
        data=data,
        model=model,
        problem=problem,
        library=problem.library,
        layout=layout,
        likelihood=likelihood,
        limits=limits,
        refit=Refit(likelihood, layout, extent, limits),
        moves=Moves(layout, allowed[0]),
        allowed=allowed,
    )


def refinement_of(data, model_class=BanditRNN, config=BANDIT_CONFIG, degree=1, n_participants=1) -> Refinement:
    """A refinement around an untrained network."""
    torch.manual_seed(0)
    return Refinement(model_class.build(data.n_actions, n_participants, hidden_size=2).double(), config, data, degree)


@pytest.fixture(scope="session")
def mechanisms() -> dict:
    return MECHANISMS


@pytest.fixture(scope="session")
def helpers() -> SimpleNamespace:
    """The functions above."""
    return SimpleNamespace(
        simulated=simulated,
        with_outcomes=with_outcomes,
        recursion=recursion,
        nll_of=nll_of,
        terms_of=terms_of,
        read=read,
        number_of=number_of,
        structure=structure,
        penalty=penalty,
        pose_problem=pose_problem,
        refinement_of=refinement_of,
    )


@pytest.fixture(scope="session")
def searched():
    """The search's result for a mechanism: (refinement, refined), each simulated and searched once."""
    found = {}

    def search(name, n_actions=2, seed=0, n_sessions=60, **changes):
        key = (name, n_actions, seed, n_sessions, *changes.items())
        if key not in found:
            data = simulated(n_sessions, seed=seed, n_actions=n_actions, **MECHANISMS[name] | changes)
            refinement = refinement_of(data)
            found[key] = (refinement, refinement.run({0: None})[0], data)
        return found[key]

    return search


@pytest.fixture(scope="session")
def rescorla_wagner_fit():
    """100 x 100 trials of a Rescorla-Wagner agent, and the fit of its true structure in RescorlaWagnerRNN."""
    data = simulated(100, seed=0, alpha_reward=0.3, beta_reward=3.0)
    refinement = refinement_of(data, RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG)
    return refinement, refinement.run({0: None})[0], data
