"""The invariants of a scheduler: what must be true of every simulated study."""

from collections import Counter

from jobs.run.budget import MARGIN
from jobs.run.retries import RETRY_BUDGETS
from support.simulated_history import History
from support.simulated_study import NOISE, expected_pack_s
from support.simulator import TOLERANCE_S


def violations(history: History) -> list[str]:
    """Name every invariant that a simulated study has broken."""
    study, found = history.study, []
    trials = [trial_id for pack in study.packs for trial_id in pack.trials]
    if history.outcome not in ("finished", "failed", "cancelled", "stopped"):
        return [f"the job does not end: {history.outcome}"]
    found += [f"{each} ran again after it had been stored" for each in history.started_after_stored]
    found += [f"{each} was tried again before its wait was over" for each in history.retried_too_early]
    found += [f"{list(pack.trials)} was killed although it gave signs of life" for pack in history.hung_too_early]
    found += [f"{each} was begun although it could not end in time" for each in history.begun_too_late]
    found += [f"{each} was not begun before the next round" for each in history.begun_before_its_round]
    found += [f"{each} was tried again beyond its budget" for each in history.retried_without_budget]
    counts = {
        "times a pack that runs alone had company": history.alone_beside_others,
        "packs were submitted beyond the slots": history.over_capacity,
        "tasks ran on after the end of the job": history.orphans,
        "packs ran on a node of another version": history.on_other_version,
        "times a pack could have been submitted": history.hidden_demand,
        "packs were left alone when their node was lost": history.left_on_lost_node,
        "packs were started after fail_fast should have ended the job": history.started_after_fail_fast,
    }
    found += [f"{count} {what}" for what, count in counts.items() if count]
    twice = [each for each, n in Counter(history.given_up).items() if n > 1]
    found += [f"{each} was given up twice" for each in twice]
    found += [f"{each} is stored and was given up" for each in history.given_up if each in history.stored]
    return found + _wrong_end(history, trials)


def _wrong_end(history: History, trials: list[str]) -> list[str]:
    """Compare the outcome of a job with what became of its trials."""
    study = history.study
    if history.outcome == "cancelled":
        return [] if study.cancel_s is not None else ["the job was cancelled although nobody asked for it"]
    if study.within_s is not None and history.ended_s > study.within_s + TOLERANCE_S:
        return [f"the job ended {history.ended_s - study.within_s:.1f} s after its budget"]
    if history.outcome == "stopped":
        return _wrong_stop(history, trials)
    expected = "failed" if history.given_up else "finished"
    found = [] if history.outcome == expected else [f"the job {history.outcome} where it {expected}"]
    if study.fail_fast and history.given_up:
        return found
    left = [each for each in trials if each not in history.stored and each not in history.given_up]
    found += [f"{each} is neither stored nor given up" for each in left]
    blameless = [each for each in history.given_up if not _may_fail(history, each)]
    return found + [f"{each} was given up without need" for each in blameless]


def _may_fail(history: History, trial_id: str) -> bool:
    """Tell whether a trial has failed as often as it takes to give it up."""
    count = {kind: history.failures[trial_id, kind] for kind in RETRY_BUDGETS}
    attempts = sum(count.values()) - count["node_lost"]  # each attempt counts against the retries, however it failed
    is_over_budget = attempts > history.study.retries or count["node_lost"] > 10
    return bool(is_over_budget or count["raised"] or count["out_of_memory"] >= 2)


def _wrong_stop(history: History, trials: list[str]) -> list[str]:
    """Compare the end of a job within a budget with what was left of the budget."""
    study = history.study
    if study.within_s is None:
        return ["the job stopped without a budget"]
    left = [each for each in trials if each not in history.stored and each not in history.given_up]
    if not left:
        return ["the job stopped although nothing was left"]
    # Of what had not failed the longest would still have fitted, as slow as packs are at most, and after another one.
    longest_s = 2 * MARGIN * max(map(expected_pack_s, study.packs)) * max(study.slowness, 1.0) * max(NOISE)
    unspent_s = study.within_s - history.ended_s
    is_undisturbed = not history.failures and not history.partitions
    if is_undisturbed and unspent_s > longest_s:
        return [f"the job stopped {unspent_s:.1f} s before its budget was used up"]
    return []
