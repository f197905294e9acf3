"""The page of a running job: only for whoever has its address, of whole seeds only, and up to date."""

import http.client
import json
import shutil
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from support.stored_studies import Result, begin_study, failure_of, plausible, write_results
from support.warm_processes import WarmProcess

import mnistjobs
from jobs.run import Plan
from jobs.service import LivePage, PageServer, live_page, serve
from jobs.store import Job, JobProgress, JobState, create_lease, end_job, new_lease
from jobs.store.progress import write_progress

pytestmark = [pytest.mark.usefixtures("figures_drawn_once"), pytest.mark.medium]
PATIENCE_S = 120.0
GRID = """\
name: live
dataset: mnist
grid: {model: [cnn], subset_size: [2000], adaptive_lr: [false, true], seed: [0, 1, 2]}
train: {epochs: 4}
"""


@pytest.fixture
def running(tmp_path: Path) -> tuple[Plan, Job]:
    """A job of two configurations and three seeds, whose driver is this process."""
    plan, job = begin_study(tmp_path, GRID)
    assert create_lease(plan.store, new_lease(job.job_id, "running"))
    return plan, job


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the store, and make the page anew, each time somebody asks."""
    monkeypatch.setattr(live_page, "_LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(live_page, "_PAGE_EVERY_S", 0.0)


def train(plan: Plan, *seeds: int, schedules: tuple[bool, ...] = (False, True)) -> None:
    """Store the trials with these seeds and schedules."""
    chosen = {name: one for name, one in plan.trials.items() if one.seed in seeds and one.adaptive_lr in schedules}
    write_results(plan, {name: plausible(one) for name, one in chosen.items()})


def get(url: str, host: str | None = None) -> tuple[int, str]:
    """Ask for a page; return the status and what is answered."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_page_compares_whole_seeds_only(running: tuple[Plan, Job], no_waiting: None) -> None:
    plan, job = running
    page = LivePage(plan.store, job.job_id)
    train(plan, 0, schedules=(False,))
    first = page.page()
    assert "No seed is complete yet" in first
    assert "1 of 6 trials has ended." in first
    assert "0 configurations" not in first
    train(plan, 0, schedules=(True,))
    train(plan, 1, schedules=(False,))
    before = page.state()
    text = page.page()
    assert "So far, n = 1 of 3" in text
    assert "do not end the job because of them" in text
    assert "3 of 6 trials have ended." in text
    assert "a test needs 4 seeds, and there is 1" in text
    assert "missing" not in text.partition("</header>")[0]
    (other,) = (name for name, one in plan.trials.items() if one.seed == 1 and one.adaptive_lr)
    write_progress(plan.store, JobProgress(job_id=job.job_id, failures=(failure_of(other),), seconds_left=90.0))
    after = page.state()
    assert after["version"] != before["version"]
    assert after["progress"] == "4 of 6 trials have ended; about 90 s left."
    text = page.page()
    assert "So far, n = 2 of 3" in text
    assert "n is 1 of 2: 1 failed" in text
    assert not page.has_shown_end
    train(plan, 2)
    end_job(plan.store, job, JobState.failed, [failure_of(other)])
    text = page.page()
    assert "So far" not in text
    assert "connect-src" not in text
    assert "n is 2 of 3: 1 failed" in text
    assert page.has_shown_end


def test_the_page_of_seeds_until_an_answer_says_how_many_there_may_be(tmp_path: Path, no_waiting: None) -> None:
    seeds = "seeds: {until: decided, at_least: 3, at_most: 6}"
    plan, job = begin_study(tmp_path, GRID.replace("seed: [0, 1, 2]", seeds))
    assert create_lease(plan.store, new_lease(job.job_id, "running"))
    page = LivePage(plan.store, job.job_id)
    assert "No seed is complete yet" in page.page()
    train(plan, 0, 1)
    train(plan, 2, schedules=(True,))
    text = page.page()
    assert "So far, n = 2 of at most 6" in text
    assert "do not end the job because of them" not in text
    assert "5 trials have ended." in text
    assert 'aria-label="seed 0: ' in text
    assert "seed 2: " not in text


class TwoPages:
    """Something to serve."""

    def page(self) -> str:
        """Return the page."""
        return "<p>all is well</p>"

    def state(self) -> dict[str, object]:
        """Return what the script wants to know."""
        return {"version": "1"}


