"""When a study has seeds enough: decisions computed by hand, and rules that hold whatever the results are."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from support.study_arms import arms_of

from jobs.report.arms import Arms
from jobs.report.contrasts import contrast_table
from jobs.report.stopping import Study, decide
from jobs.store import Decision, SeedRule, describe_decision

IMAGES = 5000
STUDY = Study(IMAGES)
CLOSE = 1e-9
# Differences between two configurations: n, mean, sd, and what E is by hand with g = 4.
DIFFERENCES = [0.02, 0.03, 0.02, 0.03, 0.025, 0.025]
# n = 4: mean 0.025, sd 1/173.2, t^2 = 4 * 18.75 = 75, E = 17^-0.5 * (26 / (1 + 75/51))^2 = 26.86
# n = 5: mean 0.025, sd 0.005, t^2 = 5 * 25 = 125, E = 21^-0.5 * (32.25 / (1 + 125/84))^2.5 = 131.99
E_OF_4 = 17**-0.5 * (26 / (1 + 75 / 51)) ** 2
E_OF_5 = 21**-0.5 * (32.25 / (1 + 125 / 84)) ** 2.5


def rule(at_least: int = 3, at_most: int = 6, half_width: float | None = None) -> SeedRule:
    return SeedRule(at_least=at_least, at_most=at_most, half_width=half_width)


def two_arms(differences: Sequence[float | None]) -> Arms:
    """Give the adaptive rate these advantages over 0.5, seed by seed; None: its trial failed."""

    def accuracy(trial: Mapping[str, Any], seed: int) -> float | None:
        difference = differences[seed]
        return 0.5 if not trial["adaptive_lr"] else None if difference is None else 0.5 + difference

    return arms_of({"adaptive_lr": [False, True]}, len(differences), accuracy)


def all_ended(arms: Arms, seeds: int) -> dict[str, set[int]]:
    return {arm: set(range(seeds)) for arm in arms.settings}


def test_one_contrast_is_decided_when_its_evidence_reaches_twenty() -> None:
    assert pytest.approx(26.86, abs=0.01) == E_OF_4
    arms = two_arms(DIFFERENCES)
    found = decide(rule(), arms, all_ended(arms, 6), STUDY)
    assert found == Decision(seeds=dict.fromkeys(arms.settings, 4), open=(), whole=4, answered=1, questions=1)
    (row,) = contrast_table(two_arms(DIFFERENCES[:4]), IMAGES, until=rule()).to_pylist()
    assert row["p"] == pytest.approx(1 / E_OF_4, rel=1e-9)
    assert (row["n"], row["method"], row["word"], row["p_sign_flip"]) == (4, "anytime", "clear", None)


def test_no_look_is_taken_before_the_first() -> None:
    arms = two_arms(DIFFERENCES)
    assert decide(rule(at_least=5), arms, all_ended(arms, 6), STUDY).whole == 5
    (row,) = contrast_table(two_arms(DIFFERENCES[:5]), IMAGES, until=rule(at_least=5)).to_pylist()
    assert row["p"] == pytest.approx(1 / E_OF_5, rel=1e-9)


def test_a_family_of_two_needs_more_evidence() -> None:
    # 2 / 26.86 > 0.05 after 4 seeds, 2 / 131.99 < 0.05 after 5; on the other axis nothing ever differs.
    arms = arms_of(
        {"subset_size": [20, 40], "adaptive_lr": [False, True]},
        6,
        lambda trial, seed: 0.5 + (DIFFERENCES[seed] if trial["adaptive_lr"] else 0.0),
    )
    assert 1 / E_OF_4 < 0.05 < 2 / E_OF_4
    assert 2 / E_OF_5 < 0.05
    found = decide(rule(), arms, all_ended(arms, 6), STUDY)
    assert (found.whole, found.answered, found.questions) == (6, 2, 4)
    assert set(found.open) == set(arms.settings)  # each is in a comparison of sizes, which never ends
    without_sizes = arms_of({"adaptive_lr": [False, True], "model": ["mlp", "cnn"]}, 6, steps)
    assert decide(rule(), without_sizes, all_ended(without_sizes, 6), STUDY).seeds == dict.fromkeys(
        without_sizes.settings, 5
    )


def steps(trial: Mapping[str, Any], seed: int) -> float:
    """Let each of two axes, of two levels, add the same differences."""
    return 0.3 + DIFFERENCES[seed] * (int(trial["adaptive_lr"]) + 3 * int(trial["model"] == "cnn"))


def three_sizes() -> Arms:
    """Make three subset sizes: the first two differ clearly, the last two do not."""
    bonus = {10: 0.0, 20: 1.0, 30: 1.0}

    def accuracy(trial: Mapping[str, Any], seed: int) -> float:
        wobble = (-1) ** seed * 0.01 if trial["subset_size"] == 30 else 0.0
        return 0.5 + bonus[trial["subset_size"]] * DIFFERENCES[seed] + wobble

    return arms_of({"subset_size": [10, 20, 30]}, 6, accuracy)


def test_a_configuration_whose_contrasts_are_decided_gets_no_more_seeds() -> None:
    arms = three_sizes()
    small, middle, large = arms.settings
    ended = all_ended(arms, 6)
    found = decide(rule(), arms, ended, STUDY)
    assert found.seeds == {small: 5, middle: 6, large: 6}
    assert found.open == (middle, large)
    assert (found.answered, found.questions) == (1, 2)
    ended[small] = set(range(5))  # its sixth seed is not waited for, and makes no difference
    assert decide(rule(), arms, ended, STUDY) == found
    assert [found.needs(small, 4), found.needs(small, 5), found.needs(large, 5)] == [True, False, True]


def test_only_whole_seeds_count_in_the_order_of_seeds() -> None:
    arms = two_arms(DIFFERENCES)
    fixed, adaptive = arms.settings
    ended = {fixed: {0, 1, 2, 3, 4, 5}, adaptive: {0, 1, 3, 4, 5}}
    found = decide(rule(), arms, ended, STUDY)
    assert (found.whole, found.seeds, len(found.open)) == (2, {fixed: 2, adaptive: 2}, 2)


@pytest.mark.parametrize("seed", range(3))
def test_a_failed_trial_completes_its_seed_and_is_left_out_of_its_pair(seed: int) -> None:
    differences: list[float | None] = [*DIFFERENCES[:4], 0.025]
    differences.insert(seed, None)
    arms = two_arms(differences)
    found = decide(rule(), arms, all_ended(arms, 6), STUDY)
    assert (found.whole, found.answered) == (5, 1)  # one later than without the failure: four pairs are needed
    (row,) = contrast_table(two_arms(differences[:5]), IMAGES, until=rule()).to_pylist()
    assert (row["n"], row["p"]) == (4, pytest.approx(1 / E_OF_4, rel=1e-9))


def test_a_margin_decides_what_does_not_matter() -> None:
    wobble = [0.0005 * (-1) ** seed for seed in range(6)]
    arms = two_arms(wobble)
    assert decide(rule(), arms, all_ended(arms, 6), STUDY).open == tuple(arms.settings)
    found = decide(rule(), arms, all_ended(arms, 6), Study(IMAGES, margin=0.003))
    assert (found.whole, found.answered, found.open) == (4, 1, ())
    # n = 4: sd 0.000577, multiplier 7.2 over sqrt(4): +-0.0021 around zero
    (row,) = contrast_table(two_arms(wobble[:4]), IMAGES, margin=0.003, until=rule()).to_pylist()
    assert (row["word"], row["high"]) == ("negligible", pytest.approx(0.00208, abs=1e-5))


def test_differences_that_are_equal_but_for_their_last_bits_have_no_spread() -> None:
    arms = two_arms([0.1 + 0.2, 0.3, 0.3 + 1e-16, 0.3])  # in binary the first is another number than the second
    (row,) = contrast_table(arms, IMAGES, until=rule()).to_pylist()
    spread = math.hypot(math.sqrt(0.25 / IMAGES), math.sqrt(0.16 / IMAGES))
    t_squared = 4 * (0.3 / spread) ** 2
    expected = 17**-0.5 * ((1 + t_squared / 3) / (1 + t_squared / 51)) ** 2
    assert row["p"] == pytest.approx(1 / expected, rel=1e-6)


def test_a_width_ends_the_seeds_of_each_configuration_by_itself() -> None:
    spread = {10: 0.001, 20: 0.01}
    arms = arms_of({"subset_size": [10, 20]}, 8, lambda trial, seed: 0.5 + (-1) ** seed * spread[trial["subset_size"]])
    narrow, wide = arms.settings
    found = decide(rule(at_most=8, half_width=0.005), arms, all_ended(arms, 8), STUDY)
    # n = 4: 7.2 / sqrt(4) * 0.001155 = 0.0042; the other is ten times as wide, and still 0.016 after 8 seeds.
    assert found.seeds == {narrow: 4, wide: 8}
    assert (found.open, found.answered, found.questions) == ((wide,), 1, 2)


@pytest.mark.parametrize("seeds", range(1, 13))
def test_the_table_of_contrasts_says_what_was_decided(seeds: int) -> None:
    """The words of the table are those of the decision, however far the study has come."""

    def accuracy(trial: Mapping[str, Any], seed: int) -> float:
        noise = math.sin(37.7 * seed + 5.1 * trial["adaptive_lr"] + trial["subset_size"])
        return 0.6 + 0.01 * noise + 0.05 * int(trial["adaptive_lr"] and trial["subset_size"] > 10)

    axes: dict[str, list[Any]] = {"subset_size": [10, 20, 30], "adaptive_lr": [False, True]}
    whole = arms_of(axes, 12, accuracy)
    found = decide(rule(at_most=seeds, at_least=3), whole, all_ended(whole, 12), Study(IMAGES, margin=0.05))
    counted = Arms(
        whole.settings,
        {arm: {seed: each[seed] for seed in range(found.seeds[arm])} for arm, each in whole.accuracies.items()},
    )
    words = contrast_table(counted, IMAGES, margin=0.05, until=rule())["word"].to_pylist()
    assert sum(each in ("clear", "negligible") for each in words) == found.answered
    assert len(words) == found.questions == 7


@pytest.mark.parametrize(
    ("decision", "half_width", "sentence"),
    [
        (Decision(seeds={"a": 5, "b": 5}, open=(), whole=5, answered=1, questions=1), None, "the contrast is decided"),
        (
            Decision(seeds={"a": 5, "b": 7}, open=(), whole=7, answered=12, questions=12),
            None,
            "all 12 contrasts are decided after 5 to 7 seeds",
        ),
        (
            Decision(seeds={"a": 5, "b": 9}, open=("b",), whole=9, answered=8, questions=12),
            None,
            "4 of 12 contrasts are not decided after 9 seeds, as many as the grid allows",
        ),
        (
            Decision(seeds={"a": 5, "b": 7}, open=("b",), whole=7, answered=1, questions=2),
            0.01,
            "1 of 2 intervals is not narrow enough after 7 seeds",
        ),
    ],
)
def test_a_decision_is_said_in_a_sentence(decision: Decision, half_width: float | None, sentence: str) -> None:
    assert describe_decision(decision, rule(at_most=9, half_width=half_width)).startswith(sentence)
