"""A fit that is stopped and gone on with ends as the fit that was not; files of other fits are refused."""

import warnings

import numpy as np
import pytest
import torch

from spice.errors import ConvergenceWarning, FileError, SpiceWarning
from spice.precoded import ForgettingRNN, LearningRateRNN, ParticipantEmbeddingRNN, RescorlaWagnerRNN
from spice.resources.dataset import DatasetRNN
from spice.resources.files import write_file
from spice.training import fit_network
from spice.training.checkpoint import Checkpoint
from spice.training.parameters import ParameterVector

EPOCHS = 10


class OwnLoop(RescorlaWagnerRNN):
    """A loop of its own, and a user who may interrupt one of its passes."""

    passes = 0
    interrupted_at = None

    def forward(self, *args, **kwargs):
        self.passes += 1
        if self.passes == self.interrupted_at:
            raise KeyboardInterrupt
        return super().forward(*args, **kwargs)


def make(seed=0, model_class=RescorlaWagnerRNN, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model_class.build(2, 3, **{"hidden_size": 3} | settings).double()


def fit(model, data, n_starts=1, generator=None, **settings):
    """Fit with a word neither about convergence nor about interruptions."""
    starts = [make(seed + 1, type(model), hidden_size=model.hidden_size) for seed in range(n_starts - 1)]
    if generator is not None:
        settings["generator"] = torch.Generator().manual_seed(generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpiceWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit_network(model, data, **{"epochs": EPOCHS, "weight_decay": 1.0, "other_starts": starts} | settings)


def stop_at(number):
    return [lambda epoch: epoch.number == number]


def interrupt_at(number):
    def callback(epoch):
        if epoch.number == number:
            raise KeyboardInterrupt

    return [callback]


def parameters(model):
    return ParameterVector(model).read()


def assert_same_end(model, result, other, expected):
    """To the last bit: the same numbers are computed in the same order (rounding of looks at held-out data aside)."""
    assert result.loss == expected.loss
    assert result.validation_loss == pytest.approx(expected.validation_loss, abs=1e-10)
    assert result.reason == expected.reason and result.converged == expected.converged
    assert result.start_losses == expected.start_losses
    assert torch.equal(parameters(model), parameters(other))


@pytest.fixture(scope="module")
def data(agent_data):
    """Six short sessions."""
    return DatasetRNN(agent_data.xs[:6, :9], agent_data.ys[:6, :9])


# ---------------------------------------------------------------------- stopped and gone on with

WAYS = {
    "lbfgs": {},
    "three starts": {"n_starts": 3},
    "adam": {"optimizer": "adam"},
    "three starts of adam": {"optimizer": "adam", "n_starts": 3},
    "adam, held-out sessions": {"optimizer": "adam", "validation_fraction": 0.3},
    "mini-batches": {"batch_size": 3, "generator": 5},
    "held-out sessions": {"validation_fraction": 0.3},
    "three starts, held-out sessions": {"n_starts": 3, "validation_fraction": 0.3},
    "mini-batches, held-out sessions": {"batch_size": 3, "generator": 5, "validation_fraction": 0.3},
    "a loop of one's own": {"model_class": OwnLoop},
    "states of an option that depend on each other": {"model_class": LearningRateRNN},
    "people": {"model_class": ParticipantEmbeddingRNN},
}


@pytest.fixture(scope="module")
def uninterrupted(data):
    """Model and result of a fit that was not stopped."""
    known = {}

    def get(way, model_class=None):
        if (way, model_class) not in known:
            settings = dict(WAYS[way])
            model = make(0, settings.pop("model_class", model_class or RescorlaWagnerRNN))
            known[way, model_class] = model, fit(model, data, **settings)
        return known[way, model_class]

    return get


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_fit_goes_on_and_ends_the_same(data, tmp_path, uninterrupted, way):
    settings, path = dict(WAYS[way]), tmp_path / "fit.spice"
    model_class = settings.pop("model_class", RescorlaWagnerRNN)
    whole, expected = uninterrupted(way)
    assert len(expected.loss) == EPOCHS
    for stop in (1, 6) if way in ("lbfgs", "mini-batches") else (5,):
        first = make(0, model_class)
        result = fit(first, data, checkpoint=path, callbacks=stop_at(stop), **settings)
        assert result.loss == expected.loss[:stop] and result.reason == "stopped by a callback"
        assert path.exists() and not result.converged
        second, seen = make(9, model_class), []
        result = fit(second, data, checkpoint=path, callbacks=[lambda epoch: seen.append(epoch.number)], **settings)  # noqa: B023
        assert seen == list(range(stop + 1, EPOCHS + 1))
        assert_same_end(second, result, whole, expected)
        path.unlink()


@pytest.mark.parametrize("stops", [(2, 3, 9), (1, 2, 3, 4)])
def test_a_fit_may_be_stopped_many_times(data, tmp_path, stops):
    path, whole = tmp_path / "fit.spice", make()
    expected = fit(whole, data, n_starts=2)
    for number, stop in enumerate(stops):
        fit(make(number), data, n_starts=2, checkpoint=path, callbacks=stop_at(stop))
    model = make(7)
    assert_same_end(model, fit(model, data, n_starts=2, checkpoint=path), whole, expected)


def test_more_epochs_go_on_where_fewer_ended(data, tmp_path):
    path, whole = tmp_path / "fit.spice", make()
    expected = fit(whole, data)
    fit(make(), data, epochs=4, checkpoint=path)
    between = make(3)
    again = fit(between, data, epochs=4, checkpoint=path)  # nothing is left to do
    assert again.loss == expected.loss[:4] and path.exists()
    model = make(4)
    assert_same_end(model, fit(model, data, checkpoint=path), whole, expected)


def test_a_fit_to_its_end_leaves_no_file(data, tmp_path):
    path, whole = tmp_path / "fit.spice", make()
    expected = fit(whole, data, epochs=500)
    assert expected.converged
    assert fit(make(), data, epochs=500, checkpoint=path).converged and not path.exists()
    fit(make(), data, epochs=500, checkpoint=path, callbacks=stop_at(10))
    assert path.exists()
    model = make(3)
    assert_same_end(model, fit(model, data, epochs=500, checkpoint=path), whole, expected)
    assert not any(tmp_path.iterdir())


def test_to_converge_in_the_last_epoch_is_to_converge(data, tmp_path):
    needed = len(fit(make(), data, epochs=500).loss)
    result = fit(make(), data, epochs=needed, checkpoint=tmp_path / "fit.spice")
    assert result.converged and result.reason == "the loss no longer changes"
    assert not any(tmp_path.iterdir())


def test_a_flat_loss_takes_no_checkpoint_from_who_stops(data, tmp_path):
    """Adam calls a fit converged whose loss is flat; a fit that was stopped can go on all the same."""
    path, settings = tmp_path / "fit.spice", {"optimizer": "adam", "learning_rate": 1e-6, "epochs": 60}
    result = fit(make(), data, checkpoint=path, callbacks=stop_at(30), **settings)
    assert result.reason == "stopped by a callback" and path.exists()


@pytest.mark.parametrize("threads", [(2, 1), (1, 2), (3, 2)])
def test_a_fit_goes_on_with_another_number_of_threads(data, tmp_path, monkeypatch, uninterrupted, threads):
    """On another machine, say: sums are made in another order, so the end is the same but for rounding errors."""
    path, before, (whole, expected) = tmp_path / "fit.spice", torch.get_num_threads(), uninterrupted("lbfgs")
    monkeypatch.setattr("spice.training.objective.PER_THREAD", 10)
    try:
        torch.set_num_threads(threads[0])
        fit(make(), data, checkpoint=path, callbacks=stop_at(4))
        torch.set_num_threads(threads[1])
        model = make(9)
        result = fit(model, data, checkpoint=path)
    finally:
        torch.set_num_threads(before)
    assert result.loss == pytest.approx(expected.loss, abs=1e-7)
    np.testing.assert_allclose(parameters(model), parameters(whole), atol=1e-4)


class Normalised(RescorlaWagnerRNN):
    """Its batch norm keeps means that belong to what it has seen, not to its parameters."""

    def __init__(self, n_actions, **kwargs):
        super().__init__(n_actions, **kwargs)
        self.norm = torch.nn.BatchNorm1d(n_actions)

    def step(self, state, trial):
        values, logits = super().step(state, trial)
        return values, self.norm(logits)


def test_what_a_model_keeps_besides_parameters_goes_on_too(data, tmp_path):
    path, whole = tmp_path / "fit.spice", make(0, Normalised)
    expected = fit(whole, data)
    fit(make(0, Normalised), data, checkpoint=path, callbacks=stop_at(4))
    model = make(9, Normalised)
    assert_same_end(model, fit(model, data, checkpoint=path), whole, expected)
    for (name, one), other in zip(model.named_buffers(), whole.buffers(), strict=True):
        assert torch.equal(one, other), name


# ---------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("way", ["lbfgs", "three starts", "mini-batches", "held-out sessions"])
def test_an_interruption_in_a_callback_writes_the_checkpoint(data, tmp_path, uninterrupted, way):
    path, (whole, expected) = tmp_path / "fit.spice", uninterrupted(way)
    first = fit(make(), data, checkpoint=path, callbacks=interrupt_at(6), **WAYS[way])
    assert first.reason == "interrupted" and first.loss == expected.loss[:6] and not first.converged
    second = make(9)
    assert_same_end(second, fit(second, data, checkpoint=path, **WAYS[way]), whole, expected)


@pytest.mark.parametrize("at", [9, 10])
@pytest.mark.parametrize(
    "way",
    [
        "lbfgs",
        "three starts",
        "adam",
        "adam, held-out sessions",
        "mini-batches",
        "held-out sessions",
        "three starts, held-out sessions",
    ],
)
def test_an_interruption_at_any_pass_loses_nothing(data, tmp_path, uninterrupted, way, at):
    """Of a start, a mini-batch or the held-out sessions: what was half done is done again."""
    path, (whole, expected) = tmp_path / "fit.spice", uninterrupted(way, OwnLoop)
    first = make(0, OwnLoop)
    first.interrupted_at = at
    assert fit(first, data, checkpoint=path, **WAYS[way]).reason == "interrupted" and path.exists()
    second = make(9, OwnLoop)
    assert_same_end(second, fit(second, data, checkpoint=path, **WAYS[way]), whole, expected)


def test_an_interruption_before_anything_is_known_leaves_no_file(data, tmp_path):
    model = make(0, OwnLoop)
    model.interrupted_at = 1
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, checkpoint=tmp_path / "fit.spice")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("way", ["three starts", "mini-batches", "mini-batches, held-out sessions"])
def test_a_crash_goes_back_to_the_last_checkpoint(data, tmp_path, monkeypatch, uninterrupted, way):
    """What the file holds is written while the fit runs, after each epoch here."""
    monkeypatch.setattr("spice.training.checkpoint.SECONDS", 0.0)
    path, (whole, expected) = tmp_path / "fit.spice", uninterrupted(way)

    def crash(epoch):
        if epoch.number == 8:
            raise RuntimeError("the power failed")

    with pytest.raises(RuntimeError, match="the power failed"):
        fit(make(), data, checkpoint=path, callbacks=[crash], **WAYS[way])
    second, seen = make(9), []
    result = fit(second, data, checkpoint=path, callbacks=[lambda epoch: seen.append(epoch.number)], **WAYS[way])
    assert seen[0] in (8, 9)
    assert_same_end(second, result, whole, expected)


# ---------------------------------------------------------------------- random numbers


@pytest.mark.parametrize("settings", [{"batch_size": 3}, {"optimizer": "adam", "dropout": 0.3}])
def test_torchs_own_random_numbers_go_on_too(data, tmp_path, settings):
    """Without a generator the order of mini-batches is torch's; dropout always is."""
    settings, path = dict(settings), tmp_path / "fit.spice"
    dropout = settings.pop("dropout", 0.0)

    def begin(seed, **more):
        model = make(seed, dropout=dropout)
        torch.manual_seed(3)
        return model, fit(model, data, epochs=8, **settings, **more)

    with torch.random.fork_rng():
        whole, expected = begin(0)
        begin(0, checkpoint=path, callbacks=stop_at(3))
        model, result = begin(9, checkpoint=path)
    assert_same_end(model, result, whole, expected)


# ---------------------------------------------------------------------- files that do not fit


@pytest.fixture
def path(data, tmp_path):
    """The checkpoint of a fit that was stopped."""
    path = tmp_path / "fit.spice"
    fit(make(), data, checkpoint=path, callbacks=stop_at(3))
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam"},
        {"batch_size": 4},
        {"learning_rate": 0.02},
        {"weight_decay": 2.0},
        {"nonlinearity_decay": 1.0},
        {"embedding_decay": 1.0},
        {"n_starts": 2},
        {"validation_fraction": 0.2},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_other_settings_are_another_fit(data, path, settings):
    before = path.read_bytes()
    with pytest.raises(FileError) as caught:
        fit(make(), data, checkpoint=path, **settings)
    assert str(caught.value) == (
        f"{path} is the checkpoint of another fit: data, model or settings differ (only epochs may). Give them as they "
        "were, or choose another file, or delete this one."
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "model",
    [
        lambda: make(hidden_size=4),
        lambda: make(model_class=ForgettingRNN),
        lambda: make().float(),
        lambda: make(model_class=OwnLoop),
    ],
    ids=["hidden size", "class", "precision", "subclass"],
)
def test_another_model_is_another_fit(data, path, model):
    with pytest.raises(FileError, match="is the checkpoint of another fit"):
        fit(model(), data, checkpoint=path)


def test_another_dropout_is_another_fit(data, tmp_path):
    fit(make(dropout=0.2), data, checkpoint=tmp_path / "fit.spice", callbacks=stop_at(3))
    with pytest.raises(FileError, match="is the checkpoint of another fit"):
        fit(make(dropout=0.4), data, checkpoint=tmp_path / "fit.spice")


def changed(xs, ys):
    xs[2, 3, 2:4] = xs[2, 3, 2:4] + 0.5


def unscored(xs, ys):
    ys[2, 3] = torch.nan


@pytest.mark.parametrize("change", [changed, unscored, None])
def test_other_data_are_another_fit(data, path, change):
    xs, ys = data.xs.clone(), data.ys.clone()
    if change is None:
        xs, ys = xs[:-1], ys[:-1]
    else:
        change(xs, ys)
    with pytest.raises(FileError, match="is the checkpoint of another fit"):
        fit(make(), DatasetRNN(xs, ys), checkpoint=path)


def test_another_start_is_the_same_fit(data, path):
    """Its parameters are in the file, so whatever a fresh model holds plays no role."""
    results = []
    for seed in (1, 2):
        again = path.with_suffix(f".{seed}")
        again.write_bytes(path.read_bytes())
        results.append(fit(make(seed), data, checkpoint=again).loss)
    assert results[0] == results[1]


def truncated(path):
    path.write_bytes(path.read_bytes()[:-200])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("loss, 0.5")


def of_a_network(path):
    write_file(path, "rnn", {}, {})


@pytest.mark.parametrize("damage", [truncated, flipped, empty, text, of_a_network])
def test_a_damaged_file_is_refused_and_kept(data, path, damage):
    damage(path)
    before = path.read_bytes()
    with pytest.raises(FileError, match="fit.spice"):
        fit(make(), data, checkpoint=path)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_shows_before_the_fit(data, tmp_path):
    seen = []
    with pytest.raises((FileError, FileNotFoundError), match="folder"):
        fit(make(), data, checkpoint=tmp_path / "gone" / "fit.spice", callbacks=[lambda epoch: seen.append(epoch)])
    assert not seen


# ---------------------------------------------------------------------- the file itself


def test_a_checkpoint_gives_back_what_it_took(tmp_path):
    content = {"a": torch.arange(3.0), "b": [1, 2.5, None, {"c": float("inf")}]}
    file = Checkpoint(tmp_path / "file", "mark")
    assert file.read() is None
    file.write(content)
    found = Checkpoint(str(tmp_path / "file"), "mark").read()
    assert torch.equal(found["a"], content["a"]) and found["b"] == content["b"]
    with pytest.raises(FileError, match="another fit"):
        Checkpoint(tmp_path / "file", "other mark").read()
    file.remove()
    file.remove()  # gone already
    assert not any(tmp_path.iterdir())


def test_no_path_is_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("spice.training.checkpoint.SECONDS", 0.0)
    file = Checkpoint(None, "")
    file.write({"a": 1})
    assert file.read() is None and not file.is_due() and not any(tmp_path.iterdir())
    file.remove()


def test_it_is_due_every_so_often(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("spice.training.checkpoint.time.monotonic", lambda: clock[0])
    file = Checkpoint(tmp_path / "file", "mark")
    due = []
    for clock[0] in np.arange(100.0, 200.0, 10.0):
        due.append(file.is_due())
        if due[-1]:
            file.write({})
    assert due == [False, False, False, True, False, False, True, False, False, True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
@pytest.mark.parametrize("way", ["three starts, held-out sessions", "mini-batches, held-out sessions"])
def test_a_stopped_fit_goes_on_on_a_graphics_card(data, tmp_path, way):
    """Sums come in no fixed order there, and a fit's steps enlarge their rounding errors."""
    path, whole = tmp_path / "fit.spice", make().cuda()
    expected = fit(whole, data, **WAYS[way])
    fit(make().cuda(), data, checkpoint=path, callbacks=stop_at(5), **WAYS[way])
    model = make(9).cuda()
    result = fit(model, data, checkpoint=path, **WAYS[way])
    assert result.loss == pytest.approx(expected.loss, abs=1e-6)
    assert parameters(model).is_cuda
    np.testing.assert_allclose(parameters(model).cpu(), parameters(whole).cpu(), atol=1e-4)
