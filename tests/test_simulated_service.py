"""A job whose drivers die, sleep and take over from each other keeps its invariants in thousands of simulated lives."""

from collections import Counter

import pytest
from support.simulated_service import Service, violations

STUDIES = 6_000


@pytest.fixture(scope="module")
def services() -> list[Service]:
    return [Service(seed).run() for seed in range(STUDIES)]


def test_every_life_of_a_job_keeps_the_invariants(services: list[Service]) -> None:
    broken = {seed: found for seed, service in enumerate(services) if (found := violations(service))}
    assert broken == {}


def test_the_lives_contain_what_they_should(services: list[Service]) -> None:
    assert sum(len(service.drivers) > 1 for service in services) > STUDIES / 5
    ends = Counter(service.store.end[0] for service in services if service.store.end)
    assert min(ends["finished"], ends["cancelled"]) > STUDIES / 20, ends
    drivers = [(service, driver) for service in services for driver in service.drivers]
    taken_over = [driver for service, driver in drivers if service.store.change_s(driver.number) is not None]
    assert sum(driver.left_s is not None for driver in taken_over) > STUDIES / 20  # and learned of it
    first_rows = {(id(service), trial_id) for service in services for trial_id in service.store.stored}
    starts = Counter(
        (id(service), trial_id) for service, driver in drivers for _, pack in driver.starts for trial_id in pack.trials
    )
    assert sum(starts[key] > 1 for key in first_rows) > STUDIES / 20  # what was under way was trained again


def test_the_same_seed_gives_the_same_life() -> None:
    one, other = (Service(7).run() for _ in range(2))
    assert (one.store, one.now_s) == (other.store, other.now_s)
