"""What a person sees while a job runs: a live bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from cluster.port import Done, Failed
from cluster.port import Progress as Advance
from jobs.inert import make_inert
from jobs.submit import PackEvent, Plan
from jobs.task import Pack, Written
from mnist_core.trial import Trial

_MOST_LINES = 8  # running trials shown at once


class LiveView:
    """Show trials done of all, the epochs of the running ones and the time left; give it every event of a job."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._started = time.monotonic()
        self._done = 0
        self._done_flops = 0.0
        self._all_flops = sum(plan.flops(plan.trials[identity]) for identity in plan.new)
        self._running: dict[Pack, int] = {}  # epochs done
        self._bar = Progress(
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task = self._bar.add_task("trials", total=len(plan.new), left="")
        self._live = Live(self._bar, console=console, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def observe(self, event: PackEvent) -> None:
        """Take in what happened and show it."""
        if isinstance(event, Advance):
            self._running[event.item] = event.value
        else:
            self._running.pop(event.item, None)
            self._done += len(event.item.trials)
            self._done_flops += self._flops(event.item)
            self._console.print(Text(self._line(event)), soft_wrap=True, highlight=False)
        if self._live:
            self._bar.update(self._task, completed=self._done, left=self._time_left())
            self._live.update(Group(self._bar, *self._running_lines()))

    def _line(self, event: Done[Pack, Written] | Failed[Pack]) -> str:
        names = ", ".join(map(describe, event.item.trials))
        if isinstance(event, Failed):
            outcome = f"failed: {make_inert(event.failure.message)}"
        else:
            outcome = ", ".join(event.result.statuses)
        left = "" if self._live else f"  {self._time_left()}"
        return f"[{self._done}/{len(self._plan.new)}] {names}: {outcome}{left}"

    def _running_lines(self) -> list[Text]:
        lines = [
            Text(f"  {describe(pack.trials[0])}: epoch {epochs // len(pack.trials)} of {pack.trials[0].epochs}", "dim")
            for pack, epochs in self._running.items()
        ]
        return lines[:_MOST_LINES]

    def _flops(self, pack: Pack) -> float:
        return sum(map(self._plan.flops, pack.trials))

    def _time_left(self) -> str:
        """Extrapolate from the arithmetic done so far."""
        under_way = sum(
            self._flops(pack) * epochs / (pack.trials[0].epochs * len(pack.trials))
            for pack, epochs in self._running.items()
        )
        done = self._done_flops + under_way
        if not done:
            return ""
        seconds = (time.monotonic() - self._started) * (self._all_flops - done) / done
        return f"about {_duration(seconds)} left"


def describe(trial: Trial) -> str:
    """Name a trial by what the study varies."""
    rate = "adaptive" if trial.adaptive_lr else "fixed"
    return f"{trial.model} {trial.subset_size} {rate} seed {trial.seed}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
