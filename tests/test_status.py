"""The counts in the status of a running job, whatever the size of what its driver tells in full."""

from pathlib import Path

import pytest
from support.stored_studies import begin_study, plausible, write_results

from cluster import Done, Started, TaskFailure
from jobs.run import GiveUp, Pack, Plan, TaskResult, make_plan
from jobs.service.status import job_status
from jobs.service.tracker import Tracker
from jobs.store import Job, create_lease, new_lease, read_job
from jobs.store.progress import write_progress

GRID = """
name: drawn
dataset: mnist
grid: {model: [mlp], subset_size: [2000], adaptive_lr: [false, true], seeds: 200}
train: {epochs: 4}
"""
WAITING = 10


@pytest.fixture
def running(tmp_path: Path) -> tuple[Plan, Job]:
    """A job of 400 trials, whose driver is this process."""
    plan, job = begin_study(tmp_path, GRID)
    assert create_lease(plan.store, new_lease(job.job_id, "running"))
    return plan, job


@pytest.mark.parametrize("is_exact", [False, True])
def test_each_trial_of_a_large_job_is_counted_in_its_state(running: tuple[Plan, Job], *, is_exact: bool) -> None:
    plan, job = running
    packs = [Pack({trial_id: trial}) for trial_id, trial in plan.trials.items()]
    failed, under_way = packs[:150], packs[150:-WAITING]
    tracker = Tracker(job, plan)
    for pack in failed:
        tracker.observe(GiveUp(pack, TaskFailure("raised", "ValueError: no", "")))
    for pack in under_way:
        tracker.observe(Started(pack, "node"))
    write_progress(plan.store, tracker.snapshot())
    status = job_status(plan.store, read_job(plan.store, job.job_id), is_exact=is_exact)
    expected = {"finished": 0, "diverged": 0, "failed": 150, "running": 240, "waiting": WAITING}
    assert status.counts == expected
    assert (len(status.failures), len(status.running)) == (100, 100)


@pytest.mark.parametrize("is_exact", [False, True])
def test_a_job_that_was_resumed_counts_the_trials_of_its_first_driver(
    running: tuple[Plan, Job], *, is_exact: bool
) -> None:
    plan, job = running
    first, second = plan.missing[:20], plan.missing[20]
    write_results(plan, {trial_id: plausible(plan.trials[trial_id]) for trial_id in first})
    tracker = Tracker(job, make_plan(plan.grid, plan.store))
    write_results(plan, {second: plausible(plan.trials[second])})
    tracker.observe(Done(Pack({second: plan.trials[second]}), TaskResult("part", "host", ("finished",))))
    write_progress(plan.store, tracker.snapshot())
    status = job_status(plan.store, read_job(plan.store, job.job_id), is_exact=is_exact)
    assert (status.counts["finished"], status.counts["waiting"]) == (21, 379)
