"""A job while it runs, as a person sees it in a terminal or in a log."""

import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.text import Text

from cluster import Done, NodeLost, Progress, Waiting
from jobs.cli.plan import format_duration, varying_trial_settings
from jobs.escape import escape
from jobs.report import format_count
from jobs.run import Enough, GiveUp, JobEvent, Pack, Plan, RefuseNode, Retry, TaskResult, TimeLeft
from mnist_core.trial import Trial

_MAX_LINES = 8  # running packs shown at once
_MAX_SILENCE_S = 30.0  # without a terminal, a line at least this often


class LiveView:
    """Show trials done of all, the epochs of the running ones and the time left; give it every event of a job."""

    def __init__(self, plan: Plan, console: Console, within_s: float | None = None) -> None:
        """Show a plan's trials; within_s: the seconds after which its job is stopped."""
        self._plan = plan
        self._until_s = None if within_s is None else time.monotonic() + within_s
        self._console = console
        self._printed_s = time.monotonic()
        self._done, self._total = 0, len(plan.missing)
        missing = {trial_id: plan.trials[trial_id] for trial_id in plan.missing}
        self._may_end_earlier = bool(plan.decision and plan.decision.open)
        self._left = TimeLeft(missing, plan.timings.expected_seconds)
        self._running: dict[Pack, int] = {}  # epochs done
        self._varying = varying_trial_settings(plan.trials.values())
        self._bar = ProgressBar(
            TextColumn("trials"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task = self._bar.add_task("trials", total=len(plan.missing), count="", left="")
        # A log gets plain lines, also where FORCE_COLOR makes rich take it for a terminal.
        is_shown = console.is_interactive and console.file.isatty() and plan.missing
        self._live = Live(self._bar, console=console, refresh_per_second=4) if is_shown else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def observe(self, event: JobEvent) -> None:
        """Update the view with an event."""
        self._left.observe(event, time.monotonic())
        match event:
            case Waiting(message):
                self._print(message)
            case RefuseNode(node, reason):
                self._print(f"node {escape(node)} is not used: {escape(reason)}")
            case NodeLost(node):
                self._print(f"node {escape(node)} is lost")
            case Progress(pack, epochs):
                self._running[pack] = epochs
            case Done(pack, result):
                self._count(pack)
                if not self._live or "diverged" in result.statuses:
                    self._print(self._line(pack, _ended(pack, result)))
            case GiveUp(pack, failure):
                self._count(pack)
                self._print(self._line(pack, f"failed: {escape(failure.message)}"))
            case Retry(pack):
                self._running.pop(pack, None)
                self._print(self._line(pack, _retried(event)))
            case Enough(trial_ids):
                self._total -= len(trial_ids)
                self._may_end_earlier = event.open_count > 0
                self._running = {pack: n for pack, n in self._running.items() if not trial_ids.issuperset(pack.trials)}
                self._print(format_enough(event))
        self._refresh()

    def _count(self, pack: Pack) -> None:
        self._running.pop(pack, None)
        self._done += len(pack.trials)

    def _refresh(self) -> None:
        if self._live:
            count, left = self._count_text(), self._time_left()
            self._bar.update(self._task, completed=self._done, total=self._total, count=count, left=left)
            self._live.update(Group(self._bar, *(Text(f"  {line}", "dim") for line in self._running_lines())))
        elif time.monotonic() - self._printed_s >= _MAX_SILENCE_S:
            running = ", ".join(self._running_lines()) or "nothing yet"
            self._print(f"[{self._count_text()}] running: {running}  {self._time_left()}".rstrip())

    def _print(self, line: str) -> None:
        self._printed_s = time.monotonic()
        self._console.print(Text(line), soft_wrap=True, highlight=False)

    def _line(self, pack: Pack, outcome: str) -> str:
        left = "" if self._live else self._time_left()
        line = f"[{self._count_text()}] {self._pack_name(pack)}: {outcome}"
        return f"{line}  {left}" if left else line

    def _count_text(self) -> str:
        """Say how many trials are done, and of how many."""
        return f"{self._done} of at most {self._total}" if self._may_end_earlier else f"{self._done}/{self._total}"

    def _pack_name(self, pack: Pack) -> str:
        """Name a pack by its first trial."""
        more = len(pack.trials) - 1
        return self._trial_name(pack.first_trial) + (f" and {more} more" if more else "")

    def _trial_name(self, trial: Trial) -> str:
        """Name a trial by what the study varies."""
        rate = "adaptive" if trial.adaptive_lr else "fixed"
        others = [f" {name} {vars(trial)[name]}" for name in self._varying if vars(trial)[name] is not None]
        return f"{trial.model} {trial.subset_size} {rate}{''.join(others)} seed {trial.seed}"

    def _running_lines(self) -> list[str]:
        """Describe how many epochs each running pack has trained."""
        lines = [
            f"{self._pack_name(pack)}: epoch {epochs // len(pack.trials)} of {pack.first_trial.epochs}"
            for pack, epochs in self._running.items()
        ]
        return lines[:_MAX_LINES]

    def _time_left(self) -> str:
        now_s = time.monotonic()
        seconds = self._left.seconds(now_s)
        if seconds is not None and self._until_s is not None:
            seconds = max(min(seconds, self._until_s - now_s), 0.0)
        how = "at most" if self._may_end_earlier else "about"
        return "" if seconds is None else f"{how} {format_duration(seconds)} left"


def format_enough(enough: Enough) -> str:
    """Describe how many trials are not needed any longer."""
    more = format_count(enough.open_count, "configuration")
    left = f"{more} {'needs' if enough.open_count == 1 else 'need'} more" if enough.open_count else "that is enough"
    return f"after {enough.seeds} seeds: {format_count(len(enough.trial_ids), 'trial')} fewer to train; {left}"


def _ended(pack: Pack, result: TaskResult) -> str:
    """Describe how a pack's trials ended."""
    if len(pack.trials) == 1:
        return result.statuses[0]
    counts = Counter(result.statuses)
    return ", ".join(f"{counts[status]} {status}" for status in sorted(counts, reverse=True))


def _retried(retry: Retry) -> str:
    """Describe why a pack is retried, and how."""
    how = ""
    if len(retry.packs) > 1:
        how = " each by itself"
    elif retry.packs[0].is_alone:
        how = " alone, at the end"
    return f"{retry.failure.kind.replace('_', ' ')}: {escape(retry.failure.message)}; retried{how}"
