"""Numbers with derivatives: against sympy's derivatives of the same expressions."""

import numpy as np
import pytest
import sympy

from spice.equations import jets

N = 3
THETA = sympy.symbols("t1:4")


def quadratic(rng, positive=False):
    """A function of three parameters, and its jet where they are 0."""
    value, slope, curve = (
        rng.uniform(0.5, 1.5) if positive else rng.normal(),
        rng.normal(size=N),
        rng.normal(size=(N, N)),
    )
    curve = curve + curve.T
    expression = value + sum(s * t for s, t in zip(slope, THETA, strict=True))
    expression += sum(curve[j, k] * THETA[j] * THETA[k] / 2 for j in range(N) for k in range(N))
    return expression, np.concatenate([[value], slope, curve[np.tril_indices(N)]])


def jet_of(expression):
    """By differentiation."""
    first = [expression.diff(t) for t in THETA]
    second = [first[j].diff(THETA[k]) for j, k in zip(*np.tril_indices(N), strict=True)]
    return np.array(sympy.lambdify(THETA, [expression, *first, *second], "math")(*[0.0] * N))


def softmax_of(expressions):
    total = sum(map(sympy.exp, expressions))
    return [sympy.exp(e) / total for e in expressions]


BINARY = {
    "add": (lambda out, a, b, n: jets.add(out, a, b), lambda a, b: a + b),
    "subtract": (lambda out, a, b, n: jets.subtract(out, a, b), lambda a, b: a - b),
    "multiply": (jets.multiply, lambda a, b: a * b),
    "divide": (jets.divide, lambda a, b: a / b),
}
UNARY = {
    "exp": (jets.exp, sympy.exp),
    "log": (jets.log, sympy.log),
    "affine": (lambda out, a, n: jets.affine(out, a, -1.5, 0.25), lambda a: sympy.Rational(1, 4) - 1.5 * a),
    "copy": (lambda out, a, n: jets.copy(out, a), lambda a: a),
    "sine": (lambda out, a, n: jets.compose(out, a, np.sin(a[0]), np.cos(a[0]), -np.sin(a[0]), n), sympy.sin),
}


def orders(call, *given):
    """What comes out at order 2, after checking that orders 1 and 0 are its beginning."""
    results = []
    for order in (2, 1, 0):
        n = N if order else 0
        length = jets.length(n, order)
        results.append(call(n, *(g[..., :length].copy() for g in given)))
    for shorter in results[1:]:
        np.testing.assert_allclose(shorter, results[0][..., : shorter.shape[-1]], rtol=1e-14, atol=1e-14)
    return results[0]


