"""Sessions held out of a fit: which they are, that nothing is learned from them, and how they end it."""

from functools import partial

import numpy as np
import pytest
import torch

from spice.errors import DataError
from spice.precoded import ChoiceRNN
from spice.training import fit_network
from spice.training.validation import PATIENCE, Validation, split_sessions

BETTER = "the held-out sessions are predicted no better"


@pytest.fixture(scope="module")
def make(make):
    return partial(make, n_participants=6)


def rows(data):
    """Sessions as plain values, to be looked up."""
    return [tuple(session.nan_to_num(-1).flatten().tolist()) for session in data.xs]


# ---------------------------------------------------------------------- the split


@pytest.mark.parametrize(("n_sessions", "n_participants"), [(12, 1), (12, 3), (13, 5), (6, 5)])
@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 0.99])
def test_every_session_is_on_one_side_and_everybody_is_fitted(random_data, n_sessions, n_participants, fraction):
    data = random_data(n_sessions, 5, n_participants=n_participants)
    train, held_out = split_sessions(data, fraction)
    assert sorted(rows(train) + rows(held_out)) == sorted(rows(data))
    assert set(train.participants.tolist()) == set(range(n_participants))
    wanted = max(round(fraction * n_sessions), 1)
    assert len(held_out) == min(wanted, n_sessions - n_participants)
    assert rows(train) == [row for row in rows(data) if row in rows(train)]  # in their order
    assert train.columns == held_out.columns == data.columns
    again = split_sessions(data, fraction)
    assert rows(again[0]) == rows(train) and rows(again[1]) == rows(held_out)


def test_sessions_are_drawn_from_all_over(random_data):
    """Of 40 sessions in a row a quarter: neither the first nor the last ten."""
    data = random_data(40, 5)
    _, held_out = split_sessions(data, 0.25)
    places = np.array([rows(data).index(row) for row in rows(held_out)])
    assert len(places) == 10 and 10 < places.mean() < 30 and (places < 20).any() and (places >= 20).any()


def test_the_split_leaves_random_numbers_and_data_alone(random_data):
    data = random_data(8, 5)
    before = data.xs.clone()
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    split_sessions(data, 0.5)
    assert torch.equal(torch.random.get_rng_state(), state) and (np.random.get_state()[1] == numpy_state).all()
    assert torch.equal(data.xs.nan_to_num(-1), before.nan_to_num(-1))


def test_nothing_is_held_out_unless_asked_for(random_data):
    data = random_data(4, 5)
    assert split_sessions(data, 0.0) == (data, None)


def test_nobody_can_spare_a_session(random_data, make):
    data = random_data(4, 5, n_participants=4)
    for refused in (lambda: split_sessions(data, 0.5), lambda: fit_network(make(), data, validation_fraction=0.5)):
        with pytest.raises(DataError) as caught:
            refused()
        assert str(caught.value) == (
            "validation_fraction holds out sessions, but no participant has more than one; set it to 0, or cut the "
            "sessions into blocks."
        )


# ---------------------------------------------------------------------- looks at the held-out sessions


def watched(losses, n_rows=1):
    """A validation that is told these losses, and those of each row in turn."""
    told = iter(losses)
    return Validation(lambda rows: (torch.tensor([next(told)]), None), 10, n_rows)


def test_it_waits_for_an_improvement():
    losses = [5.0, 4.0] + [4.5] * (PATIENCE - 1) + [3.0] + [3.0] * PATIENCE
    validation = watched(losses)
    answers = [validation.watch(0, torch.tensor([float(look)])) for look in range(len(losses))]
    assert answers == [False] * (len(losses) - 1) + [True]
    assert validation.best().item() == 1 + PATIENCE
    assert validation.losses == pytest.approx([loss / 10 for loss in losses])  # per scored choice


def test_each_row_waits_for_itself():
    """Row 0 is best at its first look, row 1 at its third."""
    losses = [1.0, 9.0, 2.0, 8.0] + [2.0, 7.0] * 3 * PATIENCE
    validation, stopped = watched(losses, n_rows=2), {}
    for look in range(1, 3 * PATIENCE):
        for row in (0, 1):
            if validation.watch(row, torch.tensor([10.0 * row + look])):
                stopped.setdefault(row, look)
    assert stopped == {0: 1 + PATIENCE, 1: 3 + PATIENCE}
    assert validation.best().item() == 1.0  # row 0's first


def test_a_loss_that_is_no_number_is_no_improvement():
    validation = watched([float("nan"), float("inf"), 3.0, float("nan")])
    for look in range(4):
        assert not validation.watch(0, torch.tensor([float(look)]))
    assert validation.best().item() == 2.0
    assert watched([]).best() is None


