"""Plan studies whose seeds end by a rule: join what the store holds with the statistics that decide."""

from collections.abc import Collection

import pyarrow as pa

from jobs.grid import Grid
from jobs.report import ARM_COLUMNS, Study, decide, read_arms, seeds_of
from jobs.run import Plan, make_plan, seed_rule
from jobs.store import INDEX, PART, Decision, SeedRule, Store, first_rows, requested_table, scan_parts

_COLUMNS = list(dict.fromkeys([*ARM_COLUMNS, *INDEX]))


def plan_study(grid: Grid, store: Store) -> Plan:
    """Compare a grid with the store, as `make_plan` does; where its seeds end by a rule, leave out what is not needed.

    Raises:
        StoreError: The store cannot be read.
    """
    plan = make_plan(grid, store)
    rule = seed_rule(grid)
    return plan.with_decide(_Decider(plan, rule)) if rule else plan


class _Decider:
    """Decide on the results that the store holds; each part is read once."""

    def __init__(self, plan: Plan, rule: SeedRule) -> None:
        compare, info = plan.grid.compare, plan.grid.dataset_info
        self._rule, self._store = rule, plan.store
        self._study = Study(info.test_size, compare.baseline, compare.margin_fraction)
        self._requested = requested_table(plan.trials, info.fingerprint)
        self._wanted = frozenset(plan.trials)
        self._read: set[str] = set()  # names of parts
        self._rows = PART.empty_table().select(_COLUMNS)

    def __call__(self, ended: Collection[str], failed: Collection[str]) -> Decision:
        if not self._known().issuperset(each for each in ended if each not in failed):
            self._read_more()
        counted = frozenset(ended).difference(failed)
        first = first_rows(self._store, self._rows)
        rows = self._rows.take(pa.array([row for each, row in first.items() if each in counted], pa.int64()))
        return decide(
            self._rule, read_arms(rows, self._requested), seeds_of(self._requested, frozenset(ended)), self._study
        )

    def _known(self) -> set[str]:
        return set(self._rows["trial_id"].to_pylist())

    def _read_more(self) -> None:
        """Read the rows of the study's trials in the parts that are new."""
        found = [self._rows]
        for name, rows in scan_parts(self._store, _COLUMNS, skip=self._read):
            self._read.add(name)
            if rows is not None:
                is_wanted = [each in self._wanted for each in rows["trial_id"].to_pylist()]
                found.append(rows.select(_COLUMNS).filter(pa.array(is_wanted, pa.bool_())))
        self._rows = pa.concat_tables(found)
