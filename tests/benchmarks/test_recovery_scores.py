"""Rates, correlations and calibration of the recovery benchmark."""

import numpy as np
import pytest
import recovery_scores as scores


def test_detection_counts_what_is_there_and_what_is_not():
    found = np.array([True, True, False, False, True])
    present = np.array([True, True, True, False, False])
    rates = scores.detection(found, present)
    assert rates["true_positive"]["rate"] == pytest.approx(2 / 3)
    assert rates["false_positive"]["rate"] == 0.5
    assert (rates["true_positive"]["n"], rates["false_positive"]["n"]) == (3, 2)


def test_what_cannot_be_read_counts_against():
    found, present, unread = np.array([True, False]), np.array([True, False]), np.array([True, True])
    rates = scores.detection(found, present, unread)
    assert (rates["true_positive"]["rate"], rates["false_positive"]["rate"]) == (0.0, 1.0)


def test_share_of_nothing_is_unknown():
    assert np.isnan(scores.share(np.zeros(0, bool))["rate"])


def test_interval_holds_the_rate():
    entry = scores.share(np.array([True] * 9 + [False]))
    assert entry["ci"][0] < entry["rate"] == 0.9 < entry["ci"][1] < 1


def test_correlation_of_all_has_zeros_for_what_is_absent():
    true, found = np.array([1.0, 2.0, 3.0, 0.0]), np.array([1.1, 2.1, 3.1, 0.0])
    entry = scores.correlation(found, true, (true > 0) & (found > 0))
    assert entry["both"] == pytest.approx(1.0) and entry["n_both"] == 3
    assert entry["all"] == pytest.approx(np.corrcoef(found, true)[0, 1])
    assert np.isnan(scores.correlation(found, true, np.zeros(4, bool))["both"])


def test_calibration_of_what_is_known_for_certain_and_of_coin_tosses():
    present = np.array([True, False] * 10)
    sure = scores.calibration(present.astype(float), present)
    assert sure["brier"] == 0.0 and [row["present"]["rate"] for row in sure["table"]] == [0.0, 1.0]
    tossed = scores.calibration(np.full(20, 0.5), present)
    assert tossed["brier"] == tossed["brier_of_share"] == 0.25
    assert len(tossed["table"]) == 1 and tossed["table"][0]["present"]["n"] == 20


def test_power_is_the_rate_above_a_threshold_that_few_false_ones_reach():
    probability = np.array([0.9, 0.6, 0.2, 0.8, 0.5, 0.1])
    present = np.array([True, True, True, False, False, False])
    assert scores.power(probability, present, alarms=0.0) == pytest.approx(1 / 3)  # above .8
    assert scores.power(probability, present, alarms=0.34) == pytest.approx(2 / 3)  # above .5
    assert np.isnan(scores.power(probability, np.ones(6, bool)))
