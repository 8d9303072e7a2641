"""What ``inference_peers.py`` runs in processes of their own, in the peers' environments: one timed job each.

    python benchmarks/inference_peer_jobs.py JOB

JOB is a JSON text with ``job`` and the job's arguments; the answer is a line of JSON on standard output. Nothing here
imports SPICE. Every job says what it found beside how long it took, so that a fast wrong answer shows.
"""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # -I leaves the script's own folder out

from inference_data import PRIOR, TRUE, example_two, nll


def clock() -> Callable[[], dict[str, float]]:
    """Start a clock; called, it tells ``seconds`` and ``cpu_seconds`` (those of compilers that ended included)."""
    begin, cpu = time.perf_counter(), sum(os.times()[:4])
    return lambda: {"seconds": time.perf_counter() - begin, "cpu_seconds": sum(os.times()[:4]) - cpu}


def versions(job: dict[str, Any]) -> dict[str, Any]:
    """Versions of Python and of the packages that are named."""
    return {"python": sys.version.split()[0]} | {name: metadata.version(name) for name in job["packages"]}


# ---------------------------------------------------------------------- PyMC


def pymc(job: dict[str, Any]) -> dict[str, Any]:
    """The second example as in PyMC's gallery: a scan over trials, sampled by NUTS, one chain at a time.

    Parameters
    ----------
    job : dict
        ``pointwise``: whether the likelihood is a Bernoulli (with pointwise log-likelihood and PSIS-LOO) or a
        potential; ``sampler``: "pymc", its own, or "nutpie", which compiles the gradient with numba; ``draws``
        (warm-up and kept, each), ``chains``, ``seed``.

    Returns
    -------
    dict
        Mean, standard deviation, their Monte-Carlo errors, effective sample sizes and R-hat of each parameter;
        divergences; seconds from this function's start (imports included) and of the sampling alone.
    """
    took = clock()
    import arviz
    import pymc as pm
    import pytensor
    import pytensor.tensor as pt

    choices, rewards = example_two()

    def learn(choice: Any, reward: Any, q: Any, alpha: Any) -> Any:
        return pt.set_subtensor(q[choice], q[choice] + alpha * (reward - q[choice]))

    with pm.Model():
        alpha = pm.Beta("alpha", alpha=1, beta=1)
        beta = pm.HalfNormal("beta", sigma=10)
        sequences = [pt.as_tensor_variable(column, dtype="int32") for column in (choices, rewards)]
        start = 0.5 * pt.ones((2,), dtype="float64")
        q = pytensor.scan(learn, sequences=sequences, outputs_info=[start], non_sequences=[alpha], return_updates=False)
        logits = q[:-1] * beta
        log_p = logits - pt.logsumexp(logits, axis=1, keepdims=True)
        if job["pointwise"]:
            pm.Bernoulli("choice", p=pt.exp(log_p[:, 1]), observed=choices[1:])
        else:
            pm.Potential("choice", log_p[pt.arange(len(choices) - 1), choices[1:]].sum())
        sampling = time.perf_counter()
        idata = pm.sample(
            draws=job["draws"],
            tune=job["draws"],
            chains=job["chains"],
            cores=1,
            nuts_sampler=job["sampler"],
            random_seed=job["seed"],
            progressbar=False,
        )
        answer: dict[str, Any] = took() | {"sampling_seconds": time.perf_counter() - sampling}
        if job["pointwise"]:
            pm.compute_log_likelihood(idata, progressbar=False)
            loo = arviz.loo(idata)
            answer |= {"elpd_loo": float(loo.elpd_loo), "p_loo": float(loo.p_loo), "elpd_se": float(loo.se)}
    answer["reported_sampling_seconds"] = float(idata.posterior.attrs.get("sampling_time", math.nan))
    answer["divergences"] = int(idata.sample_stats.diverging.sum())
    answer["parameters"] = _figures(idata)
    answer["ess"] = min(entry["ess_bulk"] for entry in answer["parameters"].values())
    return answer | {"ess_per_second": answer["ess"] / answer["seconds"]}


def _figures(idata: Any) -> dict[str, dict[str, float]]:
    """Posterior means and standard deviations with their Monte-Carlo errors, effective sample sizes, R-hat."""
    import arviz

    table = arviz.summary(idata, var_names=["alpha", "beta"], round_to="none")
    names = ["mean", "sd", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]
    return {name: {key: float(table.loc[name, key]) for key in names} for name in table.index}


# ---------------------------------------------------------------------- SciPy


