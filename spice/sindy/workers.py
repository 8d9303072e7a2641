"""Many small jobs: in this process, and over joblib's worker processes where that pays."""

import functools
import math
import multiprocessing
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import joblib
import threadpoolctl

ALONE = 0.5  # seconds for which this process works alone; from them it guesses how long the rest would take
# Seconds that workers must promise to save. Two of them take 5 to start, since they import torch and pysindy, and 9
# where other work goes on; the batches they are sent take next to nothing. Threads save nothing at all: pysindy
# spends its time in Python.
WORTHWHILE = 10.0


def run_jobs(function: Callable[..., Any], jobs: Sequence[tuple]) -> list[Any]:
    """Results of a function for many jobs, in their order, by workers where that is faster.

    Every different warning is issued once, at the end, whoever heard it.

    Parameters
    ----------
    function : callable
        Its results depend on its arguments only.
    jobs : sequence of tuple
        Arguments of each call.

    Returns
    -------
    list
    """
    began = time.perf_counter()
    results, heard = _run(function, jobs, seconds=ALONE)
    left = jobs[len(results) :]
    if left:
        expected = (time.perf_counter() - began) / len(results) * len(left)
        n_workers = 1 if multiprocessing.parent_process() else joblib.cpu_count()  # no workers of workers
        if expected * (1 - 1 / n_workers) < WORTHWHILE:
            answers = [_run(function, left)]
        else:
            size = math.ceil(len(left) / (4 * n_workers))  # some batches for each, as they differ in length
            batches = (left[start : start + size] for start in range(0, len(left), size))
            answers = joblib.Parallel(n_workers, backend="loky")(joblib.delayed(_run)(function, b) for b in batches)
        for more, said in answers:
            results += more
            heard |= said
    for (category, _, filename, line), message in heard.items():
        warnings.warn_explicit(message, category, filename, line)
    return results


def _run(function: Callable[..., Any], jobs: Sequence[tuple], seconds: float = math.inf) -> tuple[list, dict]:
    """Results of as many jobs as time allows, but at least one, and the warnings heard, by text and place."""
    end = time.perf_counter() + seconds
    results = []
    # one thread for linear algebra, here as in workers: it is faster for small matrices, and the last bits depend on it
    with _threads().limit(limits=1, user_api="blas"), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for job in jobs:
            results.append(function(*job))
            if time.perf_counter() > end:
                break
    return results, {(w.category, str(w.message), w.filename, w.lineno): w.message for w in heard}


@functools.cache
def _threads() -> threadpoolctl.ThreadpoolController:
    """What sets the number of threads; looking for it takes some milliseconds."""
    return threadpoolctl.ThreadpoolController()
