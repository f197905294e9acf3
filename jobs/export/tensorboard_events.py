"""Write a job's runs as event files of TensorBoard, in its own format of records.

Its own writer of event files works in a thread, which loses what goes wrong, such as a full disk.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from jobs.errors import ExtraMissingError, StoreError
from jobs.export.runs import BY_EPOCH, Run

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

MEAN = "mean"  # names the run with the means over the seeds
_VERSION = "brain.Event:2"  # of event files


def write_tensorboard(folder: Path, runs: Sequence[Run]) -> int:
    """Write one run per trial, with its settings as hyperparameters, and one per configuration with the means.

    Args:
        folder: Where to write `<configuration>/<seed>/` and `<configuration>/mean/`; it should not exist.
        runs: The trials; those without an epoch are left out. The means are those of the finished trials.

    Returns:
        The number of runs written.

    Raises:
        ExtraMissingError: TensorBoard is not installed.
        StoreError: A file cannot be written.
    """
    _check_library()
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.epochs:
            groups.setdefault(run.group, []).append(run)
    count = 0
    for group, members in groups.items():
        for run in members:
            _write_events(folder / group / run.name, [*_hyperparameters(run), *_curves_and_results(run)])
        finished = [run for run in members if run.trial["status"] == "finished"]
        if finished:
            _write_events(folder / group / MEAN, list(_means(finished)))
        count += len(members) + bool(finished)
    return count


def _check_library() -> None:
    try:
        import tensorboard.summary.writer.record_writer
    except ImportError as error:
        raise ExtraMissingError("tensorboard", "tensorboard") from error
    del tensorboard


def _write_events(folder: Path, events: Sequence["Event"]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    content = io.BytesIO()
    writer = RecordWriter(content)
    begin_s = events[0].wall_time
    for event in (Event(wall_time=begin_s, file_version=_VERSION), *events):
        writer.write(event.SerializeToString())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"events.out.tfevents.{begin_s:.0f}.mnistjobs").write_bytes(content.getvalue())
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror}; allowed: a folder of yours") from error


def _curves_and_results(run: Run) -> "Iterator[Event]":
    for row, end in zip(run.epochs, run.ends_of_epochs, strict=True):
        yield _scalars({name: row[column] for name, column in BY_EPOCH.items()}, row["epoch"], end)
    yield _scalars(run.results, run.epochs[-1]["epoch"], run.ends_of_epochs[-1])


def _means(runs: Sequence[Run]) -> "Iterator[Event]":
    """Make the means over the seeds, of the epochs that all of them have."""
    end = runs[0].ends_of_epochs[-1]
    for rows in zip(*(run.epochs for run in runs), strict=False):
        means = {name: fmean(row[column] for row in rows) for name, column in BY_EPOCH.items()}
        yield _scalars(means, rows[0]["epoch"], end)
    names = set.intersection(*(set(run.results) for run in runs))
    results = {name: fmean(run.results[name] for run in runs) for name in sorted(names)}
    yield _scalars(results, min(len(run.epochs) for run in runs), end)


def _scalars(values: Mapping[str, float], step: int, wall_time: float) -> "Event":
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    return Event(wall_time=wall_time, step=step, summary=Summary(value=found))


def _hyperparameters(run: Run) -> "Iterator[Event]":
    """Describe a run to the plugin hparams: which settings it had, and that it is over."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Experiment, HParamInfo, MetricInfo, MetricName
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

    start = SessionStartInfo(group_name=run.group)
    for name, value in run.settings.items():
        _set(start.hparams[name], value)
    shown = [MetricInfo(name=MetricName(tag=tag)) for tag in ("test/accuracy", "validation/accuracy")]
    experiment = Experiment(hparam_infos=[HParamInfo(name=name) for name in run.settings], metric_infos=shown)
    end = SessionEndInfo(status="STATUS_SUCCESS" if run.trial["status"] == "finished" else "STATUS_FAILURE")
    for tag, content in (
        (metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)),
        (metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
        (metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end)),
    ):
        yield Event(wall_time=run.ends_of_epochs[0], summary=_plugin_summary(tag, content))


def _plugin_summary(tag: str, content: Any) -> "Summary":  # noqa: ANN401  (a message of the plugin)
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata

    content.version = metadata.PLUGIN_DATA_VERSION
    data = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=content.SerializeToString())
    value = Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=data), tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _set(target: Any, value: str | float | bool) -> None:  # noqa: ANN401  (a protobuf Value)
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = value
    else:
        target.number_value = value
