"""Simulation-based calibration of NUTS (Talts, Betancourt, Simpson, Vehtari & Gelman 2018, arXiv:1804.06788).

Truths are drawn from the prior, choices simulated and fitted; the truth's rank among draws of the posterior must be
uniform. Compared with uniform ranks: chi-square of the histogram, and simultaneous bands of the empirical distribution
function. ``inference.py --only sbc``.

- example 2: 150 choices of one person on a two-armed bandit, alpha ~ beta(1, 1), beta ~ half_normal(10).
- small 3a: a few people and trials of the flat model, with the third example's priors; ranks of the population's means
  and standard deviations and of the first person's parameters.

Of each run 99 draws are kept, at equal distances; if they are worth fewer independent ones, the run is repeated with
four times as many.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference_models import draw, play
from inference_scores import rank, uniform
from joblib import Parallel, delayed

from spice.equations import Parameter
from spice.equations.priors import read_prior
from spice.errors import SpiceWarning
from spice.inference import fit
from spice.precoded import flat_aliens, rescorla_wagner
from spice.resources.bandits import AlienTask, BanditsFixed
from spice.resources.tasks import ALIEN_REWARDS

KEPT, LONGER = 99, 4
SEASONS, SMALL_ALIENS = 2, 2
CASES = ("example 2", "small 3a")
PRIORS = {"alpha": "beta(1, 1)", "beta": "half_normal(10)"}


def example_2(rng: np.random.Generator, n_trials: int) -> tuple[Any, Any, dict[str, float], dict[str, str]]:
    """Model, data, truth by the names of draws, and settings of one run."""
    model = rescorla_wagner()
    own = {"alpha": Parameter(0, 1, prior=PRIORS["alpha"]), "beta": Parameter(0, prior=PRIORS["beta"])}
    model = model.replace(parameters=own)
    values = np.array([[read_prior(PRIORS[name]).sample(rng, 1)[0] for name in own]])
    dataset = play(model, BanditsFixed([0.4, 0.6]), values, n_trials, rng)
    return model, dataset, dict(zip(own, values[0], strict=True)), {"pooling": "none"}


def small_3a(
    rng: np.random.Generator, n_trials: int, n_people: int
) -> tuple[Any, Any, dict[str, float], dict[str, str]]:
    """The same of the third example, small."""
    model = flat_aliens(SEASONS, SMALL_ALIENS)
    drawn = {
        name: tuple(float(read_prior(text).sample(rng, 1)[0]) for text in (p.mean_prior, p.sd_prior))
        for name, p in model.parameters.items()
    }
    values = draw(model, drawn, n_people, rng)
    task = AlienTask(np.array(ALIEN_REWARDS)[:SEASONS, :SMALL_ALIENS], block_length=max(n_trials // 4, 1))
    truth = {f"{name}_{kind}": drawn[name][k] for k, kind in enumerate(("mean", "sd")) for name in drawn}
    truth |= {f"{name}[0]": float(value) for name, value in zip(drawn, values[0], strict=True)}
    return model, play(model, task, values, n_trials, rng), truth, {"pooling": "partial"}


def one_run(case: str, seed: int, size: dict[str, int], draws: int, **settings: Any) -> dict[str, Any]:
    """Ranks of one run's truths.

    Parameters
    ----------
    case : str
        Of `CASES`.
    seed : int
        Of truths, choices and sampler.
    size : dict
        ``n_trials``, and with the third example ``n_people``.
    draws : int
        Of each of four chains, and as many before.
    **settings
        Further ones of the sampler.
    """
    torch.set_num_threads(1)
    rng = np.random.default_rng([CASES.index(case), seed])
    model, dataset, truth, own = (example_2 if case == "example 2" else small_3a)(rng, **size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        for times in (1, LONGER):
            result = fit(
                model, dataset, "nuts", draws=times * draws, tune=draws, seed=seed, n_threads=1, **own, **settings
            )
            worth = result.diagnostics["ess_bulk"].reindex([n for n in result.diagnostics.index if known(n, truth)])
            if worth.min() >= KEPT:
                break
    return {
        "seed": seed,
        "ranks": {name: rank(value, draws_of(result, name), KEPT) for name, value in truth.items()},
        "truth": truth,
        "ess": float(worth.min()),
        "r_hat": float(result.diagnostics["r_hat"].max()),
        "divergences": result.n_divergences,
        "repeated": times > 1,
    }


def known(name: str, truth: dict[str, float]) -> bool:
    """Whether a variable of the diagnostics has a truth, and so a rank."""
    return name in truth or name.partition("[")[0] in truth


def draws_of(result: Any, name: str) -> np.ndarray:
    """All draws of a variable, chain after chain; ``alpha[0]`` is the first person's, and so is ``alpha`` of one."""
    values = result.posterior[name.partition("[")[0]]
    return (values[..., 0] if values.ndim == 3 else values).ravel()


