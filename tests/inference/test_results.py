"""Tables, undecided terms and plain data of what the search found."""

import numpy as np
import pandas as pd
import pytest

from spice.equations import Equation
from spice.inference.report import Report
from spice.inference.results import COLUMNS, CanonicalForm, Results, canonical_block
from spice.inference.uncertainty import Estimate

LEARNT, OTHERS = "x_value_reward_chosen", "x_value_reward_not_chosen"
REPEATED, NOT_REPEATED = "x_value_choice_chosen", "x_value_choice_not_chosen"
MODULES = {LEARNT: ("c_reward",), OTHERS: ("c_reward", "c_outcome"), REPEATED: (), NOT_REPEATED: ()}
FOUND = ["rescorla-wagner", "forgetting", "asymmetric rates", "perseveration", "slow choice trace", "counterfactual"]
SINDY = {name: Equation(name, controls, {name: 0.9, "1": 0.01}) for name, controls in MODULES.items()}


def report_on(searched, name, **changes):
    refinement, refined, data = searched(name, **changes)
    return refinement, refined, data, Report(refinement, 0, refined, "anna", SINDY)


def weights_of(visited):
    weights = np.exp(-(np.array(visited.scores) - min(visited.scores)) / 2)
    return weights / weights.sum()


# ---------------------------------------------------------------------- terms


@pytest.mark.parametrize("name", FOUND)
def test_terms_are_those_of_the_equations(searched, name):
    _, refined, _, report = report_on(searched, name)
    table = report.terms()
    assert list(table.columns) == COLUMNS
    assert COLUMNS == ["participant", "module", "term", "estimate", "se", "ci_low", "ci_high", "inclusion", "sindy"]
    assert (table["participant"] == "anna").all() and not table.duplicated(["module", "term"]).any()
    found = {(row.module, row.term): row.estimate for row in table.itertuples()}
    expected = {(m, t): value for m, entry in refined.equations.items() for t, value in entry.coefficients.items()}
    assert found == pytest.approx(expected, rel=1e-9)
    assert (table["se"] >= 0).all() and (table["ci_low"] <= table["estimate"]).all()
    width = table["ci_high"] - table["ci_low"]
    np.testing.assert_allclose(width, 2 * 1.959963984540054 * table["se"], rtol=1e-9, atol=1e-12)


def test_what_is_fixed_is_known(searched):
    """Values of options not chosen that stay as they are: a coefficient of 1 without an error."""
    table = report_on(searched, "rescorla-wagner")[3].terms().set_index(["module", "term"])
    kept = table.loc[OTHERS, OTHERS]
    assert (kept["estimate"], kept["se"], kept["ci_low"], kept["ci_high"]) == (1.0, 0.0, 1.0, 1.0)
    assert (table.loc[LEARNT]["se"] > 0).all()


def test_sindys_first_values_stand_beside(searched):
    table = report_on(searched, "forgetting")[3].terms().set_index(["module", "term"])
    assert table.loc[(LEARNT, LEARNT), "sindy"] == 0.9 and table.loc[(LEARNT, "1"), "sindy"] == 0.01
    assert table.loc[(LEARNT, "c_reward"), "sindy"] == 0.0  # SINDy did not have it


@pytest.mark.parametrize("name", FOUND)
def test_inclusion_is_the_weight_of_structures_with_the_term(searched, name):
    refinement, refined, _, report = report_on(searched, name)
    table, library = report.terms().set_index(["module", "term"]), refinement.problem.library
    weights, names = weights_of(refined.visited), [module.name for module in library.modules]
    for term in np.flatnonzero(refined.fit.rows.free[0, : library.n_terms]):
        if term in library.own or library.names[term] == "1":
            continue  # the network's gauge has them also where the search's has not
        expected = sum(w for w, fit in zip(weights, refined.visited.fits, strict=True) if fit.rows.free[0, term])
        found = table.loc[(names[library.module[term]], library.names[term]), "inclusion"]
        assert found == pytest.approx(expected, abs=1e-9) and found > 0.5
    assert table["inclusion"].between(0, 1 + 1e-12).all()


def test_biases_are_listed(searched):
    """With their inclusion, in a module of their own; option 0's is 0."""
    _, refined, _, report = report_on(searched, "rescorla-wagner", bias=(0.0, 0.8))
    rows = report.terms().set_index("module").loc["bias"]
    assert rows["term"] == "bias_1" and rows["estimate"] == pytest.approx(refined.biases[1])
    assert 0 < rows["se"] < 0.1 and rows["inclusion"] > 0.9


# ---------------------------------------------------------------------- canonical


