"""Show a plan: its trials, whether they are stored, new or stale, and why; and the faults of a grid."""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from rich.table import Table

from cluster import usable_cpus
from jobs.cli.tables import lay_out
from jobs.errors import InputError
from jobs.grid import Grid, read_grid
from jobs.report import CONFIGURATION_COLUMNS, IDENTIFYING, format_count, format_setting, varying_settings
from jobs.run import Plan, seed_rule
from jobs.store import Job, describe_decision
from mnist_core.trial import Trial

_MAX_ROWS = 40  # configurations in a table
_MAX_TRIALS = 1000  # trials in a table; rich takes ten seconds to lay out 10,000
_MIN_DURATION_S = 5.0  # a shorter expected time is not worth a mention


def given_grid(path: Path) -> Path | Grid:
    """Return the grid on the standard input where the path is `-`, and the path otherwise."""
    return read_grid() if str(path) == "-" else path


def plan_table(plan: Plan) -> Table:
    """Count new, stale and stored trials per configuration, named by the settings that vary."""
    names = [*IDENTIFYING, *varying_trial_settings(plan.trials.values())]
    states = ["new", *(["stale"] if plan.stale else []), "stored", *(["not needed"] if plan.unneeded else [])]
    counts: dict[tuple[object, ...], Counter[str]] = {}
    for identity, trial in plan.trials.items():
        key = tuple(vars(trial)[name] for name in names)
        counts.setdefault(key, Counter())[plan.explain(identity)[0]] += 1
    rows = [
        [*map(format_setting, key), *(str(count[state]) for state in states)]
        for key, count in islice(counts.items(), _MAX_ROWS)
    ]
    table = lay_out([*(name.replace("_", " ") for name in names), *states], rows)
    if (rest := len(counts) - _MAX_ROWS) > 0:
        table.caption = f"and {format_count(rest, 'more configuration')}"
    return table


def plan_trials(plan: Plan) -> Table:
    """List a plan's trials: the settings that vary, whether each is stored, new or stale, and why."""
    names = [*IDENTIFYING, *varying_trial_settings(plan.trials.values()), "seed"]
    rows = [
        [*(format_setting(vars(trial)[name]) for name in names), *plan.explain(identity)]
        for identity, trial in islice(plan.trials.items(), _MAX_TRIALS)
    ]
    table = lay_out([*(name.replace("_", " ") for name in names), "state", "why"], rows)
    if (rest := len(plan.trials) - _MAX_TRIALS) > 0:
        table.caption = f"and {format_count(rest, 'more trial')}; --json prints all"
    return table


def varying_trial_settings(trials: Collection[Trial]) -> list[str]:
    """Name the settings, apart from IDENTIFYING and the seed, of which the trials have more than one value."""
    return varying_settings({name: [vars(trial)[name] for trial in trials] for name in CONFIGURATION_COLUMNS})


def plan_json(plan: Plan) -> str:
    """Format a plan's trials as JSON, each with its trial_id, state, reason and settings."""
    trials = [
        {"trial_id": identity, **dict(zip(("state", "reason"), plan.explain(identity), strict=True)), **vars(trial)}
        for identity, trial in plan.trials.items()
    ]
    decision = {"decision": plan.decision.model_dump()} if plan.decision else {}
    return json.dumps({"name": plan.grid.name, **decision, "trials": trials}, indent=1)


def faults_json(grid: Path, error: InputError) -> str:
    """Format the faults of a grid as JSON, for editors; an error without a position belongs to the whole file."""
    whole_file = {"file": str(grid), "line": 0, "column": 0, "where": "", "message": str(error)}
    return json.dumps({"faults": list(map(asdict, error.faults)) or [whole_file]}, indent=1)


def plan_line(plan: Plan, store: str | Path, workers: int | None) -> str:
    """Count a plan's trials: all, stored, and to train.

    Args:
        plan: The plan.
        store: As the user wrote it.
        workers: Tasks at once, for the expected time; None where that is not known.
    """
    found, missing, certain = len(plan.stored), len(plan.missing), len(plan.certain)
    most = "at most " if plan.decision else ""
    to_train = f"{certain} to {missing}" if certain < missing else f"{missing}"
    line = f"{plan.grid.name}: {most}{format_count(len(plan.trials), 'trial')}, {found} found in {store}"
    line += f", {to_train} to train"
    reasons = Counter(plan.stale.values()).most_common()
    if reasons:
        line += f", {len(plan.stale)} of them stale ({'; '.join(f'{reason}: {count}' for reason, count in reasons)})"
    resumed = len(plan.checkpointed & set(plan.missing))
    if resumed:
        line += f", {resumed} of them from a checkpoint"
    expected = plan.expected_seconds(workers) if workers else None
    if expected is None or expected < _MIN_DURATION_S:
        return line
    most = "at most " if certain < missing else "~"
    return f"{line} ({most}{format_duration(expected)} with {workers} at once)"


def decision_line(plan: Plan) -> str:
    """Describe the decision on the stored results, where the seeds end by a rule; "" while there are none."""
    rule = seed_rule(plan.grid)
    if plan.decision is None or rule is None or plan.decision.whole < rule.at_least:
        return ""
    enough = len(plan.decision.seeds) - len(plan.decision.open)
    line = f"by what is stored, {describe_decision(plan.decision, rule)}"
    if not plan.decision.open or not enough:
        return line
    needs = "needs no more" if enough == 1 else "need no more"
    return f"{line}; {enough} of {format_count(len(plan.decision.seeds), 'configuration')} {needs}"


def format_duration(seconds: float) -> str:
    """Format a duration for a person, such as 1 min 40 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def trials_at_once(plan: Plan) -> int | None:
    """Count the trials that run at once on the CPUs that this process may use; None where they run on GPUs."""
    return None if plan.timings.device == "cuda" else max(1, usable_cpus() // plan.grid.resources.cpus_per_trial)


def decided_line(job: Job) -> str:
    """Say why a job whose seeds end by a rule stopped, and how many trials it did not train; "" for any other job."""
    rule = job.record.until
    if job.decision is None or rule is None:
        return ""
    sentence = describe_decision(job.decision, rule)
    line = sentence[0].upper() + sentence[1:]
    spared = job.trial_count - job.needed_count
    verb = "was" if spared == 1 else "were"
    return f"{line}; {format_count(spared, 'trial')} of at most {job.trial_count} {verb} not needed" if spared else line
