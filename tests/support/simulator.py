"""Simulate studies: the real scheduler and the real driver loop on a virtual clock, with an executor that fails.

One integer seed decides everything: the packs, the nodes, and which faults happen when. The executor can let tasks
crash, raise, hang, run out of memory, vanish with their node, and end without the part that they report. Nodes leave
and join, some of another version, and some are cut off: what runs there is not heard of any longer, and much later the
node is lost; it may come back. `simulate` returns what happened; `simulator_audit` holds it to the invariants of a
scheduler.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from cluster import Done, Failed, NodeJoined, NodeLost, Progress, Started, TaskFailure
from jobs.run import TaskResult
from jobs.run import driver as real_driver
from jobs.run import scheduler as real_scheduler
from jobs.run.budget import Budget
from jobs.run.events import CancelAsked, GiveUp, RefuseNode, Retry
from jobs.run.pace import Pace
from jobs.run.packs import Pack
from support.simulated_history import WAITING_KINDS, History, is_retry_allowed
from support.simulated_study import NOISE, OTHER_VERSION, VERSION, Study, expected_pack_s, expected_s, make_study

HANG_S = 50.0
TOLERANCE_S = 1e-6
MAX_EVENTS = 20_000  # of one study: a scheduler that needs more is not live
FAULTS = ("crashed", "storage", "out_of_memory", "raised", "hang", "lie")


class VirtualExecutor:
    """An executor of which nothing runs: what its tasks do is scheduled on a virtual clock."""

    def __init__(self, study: Study, seed: int) -> None:
        self.now_s = 0.0
        self.history = History(study)
        self._study = study
        self._rng = random.Random(seed + 1)
        self._agenda: list[tuple[float, int, Callable[[], Iterator[Any]]]] = []
        self._order = itertools.count()
        self._ready: list[Any] = []
        self._slots = {node.node: node.slots for node in study.nodes}
        self._queue: list[Pack] = []  # submitted, without a slot yet
        self._on: dict[Pack, str] = {}  # running packs and their nodes
        self._in_flight: set[Pack] = set()  # submitted, without an end that was reported
        self._last_event: dict[Pack, float] = {}
        self._lost_with: dict[str, set[Pack]] = {}
        self._names = itertools.count(len(study.nodes))
        self._excluded: set[str] = set()
        self._cut_off: set[str] = set()
        self._other_version = {node.node for node in study.nodes if node.facts != VERSION}
        self._lost: set[Pack] = set()  # packs that the scheduler knows to have been on a lost node
        self._announced: dict[str, int] = {node.node: node.slots for node in study.nodes}  # as the scheduler knows
        self._is_measured = False  # whether any pack has finished
        self._never = {trial_id for pack in study.packs for trial_id in pack.trials}  # submitted
        self._not_before: dict[str, float] = {}  # of trials that wait for a retry
        self._at(self._rng.uniform(0, 40), self._churn)
        if study.cancel_s is not None:
            self._at(study.cancel_s, lambda: iter([CancelAsked()]))

    # The interface of an executor.

    def submit(self, pack: Pack) -> None:
        history = self.history
        history.starts.update(list(pack.trials))
        self._never -= pack.trials.keys()
        history.started_after_stored += [each for each in pack.trials if each in history.stored]
        others = self._queue + list(self._on)
        history.alone_beside_others += bool(others) and (pack.is_alone or any(each.is_alone for each in others))
        history.started_after_fail_fast += self._study.fail_fast and bool(history.given_up)
        history.over_capacity += len(self._in_flight) >= self._allowed()
        self._in_flight.add(pack)
        early = [each for each in pack.trials if self.now_s < self._not_before.get(each, 0.0) - TOLERANCE_S]
        history.retried_too_early += early
        history.note_start_within_budget(pack, self.now_s, self._is_measured)
        self._queue.append(pack)
        self._place_queued()

    def cancel(self, pack: Pack) -> None:
        self._lost.discard(pack)
        self._in_flight.discard(pack)
        if pack in self._queue:
            self._queue.remove(pack)
        self._release(pack)
        self._ready = [event for event in self._ready if getattr(event, "item", None) != pack]

    def exclude(self, node: str) -> None:
        self._excluded.add(node)
        self._announced.pop(node, None)

    def close(self) -> None:
        self.history.orphans = len(self._queue) + len(self._on)

    def next_event(self, timeout_s: float) -> Any:  # noqa: ANN401
        self.history.events += 1
        self.history.left_on_lost_node += len(self._lost)
        self._place_queued()  # on a node whose joining the scheduler has handled by now
        is_hidden = bool(self._never) and self._study.within_s is None and len(self._in_flight) < self._allowed()
        self.history.hidden_demand += is_hidden
        if self.history.events > MAX_EVENTS:
            raise AssertionError("not live: too many events")
        until_s = self.now_s + timeout_s
        while not self._ready and self._agenda and self._agenda[0][0] <= until_s:
            self.now_s, _, action = heapq.heappop(self._agenda)
            self._ready += action()
        if not self._ready:
            self.now_s = until_s
            return None
        event = self._ready.pop(0)
        match event:
            case Started(pack) | Progress(pack):
                self._last_event[pack] = self.now_s
            case Done(pack) | Failed(pack):
                self._in_flight.discard(pack)
                self._is_measured |= isinstance(event, Done) and event.result.part == "stored"
            case NodeJoined(node, slots):
                self._announced[node] = slots
            case NodeLost(node):
                self._announced.pop(node, None)
                self._lost = self._lost_with.pop(node)
        return event

    def _allowed(self) -> int:
        """Return how many packs may, and should, be submitted at once."""
        slots = sum(self._announced.values())
        wanted = slots + min(max(slots, 1), self._study.headroom)
        return min(wanted, self._study.max_running or wanted)

    # What the simulated world does.

    def _at(self, when_s: float, action: Callable[[], Iterator[Any]]) -> None:
        heapq.heappush(self._agenda, (when_s, next(self._order), action))

    def _place_queued(self) -> None:
        """Start queued packs on nodes with a free slot, of which the scheduler knows, and that it has not refused."""
        for pack in list(self._queue):
            busy = Counter(self._on.values())
            free = [node for node in self._announced if busy[node] < self._slots.get(node, 0)]
            if not free:
                return
            self._queue.remove(pack)
            self._on[pack] = self._rng.choice(free)
            self.history.on_other_version += self._on[pack] in self._other_version
            self._at(self.now_s, lambda pack=pack, node=self._on[pack]: self._begin(pack, node))  # type: ignore[misc]

    def _is_current(self, pack: Pack, node: str) -> bool:
        """Tell whether a pack runs on a node that is heard of."""
        return self._on.get(pack) == node and node not in self._cut_off

    def _begin(self, pack: Pack, node: str) -> Iterator[Any]:
        if not self._is_current(pack, node):
            return
        yield Started(pack, node)
        seconds = self._rng.uniform(0.1, 20)
        if self._study.within_s is not None:
            seconds = expected_pack_s(pack) * self._study.slowness * self._rng.uniform(*NOISE)
        fault = None
        if self.now_s < self._study.faults_end_s and self._rng.random() < self._study.fault_rate:
            fault = self._rng.choice(FAULTS)
        if self._study.broken & pack.trials.keys():
            fault = "raised"
        all_epochs = pack.first_trial.epochs * len(pack.trials)
        for epochs in (max(1, int(share * all_epochs)) for share in (0.3, 0.6)):
            when_s = self.now_s + seconds * epochs / all_epochs
            self._at(when_s, lambda epochs=epochs: self._progress(pack, node, epochs))  # type: ignore[misc]
        if fault != "hang":
            self._at(self.now_s + seconds, lambda: self._finish(pack, node, fault))

    def _progress(self, pack: Pack, node: str, epochs: int) -> Iterator[Any]:
        if self._is_current(pack, node):
            yield Progress(pack, epochs)

    def _finish(self, pack: Pack, node: str, fault: str | None) -> Iterator[Any]:
        if not self._is_current(pack, node):
            return
        self._release(pack)
        if fault not in (None, "lie"):
            yield Failed(pack, TaskFailure(fault, "simulated", ""))  # type: ignore[arg-type]
            return
        if fault is None:
            self.history.stored.update(dict.fromkeys(pack.trials, self.now_s))
        yield Done(pack, TaskResult(fault or "stored", node, ("finished",)))

    def _release(self, pack: Pack) -> None:
        if self._on.pop(pack, None):
            self._place_queued()

    def _churn(self) -> Iterator[Any]:
        """Let a node leave or join, and plan the next change, while faults last; leave a usable node at the end."""
        if self.now_s < self._study.faults_end_s:
            self._at(self.now_s + self._rng.uniform(1, 60), self._churn)
            if self._slots and self._rng.random() < 0.5:
                node = self._rng.choice(sorted(self._slots))
                yield from self._cut(node) if self._rng.random() < 0.5 else self._lose(node)
                return
        elif self._slots.keys() - self._excluded - self._cut_off:
            return
        is_alike = self.now_s >= self._study.faults_end_s or self._rng.random() < 0.8
        yield from self._join(f"n{next(self._names)}", is_alike)

    def _join(self, name: str, is_alike: bool) -> Iterator[Any]:
        self._slots[name] = self._rng.randint(1, 3)
        self._other_version |= set() if is_alike else {name}
        yield NodeJoined(name, self._slots[name], VERSION if is_alike else OTHER_VERSION)

    def _cut(self, node: str) -> Iterator[Any]:
        """Hear nothing of a node any longer, and notice that after a while; perhaps it comes back then."""
        self.history.partitions += 1
        self._cut_off.add(node)
        self._at(self.now_s + self._rng.uniform(20, 70), lambda: self._give_up_cut_off(node))
        return iter(())

    def _give_up_cut_off(self, node: str) -> Iterator[Any]:
        if node not in self._cut_off:
            return  # it was lost meanwhile, and may have come back
        self._cut_off.discard(node)
        unheard = [pack for pack, other in self._on.items() if other == node and pack not in self._last_event]
        for pack in unheard:  # an executor sends them elsewhere: for the scheduler they are still queued
            del self._on[pack]
            self._queue.insert(0, pack)
        yield from self._lose(node)
        if self._rng.random() < 0.5:
            self._at(self.now_s + self._rng.uniform(0, 30), lambda: self._join(node, node not in self._other_version))
        self._place_queued()

    def _lose(self, node: str) -> Iterator[Any]:
        del self._slots[node]
        self._cut_off.discard(node)
        lost = [pack for pack, other in self._on.items() if other == node]
        for pack in lost:
            del self._on[pack]
        self._lost_with[node] = {pack for pack in lost if pack in self._last_event}
        yield NodeLost(node)
        for pack in lost:  # a cluster also reports the loss of each task, sooner or later
            if self._rng.random() < 0.3 or pack not in self._last_event:
                self._at(self.now_s + 1, lambda pack=pack: iter([Failed(pack, _LOST)]))  # type: ignore[misc]

    # What the scheduler did, as the driver reports it.

    def note(self, event: Any) -> None:  # noqa: ANN401
        match event:
            case GiveUp(pack, failure):
                self.history.given_up += pack.trials
                self._count(pack, failure)
            case Retry(pack, failure, _):
                self._count(pack, failure)
                if not is_retry_allowed(pack, failure, self._study.retries):
                    self.history.retried_without_budget += pack.trials
                if failure.kind in WAITING_KINDS:
                    due_s = self.now_s + min(4.0 ** (pack.attempt - pack.node_losses - 1), 60.0)
                    self._not_before.update(dict.fromkeys(pack.trials, due_s))
            case RefuseNode(node, reason):
                self.history.refusals += 1
                assert node in self._excluded, f"{node} is refused ({reason}), and the executor does not know"

    def _count(self, pack: Pack, failure: TaskFailure) -> None:
        self.history.failures.update((trial_id, failure.kind) for trial_id in pack.trials)
        heard_s = self._last_event.get(pack)
        if failure.kind == "hung" and (heard_s is None or self.now_s - heard_s < HANG_S - TOLERANCE_S):
            self.history.hung_too_early.append(pack)


_LOST = TaskFailure("node_lost", "reported late", "")


def simulate(seed: int, scheduler: ModuleType = real_scheduler, driver: ModuleType = real_driver) -> History:
    """Run a study to its end; with other modules, such as mutants of them, in place of the real ones."""
    study = make_study(seed)
    executor = VirtualExecutor(study, seed)

    def check(event: Any) -> Any:  # noqa: ANN401
        """Find out, as the driver does, that a task did not write the part that it reports."""
        if isinstance(event, Done) and event.result.part == "lie":
            return Failed(event.item, TaskFailure("raised", "not in the store", ""))
        return event

    rules = scheduler.Rules(
        study.retries, lambda pack: HANG_S, study.fail_fast, study.max_running, VERSION, study.headroom
    )
    is_grounded = seed % 2 == 0
    budget = None if study.within_s is None else Budget(study.within_s, Pace(expected_s), is_grounded)
    state = scheduler.begin(study.packs, rules, budget)
    try:
        ended = driver.drive(state, study.nodes, executor, check, executor.note, clock=lambda: executor.now_s)
        executor.history.outcome = ended.outcome
    except AssertionError as error:
        executor.history.outcome = f"stuck: {error}"
    executor.close()
    executor.history.ended_s = executor.now_s
    return executor.history
