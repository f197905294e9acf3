"""The report's figures as charts of Altair, for a notebook: to look at, to hover over, to change."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.report.altair_import import alt
from jobs.report.charts import Spec, theme
from jobs.report.choice import configurations_of
from jobs.report.curves import training_chart
from jobs.report.drawing import Rows
from jobs.report.figures import (
    confusion_counts,
    curves_of,
    find_first_layer,
    forest_panels,
    learning_lines,
    training_groups,
)
from jobs.report.forest import forest_chart
from jobs.report.formats import format_count
from jobs.report.learning import learning_chart
from jobs.report.matrices import matrix_chart, sheet_chart

if TYPE_CHECKING:
    from altair.typing import ChartType


def learning(summary: pa.Table, trials: pa.Table) -> "ChartType":
    """Chart the test accuracy against the subset size."""
    _, lines = learning_lines(configurations_of(summary, trials))
    return _chart(*learning_chart("Learning curve: test accuracy against subset size", lines))


def training(summary: pa.Table, trials: pa.Table, metrics: pa.Table) -> "dict[str, ChartType]":
    """Chart the training curves, by model, size and other settings, with both schedules in one chart."""
    charts = {}
    for group in training_groups(configurations_of(summary, trials)):
        name = group[0].title(group[0].images)
        curves = [curves_of(one, _of(metrics, one.trial_ids)) for one in group]
        charts[name] = _chart(*training_chart(f"Training curves: {name}", curves))
    return charts


def confusion(summary: pa.Table, trials: pa.Table, confusion: pa.Table) -> "dict[str, ChartType]":
    """Chart the confusion matrix of each configuration, by its name."""
    charts = {}
    for one in configurations_of(summary, trials):
        if one.finished_ids:
            counts = confusion_counts(_of(confusion, one.finished_ids))
            footnote = f"Percent of each row over {format_count(int(counts.sum()), 'prediction')}."
            charts[one.full_title] = _chart(*matrix_chart(counts, f"Confusion matrix: {one.full_title}", footnote))
    return charts


def differences(contrasts: pa.Table) -> "ChartType":
    """Chart the differences between configurations, with their intervals."""
    return _chart(*forest_chart("Differences in test accuracy", forest_panels(contrasts)))


def weights(
    summary: pa.Table, trials: pa.Table, read: Callable[[str], NDArray[np.float32] | None]
) -> "tuple[dict[str, ChartType], list[str]]":
    """Chart W1 of the first readable seed of each MLP, by its name; name also those of which none can be read."""
    charts, unreadable = {}, []
    for one in configurations_of(summary, trials):
        if one.row["model"] != "mlp" or not one.finished_ids:
            continue
        if found := find_first_layer(one, read):
            charts[one.full_title] = _chart(*sheet_chart(found.weight, f"W1: {one.full_title}, seed {found.seed}"))
        else:
            unreadable.append(one.full_title)
    return charts, unreadable


def _of(table: pa.Table, trial_ids: tuple[str, ...]) -> pa.Table:
    return table.filter(pc.is_in(table["trial_id"], pa.array(trial_ids, pa.string())))


def _chart(spec: Spec, rows: dict[str, Rows]) -> "ChartType":
    return alt.Chart.from_dict({**spec, "datasets": rows, "config": theme()})