def mle(job: dict[str, Any]) -> dict[str, Any]:
    """The second example's likelihood at the true values, and its maximum by SciPy without gradients."""
    from scipy import optimize

    choices, rewards = example_two()

    def value(x: np.ndarray) -> float:
        return float(nll(x[0], x[1], choices, rewards))

    at_truth = value(np.array(TRUE))
    took = clock()
    found = optimize.minimize(value, TRUE, method="BFGS")
    return took() | {
        "nll_at_truth": at_truth,
        "alpha": float(found.x[0]),
        "beta": float(found.x[1]),
        "nll": float(found.fun),
        "evaluations": int(found.nfev),
    }


def one_person(theta: np.ndarray, choices: list[int], rewards: list[int]) -> float:
    """Negative log posterior density of one person, trial by trial, as people write it.

    Parameters
    ----------
    theta : np.ndarray, shape (2,)
        logit(alpha) and log(beta).
    choices, rewards : list of int
        One person's.
    """
    logit, log_beta = float(theta[0]), float(theta[1])
    alpha = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    beta = math.exp(min(log_beta, 50.0))
    q, total = [0.5, 0.5], 0.0
    for choice, reward, following in zip(choices, rewards, choices[1:], strict=False):
        q[choice] += alpha * (reward - q[choice])
        away = beta * (q[1 - following] - q[following])
        total += away + math.log1p(math.exp(-away)) if away > 0 else math.log1p(math.exp(away))
    for value, (mean, sd) in zip((logit, log_beta), PRIOR, strict=True):
        total += 0.5 * ((value - mean) / sd) ** 2 + math.log(sd) + 0.5 * math.log(2 * math.pi)
    return total


def scipy(job: dict[str, Any]) -> dict[str, Any]:
    """MAP of everybody, one after the other, by SciPy without gradients, one start.

    Parameters
    ----------
    job : dict
        ``data`` (npz file of ``choices`` and ``rewards``), ``people`` (list: the first so many), ``methods``.

    Returns
    -------
    dict
        For each method and number of people: seconds, evaluations, the mean of alpha, beta and the objective, how many
        ended with success.
    """
    from scipy import optimize

    with np.load(job["data"]) as data:
        sessions = list(zip(data["choices"].tolist(), data["rewards"].tolist(), strict=True))
    start = np.array([mean for mean, _ in PRIOR])
    answer: dict[str, Any] = {}
    for method in job["methods"]:
        for people in job["people"]:
            took = clock()
            found = [optimize.minimize(one_person, start, args=session, method=method) for session in sessions[:people]]
            figures = took()
            theta = np.array([entry.x for entry in found])
            answer[f"{method} {people}"] = figures | {
                "evaluations": int(sum(entry.nfev for entry in found)),
                "alpha": float((1 / (1 + np.exp(-theta[:, 0]))).mean()),
                "beta": float(np.exp(theta[:, 1]).mean()),
                "objective": float(np.mean([entry.fun for entry in found])),
                "successes": int(sum(entry.success for entry in found)),
            }
    return answer


# ---------------------------------------------------------------------- packages that fit by EM


def cpm(job: dict[str, Any]) -> dict[str, Any]:
    """Hierarchical EM of cpm-toolbox (Gershman 2016), its own Rescorla-Wagner (compiled before time counts), one chain.

    Its people are truncated normal on the natural scale; it starts at alpha .5 and beta 5, within [0, 1] and [0, 20].

    Parameters
    ----------
    job : dict
        ``data`` (npz file), ``people``, ``tolerance`` (change of the log evidence), ``iterations`` (at most).
    """
    import pandas as pd
    from cpm.applications.reinforcement_learning import RLRW
    from cpm.hierarchical import EmpiricalBayes
    from cpm.optimisation import FminBound, minimise

    with np.load(job["data"]) as data:
        choices, rewards = data["choices"][: job["people"]], data["rewards"][: job["people"]]
    n_people, n_trials = choices.shape
    table = pd.DataFrame({"ppt": np.repeat(np.arange(n_people), n_trials), "response": choices.ravel()})
    for arm in (0, 1):
        table[f"arm_{arm}"] = arm
        table[f"reward_{arm}"] = rewards.ravel()  # it reads the chosen arm's
    table["observed"] = table["response"]

    def fit(people: int, iterations: int) -> Any:
        np.random.seed(1)
        optimiser = FminBound(
            model=RLRW(data=table[table.ppt == 0], dimensions=2, parameters_settings=[[0.5, 0, 1], [5, 0, 20]]),
            data=table[table.ppt < people].groupby("ppt"),
            initial_guess=None,
            number_of_starts=1,
            minimisation=minimise.LogLikelihood.bernoulli,
            parallel=False,
            prior=True,
            ppt_identifier="ppt",
            display=False,
            approx_grad=True,
        )
        settings = {"tolerance": job["tolerance"], "chain": 1, "quiet": True, "start": "prior_mean"}
        em = EmpiricalBayes(optimiser=optimiser, iteration=iterations, **settings)
        em.optimise()
        return em

    fit(2, 1)  # compiles
    took = clock()
    em = fit(n_people, job["iterations"])
    figures = took()
    people = em.fit[em.fit.iteration == em.fit.iteration.max()]
    return figures | {
        "iterations": int(em.fit.iteration.max()),
        "converged": int(em.fit.iteration.max()) < job["iterations"],
        "population": em.output[0]["hyperparameters"],
        "log_evidence": float(em.output[0]["lme"][-1]),
        "alpha": people.alpha.tolist(),
        "beta": people.temperature.tolist(),
    }


