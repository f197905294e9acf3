"""What a person sees of a plan: its trials, which of them are stored, new or stale, and why."""

import json
import os
from collections import Counter
from itertools import islice
from pathlib import Path

from rich.table import Table

from jobs.cli.tables import duration_text, lay_out, varying_settings
from jobs.report import CONFIGURATION, setting_text
from jobs.run import Plan

_MOST_ROWS = 40  # configurations that a plan lists
_MOST_TRIALS = 1000  # trials that it lists one by one; laying out 10,000 takes rich ten seconds
_WORTH_SAYING_S = 5.0  # of expected time


def plan_table(plan: Plan) -> Table:
    """Count new, stale and stored trials per configuration, named by the settings that vary."""
    names = [*(field.name for field in CONFIGURATION[:3]), *varying_settings(plan.trials.values())]
    states = ["new", "stale", "stored"] if plan.stale else ["new", "stored"]
    counts: dict[tuple[object, ...], Counter[str]] = {}
    for identity, trial in plan.trials.items():
        key = tuple(vars(trial)[name] for name in names)
        counts.setdefault(key, Counter())[plan.explain(identity)[0]] += 1
    rows = [
        [*map(setting_text, key), *(str(count[state]) for state in states)]
        for key, count in islice(counts.items(), _MOST_ROWS)
    ]
    table = lay_out([*(name.replace("_", " ") for name in names), *states], rows)
    if len(counts) > _MOST_ROWS:
        table.caption = f"and {len(counts) - _MOST_ROWS} more configurations"
    return table


def plan_trials(plan: Plan) -> Table:
    """List a plan's trials: the settings that vary, whether each is stored, new or stale, and why."""
    names = [*(field.name for field in CONFIGURATION[:3]), *varying_settings(plan.trials.values()), "seed"]
    rows = [
        [*(setting_text(vars(trial)[name]) for name in names), *plan.explain(identity)]
        for identity, trial in islice(plan.trials.items(), _MOST_TRIALS)
    ]
    table = lay_out([*(name.replace("_", " ") for name in names), "state", "why"], rows)
    if len(plan.trials) > _MOST_TRIALS:
        table.caption = f"and {len(plan.trials) - _MOST_TRIALS} more trials; --format json gives all"
    return table


def plan_json(plan: Plan) -> str:
    """Write a plan's trials as JSON: of each its trial_id, state, reason and settings."""
    trials = [
        {"trial_id": identity, **dict(zip(("state", "reason"), plan.explain(identity), strict=True)), **vars(trial)}
        for identity, trial in plan.trials.items()
    ]
    return json.dumps({"name": plan.grid.name, "trials": trials}, indent=1)


def plan_line(plan: Plan, store: Path, workers: int | None) -> str:
    """Count a plan's trials: all, found in the store, and to train; with the time that so many workers may take."""
    found, new = len(plan.stored), len(plan.missing)
    line = f"{plan.grid.name}: {len(plan.trials)} trials, {found} found in {store}, {new} to train"
    reasons = Counter(plan.stale.values()).most_common()
    if reasons:
        line += f", {len(plan.stale)} of them stale ({'; '.join(f'{reason}: {count}' for reason, count in reasons)})"
    going_on = len(plan.checkpointed & set(plan.missing))
    if going_on:
        line += f", {going_on} of them from a checkpoint"
    expected = plan.expected_seconds(workers) if workers else None
    if expected is None or expected < _WORTH_SAYING_S:
        return line
    return f"{line} (~{duration_text(expected)} with {workers} at once)"


def cpu_places(plan: Plan) -> int | None:
    """Count the trials that this machine's CPUs run at once, or None where they do not decide."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return None if plan.timings.device == "cuda" else max(1, cpus // plan.grid.resources.cpus_per_trial)