def test_the_canonical_table(searched):
    report = report_on(searched, "forgetting")[3]
    form = report.canonical()
    table = form.table("anna")
    assert list(table.columns) == COLUMNS and (table["module"] == "").all() and (table["participant"] == "anna").all()
    assert list(table["term"]) == ["beta", "alpha", "forgetting", "initial_value"] == list(form.parameters)
    for row in table.itertuples():
        entry = form.estimates[row.term]
        assert (row.estimate, row.se, row.ci_low, row.ci_high) == (entry.value, entry.se, entry.low, entry.high)
    assert table["sindy"].isna().all() and (table["inclusion"] > 0.9).all()
    rates = table.set_index("term").loc[["alpha", "forgetting"]]
    assert ((rates["ci_low"] > 0) & (rates["ci_high"] < 1)).all()


def test_equations_are_sympys(searched):
    equations = report_on(searched, "forgetting")[3].canonical().equations
    assert set(equations) == {"Q_chosen", "Q_others", "logits"}
    assert {str(symbol) for symbol in equations["Q_chosen"].free_symbols} == {"Q", "alpha", "r"}


# ---------------------------------------------------------------------- undecided


@pytest.mark.parametrize(
    ("name", "changes"), [(name, {}) for name in FOUND] + [("asymmetric rates", {"n_sessions": 5})]
)
def test_undecided_terms_are_those_of_close_structures(searched, name, changes):
    """Within 2 units of the criterion, not in the result; each with its weight, and its estimate from there."""
    refinement, refined, _, report = report_on(searched, name, **changes)
    layout, library, visited = refinement.layout, refinement.problem.library, refined.visited
    names, scores = [module.name for module in library.modules], np.array(visited.scores)
    best = refined.fit.rows
    expected = {}
    for place in np.argsort(scores):
        if scores[place] > scores.min() + 2:
            continue
        fit = visited.fits[place]
        values = layout.coefficients(fit.numbers, fit.rows)[0][0]
        for term in np.flatnonzero(fit.rows.free[0] & ~best.free[0]):
            if term < library.n_terms:
                expected.setdefault((names[library.module[term]], library.names[term]), values[term])
            elif term in layout.biases:
                bias = term - layout.biases[0]
                expected.setdefault(("bias", f"bias_{bias}"), values[library.n_terms + bias])
    table = report.undecided()
    assert list(table.columns) == COLUMNS
    found = {(row.module, row.term): row.estimate for row in table.itertuples()}
    tied = {key for key in found if key not in expected}  # terms that follow from others are in the model as well
    assert tied <= {(NOT_REPEATED, NOT_REPEATED), (OTHERS, "c_outcome")}
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert table["inclusion"].between(0, 1).all() and (table["se"] > 0).all()


def test_some_search_is_undecided(searched):
    """Else the test above says nothing."""
    tables = [report_on(searched, name)[3].undecided() for name in FOUND]
    assert sum(map(len, tables)) + len(report_on(searched, "asymmetric rates", n_sessions=5)[3].undecided()) > 0


# ---------------------------------------------------------------------- as text and as plain data


def results_of(undecided=(), unread=()):
    form = CanonicalForm({"perseveration": Estimate(3.0, 0.1, 2.8, 3.2)}, {}, list(unread), {"perseveration": 0.97})
    terms = pd.DataFrame([["anna", LEARNT, LEARNT, 0.7, 0.1, 0.5, 0.9, 1.0, np.nan]], columns=COLUMNS)
    rows = [["anna", module, term, 0.1, 0.1, -0.1, 0.3, share, 0.0] for module, term, share in undecided]
    return Results(SINDY, form, terms, pd.DataFrame(rows, columns=COLUMNS))


def test_what_is_printed_below_the_equations():
    lines = canonical_block(results_of([(OTHERS, OTHERS, 0.31), ("bias", "bias_1", 0.2)], ["x_value_reward"]))
    assert lines[0] == "" and "perseveration = 3.00  [2.80, 3.20]" in lines
    assert lines[-2] == "x_value_reward: no canonical form, see its equations above"
    assert lines[-1] == f"undecided: {OTHERS} in {OTHERS} (31%), bias_1 in bias (20%)"
    assert not any(line.startswith("undecided") for line in canonical_block(results_of()))


def test_what_is_not_identified_is_printed_once():
    form = CanonicalForm({"perseveration": Estimate(3.0, np.nan, np.nan, np.nan)}, {}, [], {})
    tables = results_of().terms, results_of().undecided
    lines = canonical_block(Results(SINDY, form, *tables, ["perseveration", f"c_reward in {LEARNT} (always 0)"]))
    assert "perseveration = 3.00 (the data do not identify it)" in lines
    assert lines[-1] == f"not identified by the data: c_reward in {LEARNT} (always 0)"


