"""Simulate studies whose seeds end by a rule: kills of the driver, failures, and any order of completion.

A life is a simulated job (support.simulator) of what the lives before it have not stored; the last one is not killed.
Accuracies are drawn from the study's seed, so that the decision can be compared with that of somebody who has seen all
of them at once.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster import Done, Failed, NodeJoined, TaskFailure
from jobs.grid.grid import parse_grid
from jobs.report.arms import Arms
from jobs.report.configurations import CONFIGURATION_COLUMNS
from jobs.report.stopping import Study as Comparisons
from jobs.report.stopping import decide
from jobs.run import Plan, driver, scheduler, seed_rule
from jobs.run.events import Enough, GiveUp
from jobs.run.packs import make_packs
from jobs.run.timings import Timings
from jobs.run.until import SeedWatch
from jobs.store import Decision
from jobs.store.layout import Store
from mnist_core.data import DatasetInfo
from mnist_core.trial import trial_id
from support.simulated_history import History
from support.simulated_study import VERSION, Study
from support.simulator import HANG_S, VirtualExecutor

IMAGES = 1000
INFO = DatasetInfo(name="digits", fingerprint="0" * 64, train_size=100, validation_size=50, test_size=IMAGES)
GRID = """\
name: simulated
dataset: digits
grid: {{model: [mlp], subset_size: {sizes}, adaptive_lr: [false, true], seeds: {{until: {until}, at_most: {most}}}}}
compare: {{margin: {margin}pp}}
"""


class KilledError(Exception):
    """The driver was killed."""


class MortalExecutor(VirtualExecutor):
    """An executor whose driver is killed at some time; its tasks die with it."""

    def __init__(self, study: Study, seed: int, death_s: float) -> None:
        super().__init__(study, seed)
        self.study, self._death_s = study, death_s

    def next_event(self, timeout_s: float) -> Any:  # noqa: ANN401
        event = super().next_event(timeout_s)
        if self.now_s >= self._death_s:
            raise KilledError
        return event


@dataclass
class UntilHistory:
    """The end of a study."""

    plan: Plan
    slots: int
    lives: int = 0
    outcome: str | None = None
    decision: Decision | None = None
    stored: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)  # for good, in the last life
    troubles: list[str] = field(default_factory=list)

    def decide(self, ended: Collection[str], failed: Collection[str], at_most: int | None = None) -> Decision:
        """Decide on the accuracies of trials that have ended."""
        return _decide(self.plan, ended, failed, at_most)


def _decide(plan: Plan, ended: Collection[str], failed: Collection[str], at_most: int | None = None) -> Decision:
    rule, of = seed_rule(plan.grid), plan.configurations
    assert rule
    settings = {
        of[each]: {name: vars(trial)[name] for name in CONFIGURATION_COLUMNS} for each, trial in plan.trials.items()
    }
    accuracies: dict[str, dict[int, float]] = {arm: {} for arm in settings}
    seeds: dict[str, set[int]] = {arm: set() for arm in settings}
    for each in ended:
        seeds[of[each]].add(plan.trials[each].seed)
        if each not in failed:
            accuracies[of[each]][plan.trials[each].seed] = accuracy(plan, each)
    compare = plan.grid.compare
    rule = rule if at_most is None else rule.model_copy(update={"at_most": at_most})
    return decide(rule, Arms(settings, accuracies), seeds, Comparisons(IMAGES, {}, compare.margin_fraction))


def accuracy(plan: Plan, each: str) -> float:
    """Return the accuracy that a trial will have: an effect of its settings, and noise that differs in size."""
    trial = plan.trials[each]
    effect = 0.02 * trial.adaptive_lr * (trial.subset_size % 3) + 0.001 * trial.subset_size
    noise = random.Random(f"{plan.grid.name} {trial.subset_size} {trial.adaptive_lr} {trial.seed}").gauss(0, 0.006)
    return round((0.5 + effect + noise) * IMAGES) / IMAGES


def make_plan(seed: int) -> Plan:
    """Draw a study: its sizes, its rule, its margin."""
    rng = random.Random(seed)
    text = GRID.format(
        sizes=rng.sample(range(1, 50), rng.randint(1, 3)),
        until=rng.choice(["decided"] * 3 + ["2.5pp"]),
        most=rng.randint(3, 14),
        margin=rng.choice([0.1, 1, 3]),
    ).replace("simulated", f"simulated-{seed}")
    grid = parse_grid(text, file="grid.yaml", folder=Path(), dataset_info=INFO)
    trials = {trial_id(trial, INFO.fingerprint): trial for trial in grid.trials()}
    plan = Plan(grid, Store(Path("/nowhere")), trials, frozenset(), Timings(INFO.validation_size))
    return plan


def simulate_until(
    seed: int, *, is_calm: bool = False, is_by_seed: bool = True, watch: type[SeedWatch] = SeedWatch
) -> UntilHistory:
    """Run a study to its end.

    Args:
        seed: Decides everything.
        is_calm: Whether nothing fails and nobody is killed.
        is_by_seed: Whether the scheduler looks ahead as it should.
        watch: The real one, or a mutant of it.
    """
    rng = random.Random(seed + 1_000_000)
    nodes = tuple(NodeJoined(f"n{index}", rng.randint(1, 3), VERSION) for index in range(rng.randint(1, 3)))
    history = UntilHistory(make_plan(seed), sum(node.slots for node in nodes))
    deaths = [] if is_calm else [rng.uniform(1, 150) for _ in range(rng.randint(0, 3))]
    broken = frozenset(each for each in history.plan.trials if not is_calm and rng.random() < rng.choice((0, 0.03)))
    for life, death_s in enumerate([*deaths, float("inf")]):
        plan = replace(history.plan, stored=frozenset(history.stored), decision=None)
        plan = plan.with_decide(history.decide)
        packs = make_packs({each: plan.trials[each] for each in plan.missing}, lambda trial: 1.0, 2, max_seeds=1)
        faults = (0.0, 0.0) if is_calm else (rng.choice((0.0, 0.1, 0.3)), 200.0)  # rate, and until when
        study = Study(tuple(packs), nodes, 2, False, None, *faults, None, broken, 0, None, 1.0)
        _live(history, plan, MortalExecutor(study, rng.randint(0, 10**9), death_s), is_by_seed, watch)
        history.lives = life + 1
        if history.outcome:
            break
    return history


def _live(history: UntilHistory, plan: Plan, executor: MortalExecutor, is_by_seed: bool, kind: type[SeedWatch]) -> None:
    assert plan.decide
    assert plan.decision
    watch, failed = kind(plan, plan.decide, plan.decision), set[str]()

    def check(event: Any) -> Any:  # noqa: ANN401
        if isinstance(event, Done) and event.result.part == "lie":
            return Failed(event.item, TaskFailure("raised", "not in the store", ""))
        if isinstance(event, Done):
            watch.note(event.item.trials)
        return event

    def observe(event: Any) -> None:  # noqa: ANN401
        if isinstance(event, GiveUp):
            watch.note(event.pack.trials, has_failed=True)
            failed.update(event.pack.trials)
        if not isinstance(event, Enough):
            executor.note(event)

    rules = scheduler.Rules(2, lambda pack: HANG_S, False, None, VERSION, 0, is_by_seed)
    try:
        state = driver.drive(
            scheduler.begin(executor.study.packs, rules),
            executor.study.nodes,
            executor,
            check,
            observe,
            clock=lambda: executor.now_s,
            enough=watch.look,
        )
        history.outcome = state.outcome
    except KilledError:
        pass
    history.started |= executor.history.starts.keys()
    history.stored |= executor.history.stored.keys()
    history.failed, history.decision = failed, watch.decision
    executor.close()
    _find_troubles(history, executor.history)


def _find_troubles(history: UntilHistory, seen: History) -> None:
    """Note what one driver did that no driver may do."""
    history.troubles += [f"{each} ran again after it had been stored" for each in seen.started_after_stored]
    history.troubles += ["a pack that runs alone had company"] * seen.alone_beside_others
    history.troubles += ["too many packs at once"] * seen.over_capacity
    history.troubles += ["tasks ran on after the end"] * (seen.orphans if history.outcome else 0)
