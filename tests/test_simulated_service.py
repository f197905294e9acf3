"""A job whose drivers die, sleep and take over from each other keeps its invariants in thousands of simulated lives."""

from collections import Counter

import pytest
from support.mutants import load_mutants
from support.simulated_service import Service, violations

from jobs.store import lease, liveness

pytestmark = pytest.mark.medium
STUDIES = 5_000
MAX_LIVES_PER_MUTANT = 2_000
# Each mistake: the module, the code as it is, and the code as it must not be.
MUTANTS = {
    "two processes become the driver at once": (
        "lease",
        "lease.seal().to_bytes(), create_only=True)",
        "lease.seal().to_bytes())",
    ),
    "an owner does not notice that it was succeeded": (
        "lease",
        "if successor := _read_lease(store, _successor_key(lease), lease.job_id):",
        "if successor := None:",
    ),
    "a lease is over before it can be renewed": ("liveness", "age_s < LEASE_S", "age_s < RENEW_S"),
    "a lease is never over": ("liveness", "age_s < LEASE_S", "age_s < 1e9"),
    "an owner that has not renewed its lease yet is passed over": (
        "liveness",
        "if len(chain) > 1 and _is_starting(store, *chain[-2:]):",
        "if False:",
    ),
    "one that died as it took over blocks the job": (
        "liveness",
        "succeed(store, chain[-1], lease)",
        "succeed(store, chain[0], lease)",
    ),
}


@pytest.fixture(scope="module")
def services() -> list[Service]:
    return [Service(seed).run() for seed in range(STUDIES)]


def test_every_life_of_a_job_keeps_the_invariants(services: list[Service]) -> None:
    broken = {seed: found for seed, service in enumerate(services) if (found := violations(service))}
    assert broken == {}


def test_the_lives_contain_every_kind_of_event(services: list[Service]) -> None:
    assert sum(len(service.drivers) > 1 for service in services) > STUDIES / 5
    ends = Counter(service.store.end[0] for service in services if service.store.end)
    assert min(ends["finished"], ends["cancelled"]) > STUDIES / 20, ends
    drivers = [(service, driver) for service in services for driver in service.drivers]
    taken_over = [driver for service, driver in drivers if service.change_s(driver.number) is not None]
    assert sum(driver.left_s is not None for driver in taken_over) > STUDIES / 20  # and learned of it
    first_rows = {(id(service), trial_id) for service in services for trial_id in service.store.stored}
    starts = Counter(
        (id(service), trial_id) for service, driver in drivers for _, pack in driver.starts for trial_id in pack.trials
    )
    assert sum(starts[key] > 1 for key in first_rows) > STUDIES / 20  # what was under way was trained again


def test_the_same_seed_gives_the_same_life() -> None:
    one, other = (Service(7).run() for _ in range(2))
    assert (one.store, one.now_s) == (other.store, other.now_s)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_lives_find_a_mistake_in_the_lease(name: str) -> None:
    mutants = load_mutants({"lease": lease, "liveness": liveness}, *MUTANTS[name])
    found = (violations(Service(seed, **mutants).run()) for seed in range(MAX_LIVES_PER_MUTANT))
    assert any(found), f"not found in {MAX_LIVES_PER_MUTANT} lives: {name}"
