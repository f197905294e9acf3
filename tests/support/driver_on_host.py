"""A driver on one of the hosts of a cluster, whose events a test can wait for."""

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.hosts import Host, kill
from support.ray_hosts import environment

_SCRIPT = """
import json, sys, time
import mnistjobs
from cluster import ClusterError

def describe(event):
    pack, failure = getattr(event, "item", None) or getattr(event, "pack", None), getattr(event, "failure", None)
    described = {name: str(getattr(event, name)) for name in ("node", "reason", "message") if hasattr(event, name)}
    described |= {"trials": list(pack.trials), "attempt": pack.attempt} if pack else {}
    return described | ({"failure": failure.kind} if failure else {})

def observe(event):
    print(json.dumps({"kind": type(event).__name__, "at_s": time.monotonic(), **describe(event)}), flush=True)

grid, store, address = sys.argv[1:]
try:
    job = mnistjobs.submit_grid(grid, store, address=address, observe=observe)
    print(json.dumps({"kind": "End", "job_id": job.job_id, "state": str(job.state.value)}), flush=True)
except ClusterError as error:
    print(json.dumps({"kind": "ClusterError", "message": str(error)}), flush=True)
"""
Event = dict[str, Any]


@dataclass
class DriverOnHost:
    """A driver that runs, and the events that it has reported so far."""

    host: Host
    grid: Path
    store: Path
    address: str
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        words = (sys.executable, "-c", _SCRIPT, self.grid, self.store, self.address)
        self.process = self.host.start_piped(*words, log="driver.log", env=environment())
        self._new = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            for line in lines:
                with self._new:
                    self.events.append(json.loads(line))
                    self._new.notify_all()
        with self._new:
            self.events.append({"kind": "Ended"})
            self._new.notify_all()

    def of_kind(self, kind: str) -> list[Event]:
        """Return the events of one kind so far."""
        return [event for event in list(self.events) if event["kind"] == kind]

    def wait_for(self, condition: Callable[[Event], bool], what: str, timeout_s: float, after: int = 0) -> Event:
        """Wait for an event among those from number `after` on; fail with what came instead."""
        deadline = time.monotonic() + timeout_s
        with self._new:
            while True:
                if found := next((event for event in self.events[after:] if condition(event)), None):
                    return found
                has_ended = any(event["kind"] == "Ended" for event in self.events)
                left_s = deadline - time.monotonic()
                if has_ended or left_s <= 0:
                    log = (self.host.folder / "driver.log").read_text()[-2000:]
                    raise AssertionError(f"not within {timeout_s:.0f} s: {what}; {self.events[-20:]}; {log}")
                self._new.wait(left_s)

    def finish(self, timeout_s: float) -> Event:
        """Wait for the job's end; return what it ended with."""
        return self.wait_for(lambda event: event["kind"] in ("End", "ClusterError"), "the end", timeout_s)

    def kill(self) -> None:
        """Kill the driver, with no chance to clean up."""
        kill(self.process)
