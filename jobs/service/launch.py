"""Start the driver of a detached job: a process that no terminal ends, or a job of a cluster."""

import os
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

from jobs.run import Plan, open_job
from jobs.service.driver_log import log_path
from jobs.service.options import JobOptions
from jobs.service.queue import Ticket
from jobs.service.ray_launch import launch_on_ray, reach_ray
from jobs.service.turn import queue_up
from jobs.store import Job, Process, Store, clean_up, process_of

TICKET_VARIABLE = "MNISTJOBS_TICKET"
_HOME = Path(__file__).parents[2]  # of mnistjobs.py


def submit_detached(plan: Plan, options: JobOptions) -> Job:
    """Enter a job into the store and start its driver, which goes on by itself.

    Args:
        plan: What the job asks for.
        options: How to train it.

    Returns:
        The job, which is queued.

    Raises:
        StoreError: The store cannot be written.
        OSError: The driver cannot be started here.
        ClusterError: The cluster cannot be reached, or refuses the job.
    """
    if options.is_job_server:
        reach_ray(options.address or "", options.allow_unauthenticated)  # before anything is written
    clean_up(plan.store, plan.missing)  # after killed processes, which may free a full disk
    ticket = queue_up(plan, options)

    def start(job_id: str) -> Process | None:
        if ticket:
            ticket.name_job(job_id)
        return launch(plan.store, job_id, options, ticket)

    return open_job(plan, options.record(), start)


def launch(
    store: Store, job_id: str, options: JobOptions, ticket: Ticket | None = None, again: bool = False
) -> Process | None:
    """Start the driver of a job where its options say.

    Args:
        store: The store.
        job_id: The job; its folder exists, its record may follow within seconds.
        options: How to train it.
        ticket: Its place in the queue of this machine, which the driver takes over.
        again: Whether the job has had a driver before, which is known to be gone.

    Returns:
        The driver's process; None where a cluster starts it.

    Raises:
        OSError: The driver cannot be started here.
        ClusterError: The cluster cannot be reached, or refuses the job.
    """
    if not options.is_job_server:
        return launch_here(store, job_id, ticket)
    allows = options.allow_unauthenticated
    launch_on_ray(options.address or "", job_id, store.locate(), allow_unauthenticated=allows, again=again)
    return None


def launch_here(store: Store, job_id: str, ticket: Ticket | None = None) -> Process:
    """Start the driver of a job, and return its process.

    Args:
        store: The store.
        job_id: The job; its folder exists.
        ticket: Its place in the queue of this machine, which the driver takes over.

    Raises:
        OSError: The log cannot be written, or the process cannot be started.
    """
    command = [sys.executable, "-P", "-m", "mnistjobs", "drive", job_id, "--store", store.locate()]
    with (log_path(store, job_id) or Path(os.devnull)).open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[ticket.descriptor] if ticket else [],
            env=_environment(ticket),
        )
    if ticket:
        ticket.hand_over()
    threading.Thread(target=process.wait, name="reaper", daemon=True).start()  # else it stays as a zombie when it ends
    return process_of(process.pid)


def _environment(ticket: Ticket | None) -> dict[str, str]:
    """Return this process's environment, in which the driver finds its ticket and the same code."""
    found = dict(os.environ)
    found.pop(TICKET_VARIABLE, None)
    if ticket:
        found[TICKET_VARIABLE] = f"{ticket.descriptor}:{ticket.path}"
    if Path(sysconfig.get_path("purelib")) != _HOME:  # a checkout
        found["PYTHONPATH"] = os.pathsep.join([str(_HOME), *filter(None, [found.get("PYTHONPATH")])])
    return found
