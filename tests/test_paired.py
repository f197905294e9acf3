"""Paired differences: worked out by hand, and compared with statsmodels and scipy."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import ttest_rel
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from jobs.report.paired import MEAN_ONLY, PAIRED_T, STAND_IN, holm, paired_difference, sign_flip_p
from jobs.report.summary import binomial_std

IMAGES = 1000
ROUNDING = 1e-12
STUDENT_T_2 = 4.302652729749464  # two degrees of freedom, 97.5 %


def test_three_seeds_are_compared_as_worked_out_by_hand() -> None:
    found = paired_difference([0.91, 0.92, 0.96], [0.90, 0.90, 0.93], IMAGES)
    half = STUDENT_T_2 * 0.01 / math.sqrt(3)
    assert (found.n, found.seeds_agree, found.method, found.p) == (3, 3, PAIRED_T, None)
    assert found.mean == pytest.approx(0.02, abs=ROUNDING)
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-10)
    assert found.error_reduction == pytest.approx(0.02 / 0.09, abs=ROUNDING)
    assert found.correlation == pytest.approx(0.9819805060619657, abs=ROUNDING)


def test_the_p_of_five_seeds_is_that_of_scipy() -> None:
    a, b = [0.58, 0.61, 0.55, 0.60, 0.57], [0.54, 0.56, 0.52, 0.56, 0.53]
    found = paired_difference(a, b, IMAGES)
    assert found.p == pytest.approx(ttest_rel(a, b).pvalue, rel=1e-10)
    assert found.p_sign_flip is None


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_seeds_have_a_mean_and_no_interval(n: int) -> None:
    found = paired_difference([0.9, 0.92][:n], [0.8, 0.8][:n], IMAGES)
    assert (found.n, found.low, found.high, found.p, found.method) == (n, None, None, None, MEAN_ONLY)
    assert found.mean is not None


def test_without_a_common_seed_nothing_is_known() -> None:
    assert paired_difference([], [], IMAGES)[:3] == (0, None, None)


def test_equal_differences_get_the_spread_of_a_test_set() -> None:
    found = paired_difference([0.9, 0.8, 0.7, 0.6], [0.8, 0.7, 0.6, 0.5], IMAGES)
    sd = math.hypot(binomial_std(0.75, IMAGES), binomial_std(0.65, IMAGES))
    assert found.method == STAND_IN
    assert found.high is not None
    assert found.high - 0.1 == pytest.approx(3.182446305284263 * sd / 2, abs=1e-10)


def test_equal_arms_differ_by_nothing_and_their_p_is_one() -> None:
    found = paired_difference([0.9] * 6, [0.9] * 6, IMAGES)
    assert (found.mean, found.p, found.p_sign_flip, found.seeds_agree, found.correlation) == (0.0, 1.0, 1.0, 0, None)
    assert found.low is not None
    assert found.low < 0 < -found.low


def test_perfect_arms_have_an_interval_of_some_width() -> None:
    found = paired_difference([1.0] * 4, [1.0] * 4, 250)
    assert found.high is not None
    assert found.high > 0
    assert found.error_reduction is None


def test_the_sign_flips_of_six_seeds_are_counted() -> None:
    differences = [0.010, 0.021, 0.033, -0.004, 0.005, 0.016]
    flips = [
        sum(sign * value for sign, value in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=6)
    ]
    share = sum(abs(each) >= abs(sum(differences)) - 1e-9 for each in flips) / 2**6
    assert sign_flip_p(differences, IMAGES) == pytest.approx(share, abs=ROUNDING)


def test_sign_flips_of_single_images_are_the_exact_test_of_mcnemar() -> None:
    # Each seed gains or loses one image: gains and losses are the discordant pairs of McNemar's table.
    gains, losses = 9, 2
    p = sign_flip_p([1 / IMAGES] * gains + [-1 / IMAGES] * losses, IMAGES)
    assert p == pytest.approx(mcnemar([[50, gains], [losses, 40]], exact=True).pvalue, rel=1e-12)


def test_the_least_p_of_forty_seeds_is_found_without_counting_them() -> None:
    assert sign_flip_p([0.01] * 40, 5000) == pytest.approx(2 / 2**40, rel=1e-9)


def test_holm_corrects_as_statsmodels_does() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        p_values = list(rng.uniform(0, 0.2, size))
        assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]), abs=ROUNDING)
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06], abs=ROUNDING)
