"""Run replicated training studies on MNIST-shaped data: the Python API of the command `mnistjobs`.

    import mnistjobs

    job = mnistjobs.submit_grid("grid.yaml", "results", workers=2)
    trials = mnistjobs.read_trials("results", job.job_id)  # a pyarrow table; a name means its latest job

`python -m mnistjobs` runs the command line.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.api import compact_store as compact_store
    from jobs.api import export_weights as export_weights
    from jobs.api import list_jobs as list_jobs
    from jobs.api import plan_grid as plan_grid
    from jobs.api import read_confusion as read_confusion
    from jobs.api import read_metrics as read_metrics
    from jobs.api import read_predictions as read_predictions
    from jobs.api import read_summary as read_summary
    from jobs.api import read_trials as read_trials
    from jobs.api import read_weights as read_weights
    from jobs.api import report_job as report_job
    from jobs.api import submit_grid as submit_grid
    from jobs.verify import verify_job as verify_job

# Each name with the module that defines it, imported at first use: `import mnistjobs` itself takes milliseconds.
_HOMES = {
    "compact_store": "jobs.api",
    "export_weights": "jobs.api",
    "list_jobs": "jobs.api",
    "plan_grid": "jobs.api",
    "read_confusion": "jobs.api",
    "read_metrics": "jobs.api",
    "read_predictions": "jobs.api",
    "read_summary": "jobs.api",
    "read_trials": "jobs.api",
    "read_weights": "jobs.api",
    "report_job": "jobs.api",
    "submit_grid": "jobs.api",
    "verify_job": "jobs.verify",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'mnistjobs' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


if __name__ == "__main__":
    from jobs.cli import main

    main()
