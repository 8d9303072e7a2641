"""What EM finds: a normal population, and everybody's approximate posterior."""

from dataclasses import dataclass

import numpy as np

from spice.inference.fitting.population import Design, Population


@dataclass(frozen=True)
class EMFit:
    """A normal population and everybody's approximate posterior, on the unconstrained scale.

    Attributes
    ----------
    theta : np.ndarray, shape (n_people, n_parameters)
        Posterior means (modes by Laplace's approximation); the population's mean for people without data.
    conditional : np.ndarray, shape (n_people, n_parameters, n_parameters)
        Posterior covariances, were the population known; its own for people without data.
    covariances : np.ndarray, shape (n_people, n_parameters, n_parameters)
        The same, with what not knowing the population adds to first order (Kass & Steffey 1989).
    nll : np.ndarray, shape (n_people,)
        Negative log-likelihood at ``theta``, nats.
    log_evidence : np.ndarray, shape (n_people,)
        Log of the likelihood integrated over the fitted population.
    population : Population
        Means, spreads and effects of regressors, with standard errors.
    coefficients : np.ndarray, shape (n_columns, n_parameters)
        B: effects of the design's columns on the means.
    covariance : np.ndarray, shape (n_parameters, n_parameters)
        S: of people around what regressors predict.
    design : Design
        Regressors.
    converged : np.ndarray of bool, shape (n_people,)
        Whether the population's numbers and this person's mode have converged.
    reason : np.ndarray of str, shape (n_people,)
        ``"converged"``, or why not; ``"no scored choices"``.
    starts : np.ndarray, shape (n_people,)
        Share of starts that ended in the best mode found.
    n_iterations : int
        EM iterations.
    change : float
        What the last of them would have changed, in the units of `fit_em`'s tolerance.
    n_numbers : int
        Numbers that describe the population.
    n_trials : int
        Scored choices of all people.
    """

    theta: np.ndarray
    conditional: np.ndarray
    covariances: np.ndarray
    nll: np.ndarray
    log_evidence: np.ndarray
    population: Population
    coefficients: np.ndarray
    covariance: np.ndarray
    design: Design
    converged: np.ndarray
    reason: np.ndarray
    starts: np.ndarray
    n_iterations: int
    change: float
    n_numbers: int
    n_trials: int

    @property
    def ibic(self) -> float:
        """Integrated BIC: -2 log evidence of all people, and log(choices) for each of the population's numbers.

        Huys et al. (2011).
        """
        return float(-2 * self.log_evidence.sum() + self.n_numbers * np.log(max(self.n_trials, 1)))

    def summary(self) -> str:
        """The population, and how far it is to be trusted, as text."""
        ended = "converged" if self.converged.all() else f"{int((~self.converged).sum())} people did not converge"
        lines = [
            "Empirical Bayes by EM (approximate for few people, and for few trials of each): "
            f"{len(self.theta)} people, {self.n_trials} choices, {self.n_iterations} iterations, {ended}",
            f"log evidence {self.log_evidence.sum():.2f}, iBIC {self.ibic:.2f} ({self.n_numbers} numbers)",
            self.population.summary(),
        ]
        return "\n".join(lines)