def test_nothing_to_watch():
    validation = Validation(None, 0, 2)
    assert not any(validation.watch(row, torch.zeros(1)) for row in (0, 1) for _ in range(3 * PATIENCE))
    assert validation.losses == [] and validation.best() is None


# ---------------------------------------------------------------------- in a fit


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_fit_sees_the_others_only(agent_data, optimizer, make, fit, nll_of):
    """The loss is that of the fitted sessions; whatever the held-out ones hold, the loss is the same."""
    data = agent_data[:8]
    train, held_out = split_sessions(data, 0.25)
    model = make()
    first = nll_of(model, train), nll_of(model, held_out)
    settings = {"optimizer": optimizer, "epochs": 6}
    result = fit(model, data, validation_fraction=0.25, **settings)
    alone = fit(make(), train, **settings)
    assert result.loss == pytest.approx(alone.loss, rel=1e-9) and result.loss[0] == pytest.approx(first[0], rel=1e-9)
    assert len(result.loss) == 6  # looks are no epochs
    if optimizer == "lbfgs":  # its first look is at the start, Adam's after a step
        assert result.validation_loss[0] == pytest.approx(first[1], rel=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "lbfgs"},
        {"optimizer": "lbfgs", "n_starts": 3},
        {"optimizer": "adam", "learning_rate": 0.1},
        {"optimizer": "adam", "learning_rate": 0.1, "n_starts": 2},
        {"batch_size": 3, "learning_rate": 0.1},
    ],
    ids=["lbfgs", "three starts", "adam", "two starts of adam", "mini-batches"],
)
def test_the_parameters_that_predicted_best_are_kept(random_data, settings, make, fit, nll_of):
    """Choices without any pattern: what is learned from some sessions is wrong in the others."""
    data, settings = random_data(8, 20, seed=3), dict(settings)
    starts = [make(seed) for seed in range(1, settings.pop("n_starts", 1))]
    model = make()
    settings["generator"] = torch.Generator().manual_seed(0)
    result = fit(model, data, epochs=150, validation_fraction=0.4, other_starts=starts, **settings)
    _, held_out = split_sessions(data, 0.4)
    assert nll_of(model, held_out) == pytest.approx(min(result.validation_loss), rel=1e-9)
    assert result.validation_loss[-1] > min(result.validation_loss)
    assert result.converged and len(result.loss) < 150
    assert result.reason == BETTER or starts  # of several starts one may have met the other criterion
    assert len(result.start_losses) == 1 + len(starts)


def test_looks_are_without_dropout(random_data, make, fit, nll_of):
    """What was drawn when looking is luck: the network that is kept predicts as it was seen to."""
    data, model = random_data(8, 20, seed=3), make(dropout=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        result = fit(model, data, epochs=20, learning_rate=0.05, validation_fraction=0.4)
    assert nll_of(model, split_sessions(data, 0.4)[1]) == pytest.approx(min(result.validation_loss), rel=1e-9)


def test_early_stopping_helps_where_there_is_little_to_learn(random_data, make, fit, nll_of):
    """Random choices, a network per person: chance is best, and the fit that stops early is nearer to it."""
    data, fresh = random_data(12, 15, seed=3, n_participants=6), random_data(12, 60, seed=9, n_participants=6)
    losses = []
    for fraction in (0.0, 0.5):
        model = make(0, ChoiceRNN)
        result = fit(model, data, epochs=40, validation_fraction=fraction)
        losses.append(nll_of(model, fresh))
    assert result.reason == BETTER and losses[1] < losses[0] - 0.05


def test_callbacks_are_told_the_latest_look(agent_data, make, fit):
    data, seen = agent_data[:8], []
    result = fit(make(), data, epochs=8, validation_fraction=0.25, callbacks=[seen.append])
    assert [epoch.number for epoch in seen] == list(range(1, 9))
    assert [epoch.loss for epoch in seen] == result.loss
    assert [epoch.best_loss for epoch in seen] == list(np.minimum.accumulate(result.loss))
    told = [epoch.validation_loss for epoch in seen]
    assert set(told) <= set(result.validation_loss) and told[-1] == result.validation_loss[-1]
    without = []
    fit(make(), data, epochs=2, callbacks=[without.append])
    assert [epoch.validation_loss for epoch in without] == [None, None]


def test_people_are_held_out_by_session(people_data, make, fit):
    """Every person's embedding is fitted: those of the held-out sessions are known."""
    model = make(0, ChoiceRNN)
    before = model.participant_embedding.weight.detach().clone()
    result = fit(model, people_data, epochs=8, validation_fraction=0.6)
    assert min(result.validation_loss) < result.validation_loss[0]
    moved = (model.participant_embedding.weight.detach() - before).abs().amax(1) > 0
    assert moved.tolist() == [True] * 3 + [False] * 3  # the model has room for six
