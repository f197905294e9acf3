"""Measure `plan` on a store in a bucket: the first time, when its parts are fetched, and again, when they are kept.

It starts moto, an S3 server in Python, on loopback, and fills a bucket through the functions with which tasks write
their results: a small file of weights and a part for every so many trials. Each `plan` is a process of its own. Run as
`python benchmarks/bucket.py` (a minute or two), or `python benchmarks/bucket.py 10000 1` for 10,000 trials in as many
parts, which is as if each trial had trained for longer than a second.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from measure import print_machine
from scale import part_table, write_grid

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.s3_servers import BUCKET, moto

from jobs.grid.grid import load_grid
from jobs.run import Plan, make_plan
from jobs.store import open_store, write_part, write_weights

LIMIT_S = 5.0  # of a plan of 10,000 stored trials, the second time
REPEATS = 3


def fill(plan: Plan, trials_per_part: int) -> int:
    """Write weights and a row for every trial of the plan; return how many parts that took."""
    rng = np.random.default_rng(0)
    packs = [plan.missing[start : start + trials_per_part] for start in range(0, len(plan.missing), trials_per_part)]
    tables = [part_table(pack, [plan.trials[each] for each in pack], rng) for pack in packs]

    def write(index: int) -> None:
        pack, rows = packs[index], tables[index]
        sha256 = write_weights(plan.store, {each: {"b2": np.zeros(10, np.float32)} for each in pack})
        column = rows.schema.get_field_index("weights_sha256")
        rows = rows.set_column(column, rows.schema.field(column), [[sha256] * rows.num_rows])
        write_part(plan.store, rows)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(len(packs))))
    return len(packs)


def seconds_of_plan(grid: Path, store: str, trials: int) -> float:
    """Run the command, check that it finds everything stored, and return how long it took."""
    started = time.perf_counter()
    words = [sys.executable, "-m", "mnistjobs", "plan", str(grid), "--store", store]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert f"{trials:,} found in" in out or f"{trials} found in" in out, out
    return time.perf_counter() - started


def main() -> None:
    """Measure, and print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trials", type=int, nargs="?", default=10_000)
    parser.add_argument("trials_per_part", type=int, nargs="?", default=100)
    chosen = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as folder, moto() as server:
        os.environ |= {**server.environment(), "XDG_CACHE_HOME": folder}
        grid, store = write_grid(Path(folder), chosen.trials), f"s3://{BUCKET}/scale"
        parts = fill(make_plan(load_grid(grid), open_store(store)), chosen.trials_per_part)
        first = seconds_of_plan(grid, store, chosen.trials)
        again = median(seconds_of_plan(grid, store, chosen.trials) for _ in range(REPEATS))
        print(f"{chosen.trials:,} trials in {parts:,} parts: plan {first:.1f} s, again {again:.1f} s")
        if again > LIMIT_S:
            sys.exit(f"again {again:.1f} s; allowed: {LIMIT_S:.0f} s")


if __name__ == "__main__":
    main()
