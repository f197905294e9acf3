"""Simulated studies: intervals cover their targets, looks seldom mislead, and stopping when decided saves seeds.

docs/statistics.md has the figures of `python tests/simulate_studies.py`, which runs the same functions for longer.
"""

import numpy as np
import pytest
from support.simulated_stopping import regression_alarms, simulate_choices, simulate_stopped_coverage, stopped_means
from support.simulated_studies import (
    count_differences,
    decided_after,
    family_alarms,
    fixed_plan,
    repeated_t_alarms,
    simulate_coverage,
    simulate_savings,
)

from jobs.report.summary import binomial_std

STUDIES, LOOKS = 10_000, 60


def test_a_few_studies_are_covered_as_the_formulas_say() -> None:
    found = simulate_coverage(0.95, images=200, seeds=5, studies=100)
    assert min(found.seeds, found.new_images, found.contrast) > 0.85
    assert found.seeds_width < found.new_images_width


def test_a_fixed_plan_has_the_seeds_that_its_power_takes() -> None:
    assert [fixed_plan(effect) for effect in (7, 3, 2, 1)] == [3, 4, 5, 13]


@pytest.mark.chaos
@pytest.mark.parametrize(("accuracy", "images"), [(0.95, 1000), (0.995, 1000), (0.995, 250)])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_each_interval_covers_its_target(accuracy: float, images: int, seeds: int) -> None:
    found = simulate_coverage(accuracy, images, seeds, studies=1000)
    assert min(found.seeds, found.new_images, found.contrast) >= 0.92
    assert min(found.seeds_width, found.new_images_width, found.contrast_width) > 0


@pytest.mark.chaos
def test_a_look_after_every_seed_misleads_in_few_of_10000_studies() -> None:
    values = np.random.default_rng(1).normal(size=(STUDIES, LOOKS))
    assert 0.01 < float(np.mean(decided_after(values) <= LOOKS)) <= 0.05
    assert repeated_t_alarms(values) > 0.25  # what the e-process protects from


@pytest.mark.chaos
@pytest.mark.parametrize(("accuracy", "images"), [(0.95, 5000), (0.995, 250)])
def test_looks_at_whole_numbers_of_images_do_not_mislead(accuracy: float, images: int) -> None:
    values = count_differences(accuracy, images, STUDIES, LOOKS, seed=5)
    stand_in_sd = 2**0.5 * binomial_std(accuracy, images)
    assert 0.01 < float(np.mean(decided_after(values, stand_in_sd) <= LOOKS)) <= 0.05


@pytest.mark.chaos
@pytest.mark.parametrize("effects", [(0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 2.0), (0.0, 0.0, 1.0, 1.0)])
def test_a_family_of_six_contrasts_seldom_has_a_false_alarm(effects: tuple[float, ...]) -> None:
    assert 0.01 < family_alarms(STUDIES, LOOKS, effects, seed=4) <= 0.05


@pytest.mark.chaos
@pytest.mark.parametrize("effects", [(1.0, 2.0, 3.0, 7.0), (0.5, 1.0, 2.0, 3.0, 7.0), (0.0, 0.5, 1.0, 2.0, 3.0, 7.0)])
def test_stopping_when_decided_saves_three_seeds_of_ten(effects: tuple[float, ...]) -> None:
    found = simulate_savings(effects, studies=STUDIES)
    assert found.saved >= 0.3
    assert found.power >= 0.9
    assert found.wrong <= 0.05


def test_the_best_configuration_is_seldom_lost_in_a_few_studies() -> None:
    assert simulate_choices((0.0, 0.0, 0.0, 0.0), studies=300, looks=10).loses_best <= 0.05
    assert simulate_choices((0.0, 0.0, 0.0, 0.0), studies=300, looks=10, is_anytime=False).is_wrong > 0.1


@pytest.mark.chaos
@pytest.mark.parametrize("effects", [(0.0,) * 4, (0.0,) * 8, (0.0,) * 20, (0.0, 0.0, 0.0, 0.0, 1.0, 1.0)])
def test_a_look_after_every_seed_seldom_loses_the_best_one(effects: tuple[float, ...]) -> None:
    assert simulate_choices(effects, studies=2000, looks=20).loses_best <= 0.03


@pytest.mark.chaos
@pytest.mark.parametrize("effect", [0.0, 1.0, 3.0])
def test_an_unchanged_job_is_seldom_called_worse_when_jobs_stop(effect: float) -> None:
    assert regression_alarms(effect, studies=1500, at_most=20) <= 0.05


@pytest.mark.chaos
@pytest.mark.parametrize(("accuracy", "images"), [(0.95, 1000), (0.995, 1000), (0.995, 250)])
def test_intervals_of_studies_that_stop_cover_their_targets(accuracy: float, images: int) -> None:
    found = simulate_stopped_coverage(accuracy, images, at_most=12, studies=500)
    assert min(found.seeds_always, found.new_images_always) >= 0.95
    assert found.fixed_seeds_always < 0.92  # what they protect from
    assert found.seeds_width < found.new_images_width


@pytest.mark.chaos
def test_studies_that_stop_report_effects_a_little_too_large() -> None:
    seeds, mean, std = stopped_means(1.0, studies=4000)
    assert 12 < seeds < 15
    assert 1.05 < mean < 1.15
    assert 0.85 < std < 0.95