@pytest.fixture
def server() -> Iterator[PageServer]:
    with serve(TwoPages()) as started:
        yield started


def test_only_whoever_has_the_address_sees_the_page(server: PageServer) -> None:
    url = server.url
    assert get(url) == (200, "<p>all is well</p>")
    assert get(url.replace("/?", "/state?")) == (200, '{"version": "1"}')
    assert get(url, host=f"localhost:{server.server_port}")[0] == 200
    for wrong in (url.partition("?")[0], url + "x", url.replace("token", "t"), f"{url}&token=x"):
        assert get(wrong)[0] == 403, wrong
    for host in ("example.org", f"example.org:{server.server_port}", "127.0.0.1.example.org", ""):
        assert get(url, host=host)[0] == 403 or not host, host
    for path in ("report.html", "../results", "%2e%2e/", "state/"):
        assert get(url.replace("/?", f"/{path}?"))[0] == 404, path
    assert server.server_address[0] == "127.0.0.1"


def test_the_answer_may_be_read_by_the_page_alone(server: PageServer) -> None:
    place = urlsplit(server.url)
    with closing(http.client.HTTPConnection(place.netloc, timeout=PATIENCE_S)) as connection:
        connection.request("GET", f"/?{place.query}", headers={"Origin": "http://example.org"})
        answer = connection.getresponse()
        headers = dict(answer.getheaders())
        answer.read()
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        with closing(http.client.HTTPConnection(place.netloc, timeout=PATIENCE_S)) as connection:
            connection.request(method, f"/?{place.query}")
            assert connection.getresponse().status == 501


def test_clients_that_say_nothing_do_not_use_up_the_server(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.service.page_server._Handler.timeout", 0.5)
    silent = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(30)]
    deadline = time.monotonic() + PATIENCE_S
    while True:  # those beyond the limit are cut off; the others when they have said nothing for half a second
        assert time.monotonic() < deadline
        try:
            assert get(server.url)[0] == 200
            break
        except OSError:
            time.sleep(0.1)
    for each in silent:
        each.close()


def ask(url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(url.replace("/?", "/state?"))[1])
    return found


def test_watch_serves_the_page_until_the_job_ends(running: tuple[Plan, Job]) -> None:
    plan, job = running
    train(plan, 0)
    process = WarmProcess("watch", job.job_id, "--store", plan.store.root, "--web")
    try:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        assert "So far, n = 1 of 3" in get(url)[1]
        train(plan, 1, 2)
        end_job(plan.store, job, JobState.finished)
        mnistjobs.report_job(plan.store.root, job.job_id)  # for which watch waits
        deadline = time.monotonic() + PATIENCE_S
        while ask(url)["version"] != "ended":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert "6 of 6 trials done · job finished" in get(url)[1]
        assert process.wait(PATIENCE_S) == 0
        assert "finished" in process.communicate(PATIENCE_S)[0]
    finally:
        process.kill()


def test_watch_of_a_job_that_has_ended_serves_nothing(running: tuple[Plan, Job]) -> None:
    plan, job = running
    write_results(plan, dict.fromkeys(plan.trials, Result()))
    end_job(plan.store, job, JobState.finished)
    mnistjobs.report_job(plan.store.root, job.job_id)  # for which watch waits
    process = WarmProcess("watch", job.job_id, "--store", plan.store.root, "--web")
    out, _ = process.communicate(PATIENCE_S)
    assert (process.returncode, "http" in out) == (0, False)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install -y chromium")
def test_an_open_page_follows_the_job_and_stays_where_it_is(running: tuple[Plan, Job], no_waiting: None) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
    plan, job = running
    train(plan, 0)
    said: list[str] = []
    with serve(LivePage(plan.store, job.job_id)) as server, playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(server.url)
        page.click("#configuration-table .name button >> nth=0")
        page.click("label >> text=train loss")
        train(plan, 1)
        page.wait_for_selector("text=So far, n = 2 of 3", timeout=1000 * PATIENCE_S)
        page.wait_for_selector("tr.detail.shown", timeout=1000 * PATIENCE_S)
        assert page.is_checked("text=train loss")
        train(plan, 2)
        end_job(plan.store, job, JobState.finished)
        page.wait_for_selector("text=6 of 6 trials done · job finished", timeout=1000 * PATIENCE_S)
        assert said == []
        browser.close()
