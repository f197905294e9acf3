"""What was asked for: from a grid to trials, to results in a store, to summary and report.

The Python API, with the verbs of the command line:

    import jobs

    job = jobs.submit_grid("grid.yaml", "results", workers=2)
    trials = jobs.read_trials("results", job["job_id"])  # a pyarrow table; a name means its latest job
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.api import compact_store as compact_store
    from jobs.api import list_jobs as list_jobs
    from jobs.api import plan_grid as plan_grid
    from jobs.api import read_confusion as read_confusion
    from jobs.api import read_metrics as read_metrics
    from jobs.api import read_summary as read_summary
    from jobs.api import read_trials as read_trials
    from jobs.api import report_job as report_job
    from jobs.api import submit_grid as submit_grid
    from jobs.api import verify_job as verify_job

__all__ = [
    "compact_store",
    "list_jobs",
    "plan_grid",
    "read_confusion",
    "read_metrics",
    "read_summary",
    "read_trials",
    "report_job",
    "submit_grid",
    "verify_job",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Imported at first use: `mnistjobs --help` goes through this module and needs none of it.
    if name not in __all__:
        raise AttributeError(f"module 'jobs' has no attribute {name!r}")
    from jobs import api

    return getattr(api, name)
