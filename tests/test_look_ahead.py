"""Seeds that may prove needless start only in idle slots, and are dropped once the results are enough."""

from dataclasses import replace

from support.tiny_study import tiny_trial

from cluster import Done, Failed, NodeJoined, TaskFailure
from jobs.run.events import Cancel, Command, Enough, Finish, SchedulerEvent, Start, Tick
from jobs.run.packs import Pack
from jobs.run.scheduler import Rules, State, begin, step
from jobs.run.task import TaskResult

NODE = NodeJoined("n", 2)
OUT_OF_MEMORY = TaskFailure("out_of_memory", "killed", "")


def packs(seeds: int, configurations: str = "ab") -> list[Pack]:
    """Make a pack for each configuration and seed, named a0, b0, a1 and so on."""
    return [
        Pack({f"{name}{seed}": tiny_trial(seed, learning_rate=0.01 * (1 + index))}, round=seed)
        for seed in range(seeds)
        for index, name in enumerate(configurations)
    ]


def play(state: State, *events: SchedulerEvent) -> tuple[State, list[list[str]]]:
    """Feed events; return the state, and for each event what was started, and cancelled with a minus before it."""
    told = []
    for number, event in enumerate(events):
        state, commands = step(state, event, float(number))
        told.append([text for command in commands if (text := _text(command))])
    return state, told


def _text(command: Command) -> str:
    match command:
        case Start(pack):
            return " ".join(pack.trials)
        case Cancel(pack):
            return f"-{' '.join(pack.trials)}"
        case Finish(outcome):
            return outcome
    return ""


def by_seed(seeds: int) -> State:
    return begin(packs(seeds), Rules(2, lambda pack: 600.0, is_by_seed=True))


def done(name: str) -> Done[Pack, TaskResult]:
    (pack,) = (each for each in packs(9) if name in each.trials)
    return Done(pack, TaskResult("stored", "n", ("finished",)))


def test_idle_slots_look_ahead_as_far_as_there_are_slots() -> None:
    _, told = play(by_seed(5), NODE, done("b0"), done("a1"), done("b1"), done("a0"), done("a2"))
    # While a0 runs, two packs of later seeds are begun in all; then a2 waits until a0 has ended.
    assert told == [["a0", "b0"], ["a1"], ["b1"], [], ["a2", "b2"], ["a3"]]


def test_needless_packs_neither_start_nor_go_on() -> None:
    state, told = play(by_seed(4), NODE, done("a0"), done("b0"))
    assert told[-1] == ["b1"]
    dropped = frozenset({"a1", "a2", "a3"})
    state, told = play(state, Enough(dropped), done("b1"), done("b2"), done("b3"))
    assert told == [["-a1", "b2"], ["b3"], [], ["finished"]]


def test_a_pack_keeps_the_trials_that_are_still_needed() -> None:
    pair = Pack({"a0": tiny_trial(0), "b0": tiny_trial(0, learning_rate=0.02)})
    later = replace(pair, trials={"a1": tiny_trial(1), "b1": tiny_trial(1, learning_rate=0.02)}, round=1)
    last = replace(pair, trials={"a2": tiny_trial(2), "b2": tiny_trial(2, learning_rate=0.02)}, round=2)
    state, _ = play(begin([pair, later, last], Rules(2, lambda pack: 600.0, is_by_seed=True)), NODE)
    state, told = play(state, Enough(frozenset({"a1", "a2"})))
    assert told == [[]]  # b1 is still trained by the pack that runs
    _, told = play(state, Done(pair, TaskResult("stored", "n", ("finished",) * 2)))
    assert told == [["b2"]]


def test_enough_of_everything_ends_the_job() -> None:
    state, _ = play(by_seed(2), NODE, done("a0"), done("b0"))
    _, told = play(state, Enough(frozenset({"a1", "b1"})))
    assert told == [["-a1", "-b1", "finished"]]


def test_a_seed_is_not_held_up_by_a_trial_that_has_to_run_alone() -> None:
    """Otherwise it would run last, after every seed that the grid allows."""
    (first, *_) = packs(1)
    state, told = play(by_seed(9), NODE, done("b0"), Failed(first, OUT_OF_MEMORY), done("a1"))
    assert told == [["a0", "b0"], ["a1"], [], ["a0"]]
    (again,) = state.running
    assert again.is_alone
    _, told = play(state, Tick(), Done(again, TaskResult("stored", "n", ("finished",))))
    assert told == [[], ["b1", "a2"]]


def test_a_retry_that_is_dropped_is_not_waited_for() -> None:
    (first, *_) = packs(1)
    state, _ = play(by_seed(1), NODE, Failed(first, TaskFailure("crashed", "it died", "")))
    assert state.delayed
    _, told = play(state, Enough(frozenset({"a0"})), done("b0"))
    assert told == [[], ["finished"]]


def test_without_the_rule_later_rounds_start_freely() -> None:
    free = begin(packs(5), Rules(2, lambda pack: 600.0))
    _, told = play(free, NODE, done("b0"), done("a1"), done("b1"), done("a2"))
    assert told == [["a0", "b0"], ["a1"], ["b1"], ["a2"], ["b2"]]
