"""The log of a detached job: one line for each event of each trial, with its time."""

from datetime import UTC, datetime

from cluster import Done, NodeJoined, NodeLost, Started, Waiting
from jobs.cli.output import echo
from jobs.cli.progress import format_enough
from jobs.run import Enough, GiveUp, JobEvent, Pack, RefuseNode, Retry
from jobs.store import Job, this_process


class LogView:
    """Print a line for each event of a job: its time, its trial where it has one, and what happened.

    Args:
        err: Whether to print to stderr.
    """

    def __init__(self, err: bool = False) -> None:
        self._err = err

    def begin(self, job_id: str) -> None:
        """Print which process drives the job."""
        driver = this_process()
        self._print(f"job {job_id}: driver is process {driver.pid} on {driver.host}")

    def observe(self, event: JobEvent) -> None:
        """Print an event."""
        match event:
            case Started(pack, node):
                self._print_each(pack, f"started on {node}, attempt {pack.attempt}")
            case Done(pack, result):
                for trial_id, status in zip(pack.trials, result.statuses, strict=True):
                    self._print(f"trial {trial_id}: {status}")
            case Retry(pack, failure):
                self._print_each(pack, f"{failure.kind}: {failure.message}; tried again")
            case GiveUp(pack, failure):
                self._print_each(pack, f"failed: {failure.message}")
            case Waiting() | RefuseNode() | NodeJoined() | NodeLost() | Enough():
                self._print(_about_job(event))

    def end(self, job: Job) -> None:
        """Print how the job ended."""
        self._print(f"job {job.job_id}: {job.state.value}")

    def _print_each(self, pack: Pack, what: str) -> None:
        for trial_id in pack.trials:
            self._print(f"trial {trial_id}: {what}")

    def _print(self, line: str) -> None:
        echo(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", err=self._err)


def _about_job(event: Waiting | RefuseNode | NodeJoined | NodeLost | Enough) -> str:
    """Describe an event that concerns no single trial."""
    match event:
        case Waiting(message):
            return message
        case RefuseNode(node, reason):
            return f"node {node} is not used: {reason}"
        case NodeJoined(node, slots):
            return f"node {node} joined, {slots} at once"
        case NodeLost(node):
            return f"node {node} is lost"
        case Enough():
            return format_enough(event)
