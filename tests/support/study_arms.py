"""Studies made of random numbers: accuracies by configuration and seed, without training anything."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from jobs.report.arms import Arms
from jobs.report.configurations import CONFIGURATION_COLUMNS
from mnist_core.trial import Trial


def arms_of(
    axes: Mapping[str, Sequence[Any]], seeds: int, accuracy: Callable[[Mapping[str, Any], int], float | None]
) -> Arms:
    """Make a full design.

    Args:
        axes: The levels of each axis that varies.
        seeds: How many seeds each configuration has.
        accuracy: The accuracy of a configuration's settings and a seed; None: it did not finish.
    """
    settings, accuracies = {}, {}
    for levels in product(*axes.values()):
        chosen: dict[str, Any] = {"model": "mlp", "subset_size": 500, "adaptive_lr": False} | dict(
            zip(axes, levels, strict=True)
        )
        trial = vars(Trial(**chosen, seed=0))
        arm = repr(sorted((name, trial[name]) for name in CONFIGURATION_COLUMNS))
        settings[arm] = {name: trial[name] for name in CONFIGURATION_COLUMNS}
        measured = {seed: accuracy(trial, seed) for seed in range(seeds)}
        accuracies[arm] = {seed: value for seed, value in measured.items() if value is not None}
    return Arms(settings, accuracies)
