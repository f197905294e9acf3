"""The trials of a job as other tools think of them: runs with a name, parameters, and metrics by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import pyarrow as pa

from jobs.store import SETTINGS

Row = Mapping[str, Any]

# The name that other tools see -> the column.
BY_EPOCH = {
    "train/accuracy": "train_accuracy",
    "train/loss": "train_loss",
    "validation/accuracy": "validation_accuracy",
    "validation/loss": "validation_loss",
    "learning_rate": "epoch_learning_rate",
}
AT_THE_END = {"test/accuracy": "test_accuracy", "test/loss": "test_loss"}


@dataclass(frozen=True)
class Run:
    """One trial that has ended."""

    group: str  # names its configuration
    name: str  # names its seed
    trial: Row  # its row in the table `trials`
    epochs: Sequence[Row]  # its rows in the table `metrics`

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the trial uses."""
        return {field.name: self.trial[field.name] for field in SETTINGS if self.trial[field.name] is not None}

    @property
    def results(self) -> dict[str, float]:
        """The results on the test set, by the name that other tools see."""
        return {name: self.trial[column] for name, column in AT_THE_END.items() if self.trial[column] is not None}

    @cached_property
    def ends_of_epochs(self) -> list[float]:
        """When each epoch ended, in seconds since 1970: the last one as the trial did."""
        if not self.epochs:  # as of a trial that failed
            return []
        end = self.trial["finished_at"].timestamp()
        left = [*accumulate((row["epoch_seconds"] for row in reversed(self.epochs[1:])), initial=0.0)]
        return [end - seconds for seconds in reversed(left)]


def runs_of(trials: pa.Table, metrics: pa.Table) -> list[Run]:
    """Make a run of each trial that ended, in the order of the trials.

    Args:
        trials: A table with the schema TRIALS.
        metrics: A table with the schema METRICS, of the same job.
    """
    epochs: dict[str, list[Row]] = {}
    for row in metrics.sort_by("epoch").to_pylist():
        epochs.setdefault(row["trial_id"], []).append(row)
    return [_run(row, epochs.get(row["trial_id"], [])) for row in trials.to_pylist()]


def _run(trial: Row, epochs: Sequence[Row]) -> Run:
    schedule = "adaptive" if trial["adaptive_lr"] else "fixed"
    group = f"{trial['model']}-{trial['subset_size']}-{schedule}-{trial['configuration_id']}"
    return Run(group, f"seed-{trial['seed']}", trial, epochs)
