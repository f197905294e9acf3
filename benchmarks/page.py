"""Measure the report page: its bytes, how long the command `report` takes, and how long a browser takes to show it.

Makes studies of 40, 360 (72 configurations) and 1,000 trials of 100 epochs from random numbers, nothing is trained.
Each command runs in a new process, each page in a fresh headless Chromium, at its full speed and at a quarter of it;
a page counts as shown when its load event has fired and the first frame after it is painted. Needs chromium and the
packages of `pip install -e '.[dev]'`. Run as `python benchmarks/page.py` (a few minutes), or with the path of a job's
page to measure how long that takes to load.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from measure import print_machine

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.stored_studies import store_study
from test_page_size import HEAD, MANY, SMALL, THOUSAND

STUDIES = {"40 trials": (SMALL, 2.0), "72 configurations": (MANY, 3.0), "1,000 trials": (THOUSAND, 5.0)}  # megabytes
REPORT_S = 5.0  # for the command, with 40 trials
LOAD_S = {1: 1.0, 4: 3.0}  # by how much slower the processor is made
REPEATS = 5


def report_seconds(store: Path) -> float:
    """Return how long the command `report` takes."""
    command = [sys.executable, "-m", "mnistjobs", "report", "--store", str(store)]
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def load_seconds(page: Path, slowdown: int) -> float:
    """Return how long a browser takes from the start of loading to the first frame after the load event."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900}, bypass_csp=True)
        tab.context.new_cdp_session(tab).send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
        tab.goto(page.as_uri(), wait_until="load")
        shown = tab.evaluate(
            "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"
        )
        browser.close()
    return float(shown) / 1000


def main() -> None:
    """Make the studies, and print bytes and seconds beside their limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, nargs="?", help="a report.html; default: those of studies made here")
    given = parser.parse_args()
    print_machine(("numpy", "pyarrow", "altair", "vl-convert-python"))
    is_within = True
    if given.page:
        is_within = print_loads(given.page.absolute())
    for name, (grid, megabytes) in {} if given.page else STUDIES.items():
        with tempfile.TemporaryDirectory() as folder:
            store, job = store_study(Path(folder), f"{HEAD}{grid}train: {{epochs: 100}}\n")
            seconds = [report_seconds(store.root) for _ in range(REPEATS)]
            page = store.root / "jobs" / job.job_id / "report.html"
            size = page.stat().st_size / 1e6
            limit = f" (limit {REPORT_S:.0f} s)" if grid == SMALL else ""
            print(f"{name}: page {size:.2f} MB (limit {megabytes:.0f} MB); report {median(seconds):.2f} s{limit}")
            is_within &= size < megabytes and (grid != SMALL or median(seconds) < REPORT_S)
            is_within &= print_loads(page)
    sys.exit(0 if is_within else 1)


def print_loads(page: Path) -> bool:
    """Print how long a page takes to load; return whether that is within the limits."""
    found = {slowdown: median(load_seconds(page, slowdown) for _ in range(REPEATS)) for slowdown in LOAD_S}
    for slowdown, seconds in found.items():
        speed = "full speed" if slowdown == 1 else f"1/{slowdown} of the speed"
        print(f"  loads in {seconds:.2f} s at {speed} (limit {LOAD_S[slowdown]:.0f} s)", flush=True)
    return all(seconds < LOAD_S[slowdown] for slowdown, seconds in found.items())


if __name__ == "__main__":
    main()
