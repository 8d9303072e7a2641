"""Jobs over worker processes: what comes back is what one process would give, word for word."""

import multiprocessing
import os
import signal
import threading
import time
import warnings
from types import SimpleNamespace

import pytest
from joblib import delayed
from pysindy import SR3

from spice.precoded import CHOICE_CONFIG, ChoiceRNN
from spice.sindy import distil, workers


@pytest.fixture
def forced(monkeypatch):
    """Everything but the first job goes to two workers."""
    monkeypatch.setattr(workers, "ALONE", 0.0)
    monkeypatch.setattr(workers, "WORTHWHILE", -1.0)
    monkeypatch.setattr(workers.joblib, "cpu_count", lambda: 2)


def local(number):
    return number**2, multiprocessing.parent_process() is None


def test_few_jobs_stay_in_this_process():
    assert workers.run_jobs(local, [(number,) for number in range(50)]) == [(n**2, True) for n in range(50)]
    assert workers.run_jobs(local, []) == []


def test_long_jobs_go_to_workers_and_short_ones_do_not(monkeypatch):
    """At 0.02 s each, four workers save 0.75 s of 50 jobs and 30 s of 2000."""
    asked = []

    def parallel(n_workers, backend):
        asked.append(n_workers)
        return lambda calls: [function(*args, **kwargs) for function, args, kwargs in calls]

    monkeypatch.setattr(workers, "joblib", SimpleNamespace(cpu_count=lambda: 4, Parallel=parallel, delayed=delayed))
    for n_jobs, expected in ((50, []), (2000, [4])):
        monkeypatch.setattr(workers, "time", SimpleNamespace(perf_counter=(0.02 * t for t in range(9999)).__next__))
        assert workers.run_jobs(int, [(number,) for number in range(n_jobs)]) == list(range(n_jobs))
        assert asked == expected


def test_workers_say_and_find_what_one_process_does(random_data, forced, monkeypatch):
    """Equations to the last bit, and the warnings."""
    data = random_data(n_sessions=4, n_trials=20, n_participants=3)
    model = ChoiceRNN.build(2, 3, hidden_size=3).double().eval()

    def run(optimizer):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = distil(model, CHOICE_CONFIG, data, [0, 1, 2], degree=2, optimizer=optimizer)
        return found, [(w.category, str(w.message)) for w in caught]

    for optimizer in ("STLSQ", "SR3", SR3(max_iter=1)):
        parallel = run(optimizer)
        with monkeypatch.context() as alone:
            alone.setattr(workers, "WORTHWHILE", 1e9)
            serial = run(optimizer)
        assert parallel == serial
    assert [text for _, text in serial[1] if "did not converge" in text]  # pysindy's own, of the last optimizer


def test_warnings_of_workers_are_issued_once_in_this_process(forced):
    def speak(number):
        import warnings

        warnings.warn("heard in a worker", UserWarning, stacklevel=1)
        return number

    with pytest.warns(UserWarning, match="^heard in a worker$") as caught:
        assert workers.run_jobs(speak, [(number,) for number in range(9)]) == list(range(9))
    assert len(caught) == 1


def test_errors_of_workers_reach_this_process(forced):
    def fail(number):
        if number == 5:
            raise ValueError("five")

    with pytest.raises(ValueError, match="^five$"):
        workers.run_jobs(fail, [(number,) for number in range(9)])


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupt_ends_the_work(forced, interruptible):
    def sleep(seconds):
        import time

        time.sleep(seconds)

    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    began = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        workers.run_jobs(sleep, [(0.0,), *[(30.0,)] * 8])
    timer.join()
    assert time.perf_counter() - began < 25
