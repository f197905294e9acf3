"""Time ways of doing the same work in turns, and print them beside each other and beside the limit.

Machines share their cores and change their clock: what is compared runs in the same round, a ratio is taken within a
round, and what is printed is the median over the rounds.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from threadpoolctl import threadpool_limits


@dataclass(frozen=True)
class Times:
    """Hold the seconds that one way took, one figure a round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Take the median over the rounds."""
        return median(self.seconds)

    def ratio(self, other: "Times") -> float:
        """Tell how many times as long as this way another took: the median of the rounds' ratios."""
        return median(theirs / ours for ours, theirs in zip(self.seconds, other.seconds, strict=True))


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: int = 1) -> dict[str, Times]:
    """Time each way once a round; every second round goes backwards, so that no way is always first."""
    for _ in range(warm_up):
        for way in ways.values():
            way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            started = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - started)
    return {name: Times(tuple(taken)) for name, taken in seconds.items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the arithmetic of NumPy, and of torch where it is imported already, on one core."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    with threadpool_limits(limits=1):
        if torch:
            torch.set_num_threads(1)
        yield
    if torch:
        torch.set_num_threads(threads)


def print_machine(packages: Sequence[str] = ("numpy", "torch")) -> None:
    """Print what the figures were measured on."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    print(f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}")


def print_times(title: str, times: Mapping[str, Times], *, limit: str, baselines: Sequence[str] = ()) -> None:
    """Print a row for each way: n, milliseconds, its speed as a part of the limit's, and as multiples of baselines'."""
    heads = ["n", "median ms", "min", "max", "of limit", *(f"x {name}" for name in baselines)]
    rows = [
        [
            str(len(way.seconds)),
            *(f"{1000 * figure:.1f}" for figure in (way.median, min(way.seconds), max(way.seconds))),
            f"{way.ratio(times[limit]):.0%}",
            *(f"{way.ratio(times[name]):.2f}" for name in baselines),
        ]
        for way in times.values()
    ]
    names = [title, *(f"{name} (limit)" if name == limit else name for name in times)]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for name, row in zip(names, [heads, *rows], strict=True):
        cells = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print(f"{name:<{max(map(len, names))}}  {cells}")


def _processor() -> str:
    """Name the processor, as Linux does where it can be asked."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
