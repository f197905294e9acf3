"""Wait for a job's turn on this machine."""

import errno
import sys
import time
import warnings
from collections.abc import Callable

from cluster import usable_cpus
from jobs.run import CancelAsked, Plan
from jobs.service.options import JobOptions
from jobs.service.queue import Ticket, take_ticket

_POLL_S = 0.5
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def queue_up(plan: Plan, options: JobOptions, job_id: str = "") -> Ticket | None:
    """Take a ticket of this machine's queue for a job; None where it uses none of its cores, or there is no queue.

    Args:
        plan: What the job trains.
        options: How.
        job_id: The job, where it has an id already.
    """
    if not plan.missing or not options.is_local or (not options.detach and _uses_ray_of_program(options)):
        return None
    try:
        return take_ticket(plan.grid.name, cores_of(plan, options), job_id)
    except OSError as error:
        if error.errno in _NO_ROOM:
            return None  # then nothing else can be written either, and a later step reports it
        warnings.warn(
            f"no queue: {error.filename}: {error.strerror}; jobs of this machine share its cores", stacklevel=2
        )
        return None


def _uses_ray_of_program(options: JobOptions) -> bool:
    """Return whether the trials run on a Ray that this program is connected to, which has a queue of its own."""
    if options.in_process or options.address or "ray" not in sys.modules:
        return False
    from cluster.ray_session import is_connected

    return is_connected()


def cores_of(plan: Plan, options: JobOptions) -> int:
    """Return how many cores of this machine a job uses."""
    per_trial = plan.grid.resources.cpus_per_trial
    if options.in_process:
        return per_trial
    at_once = usable_cpus() // per_trial if options.workers is None else options.workers
    return max(1, min(at_once, len(plan.missing))) * per_trial


def await_turn(
    ticket: Ticket, tell: Callable[[str], None], asked: Callable[[], CancelAsked | None] = lambda: None
) -> bool:
    """Wait until the job may start.

    Args:
        ticket: Its ticket.
        tell: Called with the title of the job behind which it waits, whenever that changes.
        asked: Returns the request to cancel the job, once there is one.

    Returns:
        Whether it may start; otherwise it was asked to end.
    """
    told = ""
    while (ahead := ticket.try_start()) is not None:
        if asked():
            return False
        if ahead.title != told:
            told = ahead.title
            tell(told)
        time.sleep(_POLL_S)
    return True