def run(
    n_runs: int, sizes: dict[str, dict[str, int]], jobs: int, draws: int = 1000, figure: Path | None = None
) -> dict[str, Any]:
    """Rank, test, print a table, draw.

    Parameters
    ----------
    n_runs : int
        Of each case.
    sizes : dict
        By case: what is simulated.
    jobs : int
        Processes, of one thread each.
    draws : int
        Of each chain.
    figure : Path, optional
        PNG of the histograms.
    """
    out: dict[str, Any] = {"runs": n_runs, "kept": KEPT, "cases": {}}
    for case, size in sizes.items():
        runs = Parallel(n_jobs=jobs)(delayed(one_run)(case, seed, size, draws) for seed in range(n_runs))
        ranks = {name: np.array([entry["ranks"][name] for entry in runs]) for name in runs[0]["ranks"]}
        out["cases"][case] = entry = {"size": size, "draws": draws, "runs": runs}
        entry["parameters"] = {name: uniform(values, KEPT) for name, values in ranks.items()}
        entry["least_ess"] = min(r["ess"] for r in runs)
        entry["runs_with_too_few"] = sum(r["ess"] < KEPT for r in runs)
        entry["repeated"] = sum(r["repeated"] for r in runs)
        entry["with_divergences"] = sum(r["divergences"] > 0 for r in runs)
        entry["largest_r_hat"] = max(r["r_hat"] for r in runs)
        show(case, entry)
    tests = [found for entry in out["cases"].values() for found in entry["parameters"].values()]
    out["least_p"] = min(min(found["p"], found["p_ecdf"]) for found in tests)
    out["tests"] = 2 * len(tests)
    print(f"least of {out['tests']} p-values: {out['least_p']:.4f} (Bonferroni at .05: {0.05 / out['tests']:.4f})")
    if figure is not None:
        draw_histograms(out, figure)
    return out


def show(case: str, entry: dict[str, Any]) -> None:
    """A table of one case."""
    print(
        f"\n{case}, {len(entry['runs'])} runs of {entry['size']}; least ESS {entry['least_ess']:.0f}, "
        f"{entry['repeated']} repeated, {entry['runs_with_too_few']} below {KEPT} after that, "
        f"{entry['with_divergences']} with divergences"
    )
    for name, found in entry["parameters"].items():
        print(f"  {name:<14} chi-square p {found['p']:.3f}, ECDF p {found['p_ecdf']:.3f}, mean {found['mean']:.3f}")


def draw_histograms(out: dict[str, Any], path: Path) -> None:
    """Rank histograms with the 95 % band of each bin, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from scipy import stats

    panels = [(case, n, f) for case, entry in out["cases"].items() for n, f in entry["parameters"].items()]
    columns = min(4, len(panels))
    shape = -(-len(panels) // columns), columns
    figure, axes = pyplot.subplots(*shape, figsize=(3 * columns, 2.2 * shape[0]), squeeze=False)
    for axis, (case, name, found) in zip(axes.flat, panels, strict=False):
        n_bins = len(found["histogram"])
        band = stats.binom.interval(0.95, found["n"], 1 / n_bins)
        axis.bar(range(n_bins), found["histogram"], width=1, color="0.6")
        axis.axhspan(*band, color="tab:blue", alpha=0.2)
        axis.set_title(f"{case}: {name} (p {found['p']:.2f}, {found['p_ecdf']:.2f})", fontsize=8)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    figure.supxlabel(f"rank of the truth among {KEPT} draws, in bins", fontsize=9)
    figure.supylabel("runs", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
