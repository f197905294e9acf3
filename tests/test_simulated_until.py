"""Simulated studies until an answer: the decision is that of somebody who saw all results at once."""

import inspect
from collections import Counter

import pytest
from support.simulated_until import UntilHistory, simulate_until

from jobs.run import until

STUDIES = 120
MORE_STUDIES = 3000
CALM = 60
# Each mistake: its name, the code as it is, and the code as it must not be.
MUTANTS = {
    "a failed trial counts with its accuracy": ("trial_ids if has_failed else ()", "()"),
    "what is not needed is waited for": ("            of_seed -= dropped\n", "            pass\n"),
    "a trial that was given up is waited for": (
        "        self._ended.update(trial_ids)\n",
        "        if has_failed:\n            return\n        self._ended.update(trial_ids)\n",
    ),
    "the decision is never taken again": ("        if not self.decision.open or", "        if True or"),
}


@pytest.fixture(scope="module")
def histories() -> list[UntilHistory]:
    return [simulate_until(seed) for seed in range(STUDIES)]


def counted(history: UntilHistory) -> set[str]:
    decision, plan = history.decision, history.plan
    assert decision
    return {each for each, trial in plan.trials.items() if decision.counts(plan.configurations[each], trial.seed)}


def is_that_of_all_results(history: UntilHistory) -> bool:
    """Tell whether a study has ended with the decision of somebody who has seen the results of all trials at once."""
    assert history.outcome in ("finished", "failed")
    return history.decision == history.decide(history.plan.trials, history.failed)


@pytest.mark.medium
def test_the_decision_is_that_of_all_results_at_once(histories: list[UntilHistory]) -> None:
    """Neither kills nor retries nor the order of completion change it; trials that failed for good count as failed."""
    assert [seed for seed, history in enumerate(histories) if not is_that_of_all_results(history)] == []


@pytest.mark.chaos
def test_the_decision_is_that_of_all_results_in_thousands_of_studies() -> None:
    for seed in range(STUDIES, MORE_STUDIES):
        history = simulate_until(seed)
        assert is_that_of_all_results(history), seed
        assert history.troubles == [], seed


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_finds_a_planted_mistake(name: str) -> None:
    source, (code, mistake) = inspect.getsource(until), MUTANTS[name]
    assert source.count(code) == 1
    mutant: dict[str, type[until.SeedWatch]] = {}
    exec(compile(source.replace(code, mistake), "<mutant>", "exec"), mutant)  # noqa: S102 - our own source, mutated
    studies = (simulate_until(seed, watch=mutant["SeedWatch"]) for seed in range(STUDIES))
    assert any(not is_that_of_all_results(history) or history.troubles for history in studies)


@pytest.mark.medium
def test_the_decision_can_be_taken_again_from_the_store(histories: list[UntilHistory]) -> None:
    for seed, history in enumerate(histories):
        ended = history.stored | history.failed
        assert counted(history) <= ended, seed
        assert history.decision == history.decide(ended, history.failed), seed


@pytest.mark.medium
def test_the_scheduler_keeps_its_other_promises(histories: list[UntilHistory]) -> None:
    assert {seed: history.troubles for seed, history in enumerate(histories) if history.troubles} == {}


@pytest.mark.medium
def test_the_studies_contain_what_they_should(histories: list[UntilHistory]) -> None:
    kinds = Counter[str]()
    for history in histories:
        assert history.decision
        most = len({trial.seed for trial in history.plan.trials.values()})
        kinds["open"] += bool(history.decision.open)
        kinds["early"] += not history.decision.open and history.decision.whole < most
        kinds["unequal"] += len(set(history.decision.seeds.values())) > 1
        kinds["killed"] += history.lives > 1
        kinds["failed"] += bool(history.failed)
    assert min(kinds[kind] for kind in ("open", "early", "unequal", "killed", "failed")) > STUDIES // 25, kinds


def begun_in_vain(seed: int, *, is_by_seed: bool = True) -> int:
    """Count the trials of a study without failures that were begun in vain, beyond one a slot for each decision."""
    history = simulate_until(seed, is_calm=True, is_by_seed=is_by_seed)
    assert history.decision
    decisions = len(set(history.decision.seeds.values()))
    return max(len(history.started - counted(history)) - decisions * history.slots, 0)


@pytest.mark.medium
def test_no_more_is_begun_in_vain_than_there_are_slots() -> None:
    assert sum(map(begun_in_vain, range(CALM))) == 0
    assert sum(begun_in_vain(seed, is_by_seed=False) for seed in range(CALM)) > 0  # without the rule there is more