def test_no_term_at_all():
    results = results_of()
    empty = Results(SINDY, CanonicalForm({}, {}, [], {}), results.terms, results.undecided)
    assert canonical_block(empty) == ["", "no term is supported by the choices: logits = 0"]


@pytest.mark.parametrize("name", ["forgetting", "slow choice trace"])
def test_plain_data_come_back(searched, name):
    _, refined, _, report = report_on(searched, name)
    results = report.results()
    plain = results.to_plain()
    again = Results.from_plain(plain, refined.equations, "anna")
    assert dict(again.sindy) == SINDY and again.canonical == results.canonical
    pd.testing.assert_frame_equal(again.terms, results.terms)
    pd.testing.assert_frame_equal(again.undecided, results.undecided, check_dtype=False)
    assert again.unidentified == results.unidentified == []
    assert again.to_plain() == plain or np.isnan(results.terms["sindy"]).any()


def test_plain_data_are_plain(searched):
    def check(entry):
        if isinstance(entry, dict):
            return all(isinstance(key, str) and check(value) for key, value in entry.items())
        return all(map(check, entry)) if isinstance(entry, list) else type(entry) in (float, int, str, bool)

    assert check(report_on(searched, "forgetting")[3].results().to_plain())
    assert check(report_on(searched, "forgetting", n_sessions=5)[3].results().to_plain())


def test_correlations_are_those_of_the_information(searched):
    """Of the estimates' covariance by the delta method, from the inverse of the information."""
    refinement, refined, _, report = report_on(searched, "rescorla-wagner")
    form, fit = report.canonical(), refined.fit
    at = np.flatnonzero(fit.rows.free[0])
    cov = np.linalg.inv(fit.fisher[0][np.ix_(at, at)] + np.diag(fit.prior[0, at]))
    read, slopes = report.reading("canonical"), np.zeros((len(form.parameters), len(at)))
    for column, number in enumerate(at):
        step = 1e-5 * np.eye(len(fit.numbers[0]))[number]
        ahead, back = read(fit.numbers[0] + step), read(fit.numbers[0] - step)
        slopes[:, column] = [(ahead[name] - back[name]) / 2e-5 for name in form.parameters]
    expected = slopes @ cov @ slopes.T
    errors = np.sqrt(np.diag(expected))
    assert list(form.correlations.columns) == list(form.correlations.index) == list(form.parameters)
    np.testing.assert_allclose(form.correlations, expected / np.outer(errors, errors), atol=1e-4)


def test_structures_are_all_that_were_fitted(searched):
    refinement, refined, _, report = report_on(searched, "perseveration")
    table = report.structures()
    assert len(table) == len(refined.visited.fits) and table["weight"].sum() == pytest.approx(1)
    assert table["difference"].is_monotonic_increasing and table["difference"].iloc[0] == 0
    np.testing.assert_allclose(table["weight"], np.exp(-table["difference"] / 2) * table["weight"].iloc[0], rtol=1e-9)
    assert sorted(table["nll"]) == pytest.approx(sorted(fit.nll[0] for fit in refined.visited.fits))
    assert set(table["terms"].iloc[0].split(", ")) == {f"{LEARNT}: {LEARNT}", f"{LEARNT}: c_reward", f"{REPEATED}: 1"}
    empty = table[table["terms"] == ""]
    assert len(empty) == 1 and empty["numbers"].iloc[0] == 0


@pytest.mark.parametrize(
    "missing", ["sindy", "estimates", "gauge", "unread", "terms", "undecided", "unidentified", "structures"]
)
def test_plain_data_with_a_part_missing_are_refused(searched, missing):
    _, refined, _, report = report_on(searched, "forgetting")
    plain = report.results().to_plain()
    del plain[missing]
    with pytest.raises((KeyError, TypeError, ValueError)):
        Results.from_plain(plain, refined.equations, "anna")


def test_equations_of_two_rates_are_those_of_the_outcomes(searched):
    """Wherever the value is: which outcome came decides on the rate, not whether it was better than expected."""
    form = report_on(searched, "asymmetric rates", n_sessions=20)[3].canonical()
    assert form.outcomes == [0.0, 1.0]
    p = form.parameters
    for outcome, rate in ((0.0, p["alpha_penalty"]), (1.0, p["alpha_reward"])):
        for value in (-0.7, 0.4, 1.3):
            found = form.equations["Q_chosen"].subs(p | {"Q": value, "r": outcome})
            assert float(found) == pytest.approx(value + rate * (outcome - value))