@pytest.mark.parametrize("name", BINARY)
def test_two_jets(name):
    function, symbolic = BINARY[name]
    rng = np.random.default_rng(1)
    (a, jet_a), (b, jet_b) = quadratic(rng, positive=True), quadratic(rng, positive=True)
    for place in ("new", "first", "second"):

        def call(n, x, y, place=place):
            out = {"new": np.full_like(x, np.nan), "first": x, "second": y}[place]
            function(out, x, y, n)
            return out

        np.testing.assert_allclose(orders(call, jet_a, jet_b), jet_of(symbolic(a, b)), rtol=1e-12, atol=1e-12)

    def square(n, x):
        function(x, x, x, n)
        return x

    np.testing.assert_allclose(orders(square, jet_a), jet_of(symbolic(a, a)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", UNARY)
def test_one_jet(name):
    function, symbolic = UNARY[name]
    a, jet_a = quadratic(np.random.default_rng(2), positive=True)
    for in_place in (False, True):

        def call(n, x, in_place=in_place):
            out = x if in_place else np.full_like(x, np.nan)
            function(out, x, n)
            return out

        np.testing.assert_allclose(orders(call, jet_a), jet_of(symbolic(a)), rtol=1e-12, atol=1e-12)


def test_relaxation():
    rng = np.random.default_rng(3)
    (x, jet_x), (rate, jet_rate) = quadratic(rng), quadratic(rng)

    def call(n, x, rate):
        jets.relax(x, rate, 0.12, n)
        return x

    np.testing.assert_allclose(orders(call, jet_x, jet_rate), jet_of(x + rate * (0.12 - x)), rtol=1e-12, atol=1e-12)


def test_sums_of_products():
    rng = np.random.default_rng(4)
    (a, jets_a), (b, jets_b) = (zip(*(quadratic(rng) for _ in range(4)), strict=True) for _ in range(2))

    def call(n, x, y):
        out = np.full(x.shape[1], np.nan)
        jets.dot(out, x, y, n)
        return out

    expected = jet_of(sum(x * y for x, y in zip(a, b, strict=True)))
    np.testing.assert_allclose(orders(call, np.array(jets_a), np.array(jets_b)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["log_sum_exp", "log_softmax", "softmax"])
def test_softmax(name):
    expressions, given = zip(*(quadratic(np.random.default_rng(k)) for k in range(3)), strict=True)

    def call(n, x):
        out = np.full(x.shape[1], np.nan)
        getattr(jets, name)(*((out, x, n) if name == "log_sum_exp" else (x, out, n)))
        return out if name == "log_sum_exp" else x

    if name == "log_sum_exp":
        expected = jet_of(sympy.log(sum(map(sympy.exp, expressions))))
    else:
        chances = softmax_of(expressions)
        expected = np.array([jet_of(sympy.log(p) if name == "log_softmax" else p) for p in chances])
    np.testing.assert_allclose(orders(call, np.array(given)), expected, rtol=1e-11, atol=1e-11)


def test_softmax_of_very_different_and_impossible_options():
    given = np.array([[800.0, 1.0, 0.0], [-800.0, 0.0, 2.0], [-np.inf, 5.0, 5.0]])
    spare = np.empty(3)
    jets.log_softmax(given, spare, 2)
    np.testing.assert_array_equal(given[:, 0], [0.0, -1600.0, -np.inf])
    np.testing.assert_array_equal(given[:2, 1:], [[0.0, 0.0], [-1.0, 2.0]])
    jets.log_sum_exp(spare, np.full((2, 3), -np.inf), 2)
    np.testing.assert_array_equal(spare, [-np.inf, 0.0, 0.0])


def test_equal_options_share_the_probability_however_large_their_logits_are():
    """Beside 1e300 the logarithm of 3 is nothing."""
    given, spare = np.array([[1e300, 1.0], [1e300, 1.0], [1e300, 1.0], [0.0, 0.0]]), np.empty(2)
    jets.log_softmax(given, spare, 1)
    np.testing.assert_allclose(given[:3], [[-np.log(3.0), 0.0]] * 3, rtol=1e-15)


def test_layout():
    assert [jets.length(5, order) for order in (0, 1, 2)] == [1, 6, 21]
    value, gradient, hessian = jets.unpack(np.arange(20.0).reshape(2, 10), 3)
    assert value.tolist() == [0, 10] and gradient[1].tolist() == [11, 12, 13]
    assert hessian[0].tolist() == [[4, 5, 7], [5, 6, 8], [7, 8, 9]]


@pytest.mark.slow
@pytest.mark.parametrize(("order", "limit"), [(1, 10e-9), (2, 60e-9)])
def test_speed(order, limit):
    """A product by five parameters: 2 and 11 ns on a quiet machine."""
    import time

    from numba import njit

    @njit(error_model="numpy")
    def products(out, a, b, repetitions):
        for _ in range(repetitions):
            for i in range(len(out)):
                jets.multiply(out[i], a[i], b[i], 5)

    out, a, b = np.random.default_rng(0).random((3, 45, jets.length(5, order)))
    products(out, a, b, 1)
    times = []
    for _ in range(10):
        started = time.perf_counter()
        products(out, a, b, 1000)
        times.append(time.perf_counter() - started)
    assert min(times) / 45_000 < limit
