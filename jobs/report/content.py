"""What the report of a job is made from: the job's tables, and what figures and page need of stored trials."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.report.arms import Arms, read_arms
from jobs.report.contrasts import contrast_table
from jobs.report.effects import effect_table
from jobs.report.pictures import Images, Pictures, begin_reading, take_pictures
from jobs.report.summary import summarize
from jobs.report.tables import confusion_table, identify, metrics_table, trials_table
from jobs.store import Job, Parts, Store, counted_failures, counted_trials, read_weights
from mnist_core.trial import SETTINGS, Trial

if TYPE_CHECKING:
    from jobs.report.page import PageContent


@dataclass(frozen=True)
class Content:
    """What the report of a job is made from; implements jobs.report.page_figures.PageTrials."""

    store: Store
    job: Job
    requested: pa.Table
    parts: Parts

    @cached_property
    def rows(self) -> pa.Table:
        return identify(self.parts.table, self.requested)

    @cached_property
    def trials(self) -> pa.Table:
        return trials_table(self.rows, self.requested, self.job)

    @cached_property
    def summary(self) -> pa.Table:
        counted = counted_trials(self.job, self.requested)
        failed = [failure.trial_id for failure in counted_failures(self.job, counted)]
        until = self.job.record.until
        return summarize(self.parts.table, self.requested, failed, test_images=self.job.dataset.test_size, until=until)

    @cached_property
    def arms(self) -> Arms:
        return read_arms(self.parts.table, self.requested)

    @cached_property
    def contrasts(self) -> pa.Table:
        record = self.job.record
        return contrast_table(self.arms, record.dataset.test_size, record.baseline, record.margin, record.until)

    @cached_property
    def effects(self) -> pa.Table:
        record = self.job.record
        return effect_table(self.arms, record.dataset.test_size, record.baseline, record.until)

    @cached_property
    def _weights(self) -> dict[str, str]:
        columns = (self.rows[name].to_pylist() for name in ("trial_id", "weights_sha256"))
        return dict(zip(*columns, strict=True))

    def page(self, file_names: Sequence[str]) -> "PageContent":
        """Collect what the page is made from, beside which these files are."""
        from jobs.report.page import PageContent

        return PageContent(self.job, self.summary, self.trials, self.contrasts, self.effects, self, file_names)

    def metrics(self, trial_ids: Sequence[str]) -> pa.Table:
        return metrics_table(self._rows_of(trial_ids))

    def confusion(self, trial_ids: Sequence[str]) -> pa.Table:
        return confusion_table(self._rows_of(trial_ids))

    def first_layer(self, trial_id: str) -> NDArray[np.float32] | None:
        weights = read_weights(self.store, trial_id, self._weights[trial_id])
        return None if weights is None else weights["W1"]

    def initial_layer(self, trial_id: str) -> NDArray[np.float32]:
        from mnist_core.models.mlp import MLP
        from mnist_core.seeds import generator

        (row,) = self.requested.filter(pc.equal(self.requested["trial_id"], trial_id)).to_pylist()
        trial = Trial(**{name: row[name] for name in SETTINGS})
        layer: NDArray[np.float32] = MLP.from_trial(trial, generator(trial.seed, "weights")).parameters["W1"]
        return layer

    def digits(self, trial_id: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        row = self._places[trial_id]
        actual, predicted = (self.parts.table[name][row].as_py() for name in ("actual", "predicted"))
        if actual is None or predicted is None or len(actual) != len(predicted):
            return None
        return np.frombuffer(actual, np.uint8), np.frombuffer(predicted, np.uint8)

    def begin_pictures(self) -> None:
        """Begin to read the test images, so that nobody waits when `pictures` is called."""
        if self.parts.table.num_rows:
            _ = self._reading

    def pictures(self, images: Sequence[int]) -> Pictures:
        return take_pictures(self._reading, images)

    @cached_property
    def _reading(self) -> Future[Images]:
        return begin_reading(self.job.dataset)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {trial_id: row for row, trial_id in enumerate(self.parts.table["trial_id"].to_pylist())}

    def _rows_of(self, trial_ids: Sequence[str]) -> pa.Table:
        return self.rows.filter(pc.is_in(self.rows["trial_id"], pa.array(trial_ids, pa.string())))
