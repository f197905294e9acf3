"""How trials are put together into packs: of one shape, seed by seed, as large as pays and no larger."""

from collections.abc import Callable, Sequence
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_study import tiny_trial

from jobs.run.packs import MAX_TRIALS, Seconds, make_packs
from mnist_core.backends import Device
from mnist_core.trial import Trial, pack_shape

MILLISECOND = 0.001


def study(seeds: int, sizes: Sequence[int] = (20,), rates: int = 2) -> list[Trial]:
    """List trials as a plan does: seed by seed, the largest first."""
    return [
        tiny_trial(seed, subset_size=size, learning_rate=0.01 * (rate + 1))
        for seed in range(seeds)
        for size in sorted(sizes, reverse=True)
        for rate in range(rates)
    ]


def pack(trials: Sequence[Trial], seconds: Seconds, workers: int, device: Device = "cpu") -> list[list[Trial]]:
    """Pack trials, and return those of each pack."""
    packs = make_packs({f"{index}": trial for index, trial in enumerate(trials)}, seconds, workers, device)
    return [list(each.trials.values()) for each in packs]


def by_size(seconds_per_image: float) -> Callable[[Trial], float]:
    return lambda trial: trial.subset_size * seconds_per_image


def test_long_trials_travel_alone_in_the_order_of_the_plan() -> None:
    trials = study(seeds=3, sizes=(20, 60))
    assert pack(trials, by_size(1.0), workers=2) == [[trial] for trial in trials]


def test_tiny_trials_travel_many_to_a_task_and_enough_packs_for_all_workers() -> None:
    packs = pack(study(seeds=200), lambda trial: 2 * MILLISECOND, workers=2)
    assert sorted(map(len, packs)) == [25] * 16  # of 4 ms, with what it takes to write a trial


def test_no_more_packs_than_their_tasks_are_worth() -> None:
    packs = pack(study(seeds=200), lambda trial: 2 * MILLISECOND, workers=1000)
    assert set(map(len, packs)) == {11, 12}  # 50 ms
    (only,) = pack(study(seeds=2), lambda trial: MILLISECOND, workers=2)
    assert len(only) == 4


def test_much_work_is_cut_into_packs_of_a_second() -> None:
    assert set(map(len, pack(study(seeds=4000), lambda trial: 18 * MILLISECOND, workers=2))) == {50}


def test_a_pack_has_at_most_so_many_trials() -> None:
    assert max(map(len, pack(study(seeds=50_000, rates=1), lambda trial: 0.0, workers=1))) <= MAX_TRIALS


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_trials_of_two_shapes_are_never_in_one_pack(device: Device) -> None:
    trials = study(seeds=10, sizes=(20, 60))
    for each in pack(trials, lambda trial: MILLISECOND, workers=2, device=device):
        assert len(set(map(pack_shape, each))) == 1


def test_seeds_share_packs_only_within_a_span_of_eight_seconds_work() -> None:
    packs = pack(study(seeds=4000, sizes=(20, 60)), lambda trial: 18 * MILLISECOND, workers=2)
    spans = [{trial.seed // 200 for trial in each} for each in packs]  # 2 workers x 8 s / 4 trials of 20 ms
    assert spans == sorted(spans, key=min)
    assert set(map(len, spans)) == {1}


def test_the_longest_packs_of_a_span_start_first() -> None:
    trials = study(seeds=4, sizes=(20, 60, 40), rates=3)
    packs = pack(trials, by_size(MILLISECOND), workers=2)
    seconds = [sum(trial.subset_size for trial in each) for each in packs]
    assert seconds == sorted(seconds, reverse=True)


def test_on_cuda_all_trials_of_a_shape_travel_together() -> None:
    trials = study(seeds=5, sizes=(20, 60))
    large, small = pack(trials, by_size(1.0), workers=1, device="cuda")
    assert large == [trial for trial in trials if trial.subset_size == 60]
    assert small == [trial for trial in trials if trial.subset_size == 20]


def test_on_cuda_no_device_is_idle_and_no_pack_too_large() -> None:
    assert list(map(len, pack(study(seeds=5), by_size(1.0), workers=4, device="cuda"))) == [3, 3, 2, 2]
    packs = pack(study(seeds=200), by_size(1.0), workers=1, device="cuda")
    assert list(map(len, packs)) == [256, 144]
    assert {trial.seed for trial in packs[0]} == set(range(128))


@settings(deadline=None)
@given(
    seeds=st.integers(1, 12),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True),
    seconds=st.floats(0, 10),
    workers=st.integers(1, 9),
    device=st.sampled_from(["cpu", "cuda"]),
)
def test_every_trial_is_in_exactly_one_pack(
    seeds: int, sizes: list[int], seconds: float, workers: int, device: Device
) -> None:
    trials = study(seeds, sizes)
    packs = pack(trials, by_size(seconds), workers, device)
    assert sorted(chain(*packs), key=repr) == sorted(trials, key=repr)
    assert all(packs)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("most", [1, 3])
def test_a_round_has_at_most_so_many_seeds(device: Device, most: int) -> None:
    trials = {f"t{index}": trial for index, trial in enumerate(study(seeds=7))}
    packs = make_packs(trials, by_size(0.001), 1, device, max_seeds=most)
    rounds: dict[int, set[int]] = {}
    for each in packs:
        rounds.setdefault(each.round, set()).update(trial.seed for trial in each.trials.values())
    assert list(rounds.values()) == [set(range(first, min(first + most, 7))) for first in range(0, 7, most)]


def test_nothing_to_train_is_no_packs() -> None:
    assert pack([], by_size(1.0), workers=2) == []
