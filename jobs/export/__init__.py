"""From stored results to what other tools read: TensorBoard, MLflow, RO-Crate."""

from jobs.export.mlflow_runs import write_mlflow as write_mlflow
from jobs.export.ro_crate import JobFiles as JobFiles
from jobs.export.ro_crate import write_ro_crate as write_ro_crate
from jobs.export.runs import Run as Run
from jobs.export.runs import runs_of as runs_of
from jobs.export.tensorboard_events import write_tensorboard as write_tensorboard
