"""A job while it runs: a bar and the running trials on a terminal, a line for each pack in a log."""

import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from cluster.interface import Done, Failed, Waiting
from cluster.interface import Progress as Advance
from jobs.cli.plan import format_duration, varying_trial_settings
from jobs.escape import escape
from jobs.run import JobEvent, Pack, Plan, Retried, Written
from mnist_core.trial import Trial

_MAX_RUNNING = 8  # packs shown at once
_LOG_INTERVAL_S = 30.0  # a log gets a line at least this often


class LiveView:
    """Show how many trials are done, the epochs of the running ones and the time left."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._started = self._last_line = time.monotonic()
        self._done = 0
        self._done_s = 0.0  # expected seconds of the trials that are done
        self._all_s = sum(plan.timings.expected_seconds(plan.trials[identity]) for identity in plan.new)
        self._running: dict[Pack, int] = {}  # epochs done, summed over the pack's trials
        self._varying = varying_trial_settings(plan.trials.values())
        self._bar = Progress(
            TextColumn("trials"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task = self._bar.add_task("trials", total=len(plan.new), left="")
        # A log gets plain lines, also where FORCE_COLOR makes rich treat it as a terminal.
        is_live = console.is_interactive and console.file.isatty() and plan.new
        self._live = Live(self._bar, console=console, refresh_per_second=4) if is_live else None

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
        """Show the state after an event; this has to be called with every event of the job."""
        if isinstance(event, Waiting):
            self._print(event.message)
        elif isinstance(event, Advance):
            self._running[event.item] = event.value
        else:
            self._running.pop(event.item, None)
            if not isinstance(event, Retried):
                self._done += len(event.item.trials)
                self._done_s += self._expected_seconds(event.item)
            if not self._live or not isinstance(event, Done) or "diverged" in event.result.statuses:
                self._print(self._line(event))
        if self._live:
            self._bar.update(self._task, completed=self._done, left=self._time_left())
            self._live.update(Group(self._bar, *(Text(f"  {line}", "dim") for line in self._running_lines())))
        elif time.monotonic() - self._last_line >= _LOG_INTERVAL_S:
            self._print(f"{self._count()} running: {', '.join(self._running_lines())}  {self._time_left()}")

    def _print(self, line: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(Text(line), soft_wrap=True, highlight=False)

    def _count(self) -> str:
        return f"[{self._done}/{len(self._plan.new)}]"

    def _line(self, event: Done[Pack, Written] | Failed[Pack] | Retried) -> str:
        left = "" if self._live else self._time_left()
        line = f"{self._count()} {self._pack_name(event.item)}: {_outcome(event)}"
        return f"{line}  {left}" if left else line

    def _pack_name(self, pack: Pack) -> str:
        """Name a pack by its first trial."""
        others = len(pack.trials) - 1
        return self._trial_name(pack.trials[0]) + (f" and {others} more" if others else "")

    def _trial_name(self, trial: Trial) -> str:
        """Name a trial by the settings that vary in the study."""
        rate = "adaptive" if trial.adaptive_lr else "fixed"
        others = [f" {name} {vars(trial)[name]}" for name in self._varying if vars(trial)[name] is not None]
        return f"{trial.model} {trial.subset_size} {rate}{''.join(others)} seed {trial.seed}"

    def _running_lines(self) -> list[str]:
        """Describe the progress of each running pack."""
        lines = [
            f"{self._pack_name(pack)}: epoch {epochs // len(pack.trials)} of {pack.trials[0].epochs}"
            for pack, epochs in self._running.items()
        ]
        return lines[:_MAX_RUNNING]

    def _expected_seconds(self, pack: Pack) -> float:
        return sum(map(self._plan.timings.expected_seconds, pack.trials))

    def _time_left(self) -> str:
        """Extrapolate from the expected and the actual time of what is done."""
        in_progress_s = sum(
            self._expected_seconds(pack) * epochs / (pack.trials[0].epochs * len(pack.trials))
            for pack, epochs in self._running.items()
        )
        done_s = self._done_s + in_progress_s
        if not done_s or self._done == len(self._plan.new):
            return ""
        seconds = (time.monotonic() - self._started) * (self._all_s - done_s) / done_s
        return f"about {format_duration(seconds)} left"


def _outcome(event: Done[Pack, Written] | Failed[Pack] | Retried) -> str:
    """Describe in a few words how a pack ended."""
    if isinstance(event, Done):
        counts = Counter(event.result.statuses)
        if len(event.item.trials) == 1:
            return event.result.statuses[0]
        return ", ".join(f"{counts[status]} {status}" for status in sorted(counts, reverse=True))
    reason = escape(event.failure.message)
    if isinstance(event, Failed):
        return f"failed: {reason}"
    how = " each by itself" if len(event.packs) > 1 else " alone, at the end" if event.packs[0].is_alone else ""
    return f"{event.failure.kind.replace('_', ' ')}: {reason}; retried{how}"
