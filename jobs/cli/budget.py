"""`submit --within`: the budget of a command, the seeds that it is enough for, and those that more time would add."""

import time
from itertools import accumulate, groupby

import psutil

from jobs.cli.plan import format_duration
from jobs.report import format_count
from jobs.run import Plan
from jobs.store import Stop

_START_S = 6.0  # from the command to the first trial, with a Ray of its own
# What a report takes besides its tables: the imports for drawing, and the figures of each configuration.
_REPORT_S = 0.7
_REPORT_S_PER_CONFIGURATION = 0.2
_MAX_DRAWN = 40  # configurations
_REPORT_S_PER_TRIAL = 0.002
_MAX_SLOWNESS = 4.0  # a first import waits for the disk


def process_age_s() -> float:
    """Return for how many seconds this process has run."""
    process = psutil.Process()
    since_boot_s = process.create_time() - psutil.boot_time()  # psutil adds the boot time, in whole seconds
    if hasattr(time, "CLOCK_BOOTTIME"):
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot_s, 0.0)
    return max(time.time() - process.create_time(), 0.0)


def training_seconds(plan: Plan, within_s: float) -> float:
    """Return how many seconds of a command's budget are left for the job, its report not included."""
    return max(within_s - process_age_s() - report_seconds(plan), 0.1)


def report_seconds(plan: Plan) -> float:
    """Estimate how long the report of a plan's trials takes, on a machine as busy as it has been so far."""
    configurations = len(set(plan.configurations.values()))
    drawn_s = _REPORT_S_PER_CONFIGURATION * min(configurations, _MAX_DRAWN)
    return (_REPORT_S + drawn_s + _REPORT_S_PER_TRIAL * len(plan.trials)) * _slowness()


def _slowness() -> float:
    """Return how many seconds this process has taken for a second on a CPU: it has imported and planned only."""
    return min(max(process_age_s() / (time.process_time() + 0.1), 1.0), _MAX_SLOWNESS)


def forecast_line(plan: Plan, within_s: float, workers: int | None) -> str:
    """Say how many seeds a budget is expected to be enough for; "" where that is not known.

    Args:
        plan: The plan.
        within_s: The budget of the whole command.
        workers: Tasks at once; None where that is not known.
    """
    trials = [plan.trials[trial_id] for trial_id in plan.missing]
    if not workers or not trials or not all(map(plan.timings.is_grounded, trials)):
        return ""
    seconds = [
        sum(map(plan.timings.expected_seconds, of_seed)) / workers for _, of_seed in groupby(trials, lambda t: t.seed)
    ]
    training_s = within_s - _START_S - report_seconds(plan)
    fitting = sum(until_s <= training_s for until_s in accumulate(seconds))
    seeds = len({trial.seed for trial in plan.trials.values()})
    whole = seeds - len(seconds) + fitting
    line = f"within {format_duration(within_s)}: about {whole} of {format_count(seeds, 'seed')}"
    if fitting:
        return line
    takes = f"one more takes about {format_duration(seconds[0])} of training"
    return f"{line}, as {takes}; trials that finish are stored all the same"


def stop_line(stop: Stop, within_s: float) -> str:
    """Describe how far a budget has reached, and how much more time further seeds take."""
    all_seeds = f"about {format_duration(stop.seconds_left)} more for all {stop.seed_count}"
    if len(stop.seeds) + 1 < stop.seed_count:
        all_seeds = f"about {format_duration(stop.seconds_to_next_seed)} more for the next seed, {all_seeds}"
    count = len(stop.seeds) or "none"
    reached = f"{count} of {format_count(stop.seed_count, 'seed')} in {format_duration(within_s)}"
    return f"{reached}; {all_seeds}; submit the same grid again to go on"
