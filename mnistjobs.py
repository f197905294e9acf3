"""Run replicated training studies on MNIST-shaped data: the Python API of the command `mnistjobs`.

    import mnistjobs

    job = mnistjobs.submit_grid("grid.yaml", "results", workers=2)
    trials = mnistjobs.read_trials("results", job.job_id)  # a pyarrow table; a name means its latest job

`python -m mnistjobs` runs the command line.
"""

import os
import sys

TYPE_CHECKING = False  # from the module typing, if that were safe to import: a user's file may have its name
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from jobs.api import compact_store as compact_store
    from jobs.api import compare_jobs as compare_jobs
    from jobs.api import export_weights as export_weights
    from jobs.api import get_job as get_job
    from jobs.api import judge_job as judge_job
    from jobs.api import list_jobs as list_jobs
    from jobs.api import plan_grid as plan_grid
    from jobs.api import query_job as query_job
    from jobs.api import rank_job as rank_job
    from jobs.api import read_confusion as read_confusion
    from jobs.api import read_contrasts as read_contrasts
    from jobs.api import read_effects as read_effects
    from jobs.api import read_metrics as read_metrics
    from jobs.api import read_predictions as read_predictions
    from jobs.api import read_summary as read_summary
    from jobs.api import read_trials as read_trials
    from jobs.api import read_weights as read_weights
    from jobs.api import report_job as report_job
    from jobs.api import resume_job as resume_job
    from jobs.api import submit as submit
    from jobs.api import submit_grid as submit_grid
    from jobs.verify import verify_job as verify_job

# Each name with the module that defines it, imported at first use: `import mnistjobs` itself takes milliseconds.
_HOMES = {
    "compact_store": "jobs.api",
    "compare_jobs": "jobs.api",
    "export_weights": "jobs.api",
    "get_job": "jobs.api",
    "judge_job": "jobs.api",
    "list_jobs": "jobs.api",
    "plan_grid": "jobs.api",
    "query_job": "jobs.api",
    "rank_job": "jobs.api",
    "read_confusion": "jobs.api",
    "read_contrasts": "jobs.api",
    "read_effects": "jobs.api",
    "read_metrics": "jobs.api",
    "read_predictions": "jobs.api",
    "read_summary": "jobs.api",
    "read_trials": "jobs.api",
    "read_weights": "jobs.api",
    "report_job": "jobs.api",
    "resume_job": "jobs.api",
    "submit": "jobs.api",
    "submit_grid": "jobs.api",
    "verify_job": "jobs.verify",
}
__all__ = list(_HOMES)
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_PACKAGES = ("cluster", "jobs", "mnist_core")


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mnistjobs' has no attribute {name!r}")
    _prefer_own_packages()
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def main() -> None:
    """Run the command line. No file of the working directory is imported, not even where PYTHONPATH has it."""
    _keep_docstrings()
    _leave_out_working_directory()
    _prefer_own_packages()
    from jobs.cli import main as run

    run()


def _keep_docstrings() -> None:
    """Start again where Python was told to leave docstrings out: altair, which draws the figures, copies its own."""
    words = [word for word in sys.orig_argv[1:] if word != "-OO"]
    is_asked_for = "PYTHONOPTIMIZE" in os.environ or len(words) < len(sys.orig_argv) - 1
    if sys.flags.optimize > 1 and is_asked_for:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONOPTIMIZE"}
        os.execve(sys.executable, [sys.executable, *words], environment)


def _leave_out_working_directory() -> None:
    try:
        here = os.getcwd()
    except OSError:
        return  # it has been deleted
    if here != _FOLDER:
        sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]


class _OwnPackages:
    """Find the packages of this project beside this file, whatever else on the path has their names."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        if name not in _PACKAGES:
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [_FOLDER])


def _prefer_own_packages() -> None:
    """Import this project's packages as its own from now on; raise ImportError where that comes too late."""
    for name in _PACKAGES:
        if name in sys.modules and not _is_own(sys.modules[name]):
            other = getattr(sys.modules[name], "__file__", None) or f"a package {name!r}"
            raise ImportError(f"mnistjobs: {other} has been imported in place of the package {name!r}; rename it")
    if _OwnPackages not in sys.meta_path:
        sys.meta_path.insert(0, _OwnPackages)


def _is_own(module: "ModuleType") -> bool:
    own = os.path.realpath(os.path.join(_FOLDER, module.__name__))
    return own in map(os.path.realpath, getattr(module, "__path__", ()))


if __name__ == "__main__":
    main()
