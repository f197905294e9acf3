"""Time several variants of the same work alternately, and print them with their ratios to a limit and to baselines.

Shared machines vary in speed. So all variants run once in every round, ratios are taken within a round, and the
medians over the rounds are printed.
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
    """Hold the seconds of one variant, one value for each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return median(self.seconds)

    def ratio(self, other: "Times") -> float:
        """Return the other variant's time divided by this one's: the median of the ratios of the rounds."""
        return median(others / own for own, others in zip(self.seconds, other.seconds, strict=True))


def interleaved(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Time each variant once in every round; every second round runs in reverse order, so that none is always first."""
    for _ in range(warm_up):
        for variant in variants.values():
            variant()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds):
        for name in list(variants)[:: -1 if number % 2 else 1]:
            started = clock()
            variants[name]()
            seconds[name].append(clock() - started)
    return {name: Times(tuple(taken)) for name, taken in seconds.items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit the arithmetic of NumPy, and of torch if it is imported, to one thread."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    with threadpool_limits(limits=1):
        if torch:
            torch.set_num_threads(1)
        yield
    if torch:
        torch.set_num_threads(threads)


def print_machine(packages: Sequence[str] = ("numpy", "torch")) -> None:
    """Print the processor and the versions of Python and of these packages."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    print(f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}")


def print_times(title: str, times: Mapping[str, Times], *, limit: str, baselines: Sequence[str] = ()) -> None:
    """Print a row for each variant: n, milliseconds, and its speed relative to the limit and to the baselines."""
    heads = ["n", "median ms", "min", "max", "of limit", *(f"x {name}" for name in baselines)]
    rows = [
        [
            str(len(each.seconds)),
            *(f"{1000 * figure:.1f}" for figure in (each.median, min(each.seconds), max(each.seconds))),
            f"{each.ratio(times[limit]):.0%}",
            *(f"{each.ratio(times[name]):.2f}" for name in baselines),
        ]
        for each in times.values()
    ]
    names = [title, *(f"{name} (limit)" if name == limit else name for name in times)]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for name, row in zip(names, [heads, *rows], strict=True):
        cells = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print(f"{name:<{max(map(len, names))}}  {cells}")


def _processor() -> str:
    """Return the name of the processor, from /proc/cpuinfo on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
