"""Looking after every seed: the formulas, and simulations of how often one is misled."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import nct, t
from support.simulated_studies import decided_after, running_log_e

from jobs.report.sequential import EFFECT_VARIANCE, MIN_FOR_ANSWER, anytime_p, confidence_sequence, log_e_value

VALUES = [0.011, 0.014, 0.009, 0.013, 0.010]
LOOKS = 20
STUDIES = 2000


def test_the_e_value_is_the_likelihood_ratio_of_t_under_normal_effects() -> None:
    n = len(VALUES)
    observed = math.sqrt(n) * np.mean(VALUES) / np.std(VALUES, ddof=1)

    def weighted(effect: float) -> float:
        prior = math.exp(-(effect**2) / (2 * EFFECT_VARIANCE)) / math.sqrt(2 * math.pi * EFFECT_VARIANCE)
        return float(prior * nct.pdf(observed, n - 1, math.sqrt(n) * effect))

    mixture, _ = quad(weighted, -30, 30, points=[0, 5, 10], limit=200)
    expected = math.log(mixture / t.pdf(observed, n - 1))
    assert log_e_value(VALUES, 0.01) == pytest.approx(expected, rel=1e-5)


def test_without_a_spread_another_stands_in() -> None:
    assert log_e_value([0.01] * 4, 0.01) == log_e_value([0.01] * 4, 0.01)
    assert log_e_value([0.01] * 4, 0.01) < log_e_value([0.01] * 4, 0.001)
    last_bits = [0.9 - 0.8, 0.8 - 0.7, 0.3 - 0.2]  # each is one image of ten, and not equal to the others to the bit
    assert len(set(last_bits)) > 1
    assert log_e_value(last_bits, 0.01) == pytest.approx(log_e_value([0.1] * 3, 0.01), rel=1e-9)
    assert log_e_value([0.0] * 4, 0.01) == pytest.approx(-0.5 * math.log1p(4 * EFFECT_VARIANCE), abs=1e-12)


def test_one_value_says_nothing() -> None:
    assert log_e_value([0.5], 0.01) == 0.0
    assert anytime_p([0.5, 0.5], 0.01) == 1.0
    assert confidence_sequence([0.5, 0.4], 0.01, 0.05) == (-math.inf, math.inf)


def test_the_confidence_sequence_ends_where_the_e_value_rejects() -> None:
    low, high = confidence_sequence(VALUES, 0.01, 0.05)
    for end in (low, high):
        shifted = [value - end for value in VALUES]
        assert log_e_value(shifted, 0.01) == pytest.approx(math.log(1 / 0.05), abs=1e-9)


@pytest.mark.parametrize(("n", "multiplier"), [(5, 5.4), (10, 4.0), (20, 3.6)])
def test_the_price_of_looking_is_a_wider_interval(n: int, multiplier: float) -> None:
    values = [(-1) ** index * 1.0 for index in range(n)]
    low, high = confidence_sequence(values, 1.0, 0.05)
    found = (high - low) / 2 / (np.std(values, ddof=1) / math.sqrt(n))
    assert found == pytest.approx(multiplier, abs=0.05)


def test_no_three_seeds_are_an_answer_and_four_may_be() -> None:
    assert log_e_value([1.0] * (MIN_FOR_ANSWER - 1), 1e-9) < math.log(20) < log_e_value([1.0] * MIN_FOR_ANSWER, 1e-9)
    low, high = confidence_sequence([1.0] * (MIN_FOR_ANSWER - 1), 0.1, 0.05)
    assert (low, high) == (-math.inf, math.inf)
    assert math.isfinite(sum(confidence_sequence([1.0] * MIN_FOR_ANSWER, 0.1, 0.05)))


def test_p_never_rises_again() -> None:
    steps = [anytime_p(VALUES[:n] + [0.0] * 3, 0.01) for n in (3, 4, 5)]
    assert anytime_p([*VALUES, 0.0, 0.0, 0.0], 0.01) <= anytime_p(VALUES, 0.01)
    assert all(0 < step <= 1 for step in steps)


def alarms(studies: int, looks: int, effect: float, seed: int) -> NDArray[np.int64]:
    """Simulate studies; give after how many seeds each is decided, and looks + 1 where it is not."""
    return decided_after(np.random.default_rng(seed).normal(effect, 1.0, (studies, looks)))


def test_the_simulated_e_values_are_those_of_the_code() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(0.8, 1.0, (1, LOOKS))
    p = [anytime_p(list(values[0, :n]), 1.0) for n in range(2, LOOKS + 1)]
    assert np.exp(-running_log_e(values)[0, 1:]) == pytest.approx(p, rel=1e-9)
    assert running_log_e(np.full((1, 4), 0.09), 0.02)[0, 3] == pytest.approx(log_e_value([0.09] * 4, 0.02), rel=1e-9)
    by_code = next((n for n in range(3, LOOKS + 1) if log_e_value(list(values[0, :n]), 1.0) >= math.log(20)), LOOKS + 1)
    assert alarms(1, LOOKS, 0.8, 5)[0] == by_code


def test_a_look_after_every_seed_misleads_in_one_study_of_twenty_at_most() -> None:
    share = np.mean(alarms(STUDIES, LOOKS, 0.0, 1) <= LOOKS)
    assert share <= 0.05
    assert share > 0.01  # 2.4 % by 20 looks: a test that never decides would pass the line above too


@pytest.mark.parametrize(("effect", "median"), [(7.0, 4), (3.0, 5), (2.0, 6), (1.0, 12)])
def test_an_effect_is_decided_after_about_as_many_seeds_as_the_method_s_source_says(effect: float, median: int) -> None:
    assert abs(np.median(alarms(STUDIES, 60, effect, 2)) - median) <= 1
