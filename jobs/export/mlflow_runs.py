"""Write a job's runs into a tracking store of MLflow, with its own client."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jobs.errors import ExtraMissingError, StoreError
from jobs.export.runs import BY_EPOCH, Run
from mnist_core.paths import describe_missing

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRIAL, CONFIGURATION, JOB, COLLAPSED = (
    f"mnistjobs.{name}" for name in ("trial_id", "configuration_id", "job_id", "collapsed")
)
_AT_ONCE = 1000  # metrics in one request
# An export is nobody else's business; a server that does not answer ends it within half a minute.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_STATUS = {"finished": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}


def write_mlflow(place: str, experiment: str, job_id: str, runs: Sequence[Run]) -> int:
    """Write one run per trial into an experiment; trials that it has already are left out.

    Args:
        place: A folder, which gets the database `mlflow.db`, or the URI of a tracking store, such as
            sqlite:///mlflow.db or http://127.0.0.1:5000.
        experiment: The name of the experiment; made where it does not exist.
        job_id: The job, which each run names in a tag.
        runs: The trials.

    Returns:
        The number of runs written.

    Raises:
        ExtraMissingError: MLflow is not installed.
        StoreError: The tracking store cannot be used.
    """
    mlflow, sql_error = _import_mlflow()
    try:
        client = mlflow.MlflowClient(tracking_uri=_uri(place))
        found = client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else client.create_experiment(experiment)
        # A run that is not over is left of an export that was interrupted.
        ended = (run for run in _all_runs(client, experiment_id) if run.info.status != "RUNNING")
        known = {run.data.tags.get(TRIAL) for run in ended}
        new = [run for run in runs if run.trial["trial_id"] not in known]
        for run in new:
            _write_run(client, experiment_id, job_id, run)
    except (mlflow.exceptions.MlflowException, sql_error, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise StoreError(f"{place}: {reason}; allowed: a folder, or the URI of a tracking store of MLflow") from error
    return len(new)


def _import_mlflow() -> tuple[ModuleType, type[Exception]]:
    """Return MLflow, and the class of errors that its database raises."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
        import mlflow.exceptions
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise ExtraMissingError("mlflow", "mlflow") from error
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return mlflow, SQLAlchemyError


def _uri(place: str) -> str:
    if "://" in place:
        return place
    folder = Path(place).absolute()
    if "?" in str(folder) or "%" in str(folder):  # no address of a database can have them
        raise StoreError(
            f"{place}: has a ? or a % in its path; allowed: a folder without, or the URI of a tracking store of MLflow"
        )
    if link := describe_missing(folder):
        raise StoreError(f"{place}: {link}; allowed: a folder, or the URI of a tracking store of MLflow")
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"


def _all_runs(client: "MlflowClient", experiment_id: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment_id], page_token=token)
        yield from page
        if not (token := page.token):
            return


def _write_run(client: "MlflowClient", experiment_id: str, job_id: str, run: Run) -> None:
    from mlflow.entities import Metric, Param, RunTag

    ends = [round(1000 * end) for end in run.ends_of_epochs]  # milliseconds
    start = ends[-1] - round(1000 * (run.trial["seconds"] or 0.0)) if ends else None
    made = client.create_run(experiment_id, start_time=start, run_name=f"{run.group}/{run.name}").info.run_id
    metrics = [
        Metric(name, row[column], end, row["epoch"])
        for row, end in zip(run.epochs, ends, strict=True)
        for name, column in BY_EPOCH.items()
    ]
    metrics += [Metric(name, value, ends[-1], len(ends)) for name, value in run.results.items()]
    tags = {TRIAL: run.trial["trial_id"], CONFIGURATION: run.trial["configuration_id"], JOB: job_id}
    if run.trial["collapsed"] is not None:
        tags[COLLAPSED] = str(run.trial["collapsed"]).lower()
    while len(metrics) > _AT_ONCE:
        client.log_batch(made, metrics=metrics[:_AT_ONCE])
        del metrics[:_AT_ONCE]
    params = [Param(name, str(value)) for name, value in run.settings.items()]
    client.log_batch(made, metrics=metrics, params=params, tags=[RunTag(*each) for each in tags.items()])
    client.set_terminated(made, _STATUS[run.trial["status"]], ends[-1] if ends else None)