def pyem(job: dict[str, Any]) -> dict[str, Any]:
    """Hierarchical EM of pyEM (after Huys et al. 2011), its own Rescorla-Wagner and defaults, in one process.

    Its people are normal on logit(alpha) and on the logit of beta / 20; its Hessian is that of BFGS.

    Parameters
    ----------
    job : dict
        ``data`` (npz file), ``people``, ``iterations`` (at most).
    """
    from pyem.api import EMModel
    from pyem.models.rl_mf import rw1a1b_fit
    from pyem.utils.math import norm2alpha, norm2beta

    with np.load(job["data"]) as data:
        choices, rewards = data["choices"][: job["people"]], data["rewards"][: job["people"]]
    sessions = [
        [np.where(choice == 0, "A", "B")[None], reward[None].astype(float)]
        for choice, reward in zip(choices, rewards, strict=True)
    ]
    took = clock()
    model = EMModel(sessions, rw1a1b_fit, ["beta", "alpha"], [norm2beta, norm2alpha])
    found = model.fit(verbose=0, njobs=1, seed=1, mstep_maxit=job["iterations"])
    figures = took()
    people = model.subject_params()
    return figures | {
        "converged": bool(found.convergence),
        "population": {
            "names": ["logit(beta / 20)", "logit(alpha)"],
            "mean": np.ravel(found.posterior_mu).tolist(),
            "sd": np.sqrt(np.ravel(found.posterior_sigma)).tolist(),
        },
        "alpha": people[:, 1].tolist(),
        "beta": people[:, 0].tolist(),
    }


# ---------------------------------------------------------------------- torch


def torch(job: dict[str, Any]) -> dict[str, Any]:
    """Log-likelihood and gradient of everybody by torch's autograd: all people at once, a loop over trials, float64.

    Parameters
    ----------
    job : dict
        ``data`` (npz file), ``repeats`` (after a first call that does not count).
    """
    import torch as pytorch

    pytorch.set_num_threads(1)
    with np.load(job["data"]) as data:
        choices, rewards = (pytorch.as_tensor(data[name]) for name in ("choices", "rewards"))
    one_hot = pytorch.nn.functional.one_hot(choices, 2).double()
    chosen, reward = one_hot.unbind(1), rewards.double()[..., None].unbind(1)  # indexing would cost more backwards
    alpha = pytorch.full((len(choices), 1), 0.4, dtype=pytorch.float64, requires_grad=True)
    beta = pytorch.full((len(choices), 1), 3.0, dtype=pytorch.float64, requires_grad=True)

    def once() -> tuple[Any, Any]:
        q = pytorch.full((len(choices), 2), 0.5, dtype=pytorch.float64)
        values = []
        for own, brought in zip(chosen[:-1], reward[:-1], strict=True):
            q = q + alpha * own * (brought - q)
            values.append(q)
        logits = beta[:, None] * pytorch.stack(values, 1)
        total = -(pytorch.log_softmax(logits, -1) * one_hot[:, 1:]).sum()
        return total, pytorch.autograd.grad(total, (alpha, beta))

    total, gradient = once()
    seconds = []
    for _ in range(job["repeats"]):
        begin = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - begin)
    return {
        "seconds": float(np.median(seconds)),
        "all_seconds": seconds,
        "nll": float(total.detach()),
        "gradient": [float(entry.sum()) for entry in gradient],
    }


JOBS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    work.__name__: work for work in (versions, pymc, mle, scipy, cpm, pyem, torch)
}


def main() -> None:
    """Do the job."""
    job = json.loads(sys.argv[1])
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the answer
        answer = JOBS[job["job"]](job)
    if job["job"] != "versions":
        answer["process_cpu_seconds"] = sum(os.times()[:4])
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
