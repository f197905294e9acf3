"""A simulated study, drawn from one integer seed."""

import itertools
import random
from dataclasses import dataclass

from cluster import NodeJoined
from jobs.run.packs import Pack
from mnist_core.trial import Trial

VERSION = {"version": "1"}
OTHER_VERSION = {"version": "2"}
NOISE = (0.8, 1.25)  # by which packs of one kind differ


@dataclass(frozen=True)
class Study:
    """The study of one seed."""

    packs: tuple[Pack, ...]
    nodes: tuple[NodeJoined, ...]
    retries: int
    fail_fast: bool
    max_running: int | None
    fault_rate: float  # of attempts, while faults last
    faults_end_s: float  # from then on nothing fails
    cancel_s: float | None
    broken: frozenset[str]  # trials that raise whenever they are trained
    headroom: int  # packs to submit beyond the slots
    within_s: float | None  # a budget
    slowness: float  # by which packs take longer than is expected, under a budget


def make_study(seed: int) -> Study:
    """Draw a study."""
    rng = random.Random(seed)
    packs, number = [], itertools.count()
    for index in range(rng.randint(0, 12)):
        size, trial = rng.choice((1, 1, 1, 2, 5)), _trial(rng.randint(1, 9))
        packs.append(Pack({f"t{next(number)}": trial for _ in range(size)}, round=index // 3))
    ids = [trial_id for pack in packs for trial_id in pack.trials]
    return Study(
        packs=tuple(packs),
        nodes=tuple(_node(f"n{index}", rng) for index in range(rng.randint(1, 4))),
        retries=rng.randint(0, 4),
        fail_fast=rng.random() < 0.1,
        max_running=rng.choice((None, None, 1, 2, 5)),
        fault_rate=rng.choice((0.0, 0.1, 0.3, 0.7)),
        faults_end_s=rng.choice((0.0, 100.0, 2000.0)),
        cancel_s=rng.uniform(0, 60) if rng.random() < 0.1 else None,
        broken=frozenset(trial_id for trial_id in ids if rng.random() < rng.choice((0.0, 0.0, 0.1))),
        headroom=rng.choice((0, 2, 32)),
        within_s=rng.uniform(1, 150) if rng.random() < 0.3 else None,
        slowness=rng.choice((0.3, 1.0, 1.0, 4.0)),
    )


def _node(name: str, rng: random.Random) -> NodeJoined:
    return NodeJoined(name, rng.randint(1, 3), VERSION if rng.random() < 0.9 else OTHER_VERSION)


def _trial(epochs: int) -> Trial:
    return Trial(model="mlp", subset_size=20, adaptive_lr=False, seed=0, epochs=epochs)


def expected_s(trial: Trial) -> float:
    """Return how long a trial is expected to take."""
    return float(trial.epochs)


def expected_pack_s(pack: Pack) -> float:
    return sum(map(expected_s, pack.trials.values()))
