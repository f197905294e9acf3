"""Seeds that may prove needless: how far ahead of the first seed under way packs start, and how they are dropped. Pure.

A seed is complete only once all of its trials have ended, retries included. Until then the results may be enough at any
time, so that packs of later rounds start only in slots that would be idle, one for each. Where a pack has to run alone,
later rounds wait for it.
"""

from dataclasses import replace
from itertools import takewhile

from jobs.run.packs import Pack, without_trials
from jobs.run.scheduler_state import Delayed, State


def may_look_ahead(state: State) -> bool:
    """Tell whether the next pack of those that have not been started may start; there is one."""
    following, first = state.packs[state.next_pack].round, state.first_round
    if not state.rules.is_by_seed or following <= first:
        return True
    if any(pack.round < following for pack in state.alone) or any(pack.is_alone for pack in state.running):
        return False
    started = (state.packs[index] for index in range(state.next_pack - 1, -1, -1))
    ahead = sum(1 for _ in takewhile(lambda pack: pack.round > first, started))
    return ahead < sum(state.slots.values())


def drop(state: State, trial_ids: frozenset[str]) -> tuple[State, tuple[Pack, ...]]:
    """Take trials out of the packs that wait; return the packs that run and train nothing else, and that are ended."""
    needless = tuple(pack for pack in state.running if trial_ids.issuperset(pack.trials))
    started, waiting = state.packs[: state.next_pack], state.packs[state.next_pack :]
    delayed = [Delayed(each.due_s, pack) for each in state.delayed for pack in without_trials([each.pack], trial_ids)]
    return replace(
        state,
        packs=(*started, *without_trials(waiting, trial_ids)),
        delayed=tuple(delayed),
        alone=without_trials(state.alone, trial_ids),
        running={pack: run for pack, run in state.running.items() if pack not in needless},
    ), needless
