"""The scheduler holds its invariants in thousands of simulated studies, and the simulator finds planted mistakes."""

from collections import Counter

import pytest
from support.mutants import load_mutants
from support.simulated_history import History
from support.simulator import simulate
from support.simulator_audit import violations

from jobs.run import driver, retries, scheduler

STUDIES = 5_000
MAX_STUDIES_PER_MUTANT = 2_000
# Each mistake: its name, the module, the code as it is, and the code as it must not be.
MUTANTS = {
    "a finished pack counts as failed": (
        "scheduler",
        "return _without(_learn(state, event), pack), ()",
        "return _fail(state, pack, _hung_failure(state, pack))",
    ),
    "one retry too many": ("retries", "pack.own_attempts <= retries", "pack.own_attempts <= retries + 1"),
    "what raises is retried forever": ("retries", '"raised": "never"', '"raised": "once alone"'),
    "a lost node uses up retries": ("retries", '"node_lost": "node losses"', '"node_lost": "retries"'),
    "a lost node's packs are forgotten": ("scheduler", "if run.node == node]", "if run.node == node][:0]"),
    "retries start at once": ("scheduler", "state.now_s + wait_s(pack, failure.kind)", "state.now_s"),
    "a pack that runs alone has company": (
        "scheduler",
        "is_blocked = state.running or retries",
        "is_blocked = retries",
    ),
    "lost slots still count": (
        "scheduler",
        "for other, count in state.slots.items() if other != node}",
        "for other, count in state.slots.items()}",
    ),
    "the number of workers is ignored": (
        "scheduler",
        "return wanted if state.rules.max_running is None else min(wanted, state.rules.max_running)",
        "return wanted",
    ),
    "nothing waits beyond the slots": ("scheduler", "min(max(slots, 1), state.rules.headroom)", "0"),
    "without slots nothing waits": (
        "scheduler",
        "min(max(slots, 1), state.rules.headroom)",
        "min(slots, state.rules.headroom)",
    ),
    "as much as allowed waits beyond few slots": (
        "scheduler",
        "min(max(slots, 1), state.rules.headroom)",
        "state.rules.headroom",
    ),
    "another version's node is used": (
        "scheduler",
        "if reason := differences(state.rules.required_facts, joined)",
        "if (reason := differences(state.rules.required_facts, joined)) and state.now_s < 0",
    ),
    "a node that joins is not used": (
        "scheduler",
        "return replace(state, slots={**state.slots, joined.node: joined.slots}), ()",
        "return replace(state, slots={**state.slots, joined.node: 0 if state.now_s else joined.slots}), ()",
    ),
    "the executor does not hear of a refused node": ("driver", "            executor.exclude(node)\n", ""),
    "packs start before nodes are refused": (
        "driver",
        "key=lambda command: not isinstance(command, RefuseNode)",
        "key=lambda command: isinstance(command, RefuseNode)",
    ),
    "only the first trial of a pack is tried again": (
        "retries",
        "for trial_id, trial in pack.trials.items())",
        "for trial_id, trial in [*pack.trials.items()][:1])",
    ),
    "signs of life are not noted": (
        "scheduler",
        "case Progress(pack, epochs):\n            return _note_sign_of_life(state, pack, None, epochs), ()",
        "case Progress(pack, _):\n            return state, ()",
    ),
    "a hung pack is left alone": (
        "scheduler",
        "state.now_s - run.last_event_s > state.rules.hang_timeout_s(pack)",
        "state.now_s < 0",
    ),
    "a cancelled job leaves its tasks running": (
        "scheduler",
        "cancels = tuple(Cancel(pack) for pack in state.running)",
        "cancels = ()",
    ),
    "fail_fast ends nothing": ("scheduler", "if not state.rules.fail_fast:", "if True:"),
    "a failed job is called finished": (
        "scheduler",
        "state = replace(state, has_failed=True)",
        "state = replace(state)",
    ),
    "the job ends while a retry waits": ("scheduler", "if state.is_left:", "if state.running or state.alone:"),
    "the driver takes a task's word": ("driver", "            event = self._check(event)\n", ""),
    "the driver cancels nothing": ("driver", "            executor.cancel(pack)", "            pass"),
}


@pytest.fixture(scope="module")
def histories() -> list[History]:
    return [simulate(seed) for seed in range(STUDIES)]


@pytest.mark.medium
def test_every_study_keeps_the_invariants(histories: list[History]) -> None:
    broken = {seed: found for seed, history in enumerate(histories) if (found := violations(history))}
    assert broken == {}


@pytest.mark.medium
def test_the_studies_contain_what_they_should(histories: list[History]) -> None:
    kinds: Counter[str] = Counter()
    for history in histories:
        for (_, kind), count in history.failures.items():
            kinds[kind] += count
    assert min(kinds[kind] for kind in retries.RETRY_BUDGETS) > 100, kinds
    outcomes = Counter(history.outcome for history in histories)
    assert min(outcomes[outcome] for outcome in ("finished", "failed", "cancelled", "stopped")) > 50, outcomes
    assert sum(history.partitions for history in histories) > 500
    assert sum(history.refusals for history in histories) > 500


def test_the_same_seed_gives_the_same_study() -> None:
    assert simulate(7) == simulate(7)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulator_finds_a_planted_mistake(name: str) -> None:
    originals = {"retries": retries, "scheduler": scheduler, "driver": driver}
    mutants = load_mutants(originals, *MUTANTS[name])
    for seed in range(MAX_STUDIES_PER_MUTANT):
        if violations(simulate(seed, mutants["scheduler"], mutants["driver"])):
            return
    raise AssertionError(f"not found in {MAX_STUDIES_PER_MUTANT} studies: {name}")
