"""Estimation with weak priors or by maximum likelihood."""

import warnings

import numpy as np
import pytest
import torch

from spice.errors import SpiceWarning
from spice.estimator import SpiceEstimator
from spice.inference.refine import Refinement
from spice.inference.structure import Layout
from spice.precoded import RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN

LEARNT = "x_value_reward_chosen"
DELTA = [(LEARNT, LEARNT), (LEARNT, "c_reward")]


@pytest.fixture(scope="module")
def data(helpers):
    """Few choices: priors show."""
    return helpers.simulated(3, 30, seed=1, alpha_reward=0.4, beta_reward=4.0)


def refit_of(data, estimation):
    torch.manual_seed(0)
    network = RescorlaWagnerRNN.build(2, 1, hidden_size=2).double()
    return Refinement(network, RESCORLA_WAGNER_CONFIG, data, 1, estimation)


def fit_of(refinement, helpers):
    row = helpers.structure(refinement.layout, DELTA, tied=())
    begin = np.zeros((1, refinement.layout.n_numbers))
    begin[0, [helpers.number_of(refinement.layout, *key) for key in DELTA]] = 0.6, 1.0
    return refinement._refit(row, np.zeros(1, int), begin)


def test_priors_only_where_asked_for(helpers, data):
    posed = helpers.pose_problem(data)
    precisions = {kind: Layout(posed.library, kind).precisions for kind in ("map", "mle")}
    assert (precisions["map"] > 0).any() and (precisions["mle"] == 0).all()
    np.testing.assert_array_equal(posed.layout.precisions, precisions["map"])


def test_each_is_the_minimum_of_its_own_loss(helpers, data):
    """Without priors the likelihood is larger; with them its loss and the priors' together are smaller."""
    refinements = {kind: refit_of(data, kind) for kind in ("map", "mle")}
    fits = {kind: fit_of(refinement, helpers) for kind, refinement in refinements.items()}
    added = {kind: helpers.penalty(refinements["map"].layout, fit)[0] for kind, fit in fits.items()}
    plain = {kind: fit.nll[0] for kind, fit in fits.items()}
    assert fits["map"].loss[0] == pytest.approx(plain["map"] + added["map"]) and fits["mle"].loss[0] == plain["mle"]
    assert plain["mle"] < plain["map"] and plain["map"] + added["map"] < plain["mle"] + added["mle"]


def test_the_estimator_hands_it_on(helpers, data):
    scores = {}
    for kind in ("map", "mle"):
        estimator = SpiceEstimator(
            RescorlaWagnerRNN, RESCORLA_WAGNER_CONFIG, estimation=kind, epochs=20, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpiceWarning)
            scores[kind] = estimator.fit(data).score(data)
    assert scores["mle"] > scores["map"]
