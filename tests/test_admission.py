"""What a node of a cluster is asked before its first trial, and what it answers where something is wrong there."""

import platform
import re
import subprocess
import sys
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path

import pytest
from support.failing_tasks import write_grid

from cluster import Admission, Done, NodeJoined, Session, differences
from cluster.ray_admission import NodeWatch, _pickle_by_value
from cluster.ray_executor import RayExecutor, _Run
from cluster.ray_nodes import TaskNeeds, usable_nodes
from cluster.ray_queue import QueueWatch
from jobs.grid.grid import load_grid
from jobs.run import make_plan, node_admission
from jobs.run.node_facts import node_facts
from jobs.store.layout import open_store

# Answers as on a node on which none of our packages can be found.
WITHOUT_OUR_PACKAGES = """
import sys
for name in ("cluster", "jobs", "mnist_core", "mnistjobs"):
    sys.modules[name] = None
from ray import cloudpickle
print(cloudpickle.loads(sys.stdin.buffer.read())()["mnistjobs"])
"""


@pytest.fixture
def nonce(tmp_path: Path) -> Path:
    path = tmp_path / "nonce"
    path.write_text("shared (proof 1234)")
    return path


def test_a_node_reports_versions_kernels_and_the_content_of_the_drivers_file(nonce: Path) -> None:
    facts = dict(node_facts(str(nonce), ("jobs.run",), True, 0.0))
    assert re.fullmatch(r"\S+ \(code [0-9a-f]{8}\)", facts.pop("mnistjobs"))
    assert facts.pop("kernels") != "unknown"
    assert facts == {
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "torch": version("torch"),
        "store": "shared (proof 1234)",
    }


def test_a_node_without_a_package_of_the_tasks_reports_why(nonce: Path) -> None:
    facts = node_facts(str(nonce), ("jobs.run", "no_such_module"), False, 0.0)
    reason = "which cannot be imported (ModuleNotFoundError: No module named 'no_such_module'),"
    assert facts["mnistjobs"] == f"{version('mnistjobs')}, {reason}"
    assert "kernels" not in facts


def test_a_node_that_does_not_see_the_drivers_file_says_so(tmp_path: Path) -> None:
    facts = node_facts(str(tmp_path / "none"), (), False, 0.0)
    assert facts["store"] == "not shared (the driver's file in it: No such file or directory)"


@pytest.mark.medium
def test_a_node_without_our_packages_can_answer(nonce: Path) -> None:
    call = _pickle_by_value(node_facts, (str(nonce), ("jobs.run",), True, 0.0))
    done = subprocess.run([sys.executable, "-c", WITHOUT_OUR_PACKAGES], input=call, capture_output=True, timeout=120)
    assert b", which cannot be imported (ModuleNotFoundError: " in done.stdout, done.stderr


def test_differences_are_named_and_a_problem_comes_first() -> None:
    required = {"python": "3.11.7", "numpy": "2.4", "torch": "2.13"}
    node = NodeJoined("n", 1, {"python": "3.11.7", "numpy": "1.26"})
    assert differences(required, node) == "numpy 1.26 instead of 2.4, torch unknown instead of 2.13"
    assert differences(required, NodeJoined("n", 1, required)) == ""
    assert differences(required, NodeJoined("n", 1, required, "its process died")) == "its process died"


def test_the_drivers_own_answers_admit_it_while_the_session_lasts(tmp_path: Path) -> None:
    plan = make_plan(load_grid(write_grid(tmp_path)), open_store(tmp_path / "store"))
    with node_admission(plan, "cpu") as asked:
        assert dict(asked.describe(*asked.arguments)) == asked.required
        assert "torch" in asked.arguments[1]  # the grid has CNNs
    assert asked.describe(*asked.arguments[:3], 0.0)["store"].startswith("not shared")
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.ray
def test_the_nodes_of_a_cluster_answer_before_they_are_used(ray_of_two: Session, nonce: Path) -> None:
    arguments = (str(nonce), ("jobs.run",), False, 0.0)
    watch = NodeWatch(TaskNeeds(), Admission(node_facts, arguments, node_facts(*arguments)))
    (node,) = watch.first_nodes()
    assert node.facts == node_facts(*arguments)
    assert [each.name for each in watch.admitted.values()] == [node.node]
    watch.exclude(node.node)
    assert not watch.admitted
    assert len(watch.not_admitted) == 1


@pytest.mark.ray
def test_nothing_runs_on_a_node_that_has_answered_before_it_is_admitted(ray_of_two: Session) -> None:
    watch = NodeWatch(TaskNeeds(), None)
    (joined,) = watch.changes()
    assert isinstance(joined, NodeJoined)
    assert (len(watch.admitted), len(watch.not_admitted)) == (0, 1)
    assert watch.admit(joined.node)
    assert (len(watch.admitted), len(watch.not_admitted)) == (1, 0)
    assert not watch.admit(joined.node)


@pytest.mark.ray
def test_a_task_that_avoids_a_node_is_sent_again_once_that_is_admitted(ray_of_two: Session) -> None:
    def where(item: int, shared: None) -> Generator[None, None, int]:
        return item
        yield

    needs = TaskNeeds()
    watch = NodeWatch(needs, None)
    assert len(watch.first_nodes()) == 1
    executor: RayExecutor[int, None, int] = RayExecutor(where, None, needs, watch)
    executor._submit(_Run(1, frozenset(watch.admitted)))  # as while the only node was being asked
    events = (executor.next_event(1.0) for _ in range(100))
    assert next(event for event in events if isinstance(event, Done)) == Done(1, 1)
    executor.close()


@pytest.mark.ray
def test_queued_tasks_are_noticed_where_a_node_has_room_all_the_time(
    ray_of_two: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.ray_queue.UNPLACED_S", 0.3)
    monkeypatch.setattr("cluster.ray_queue._CHECK_INTERVAL_S", 0.1)
    (node,) = usable_nodes(TaskNeeds()).values()
    idle, busy = QueueWatch(TaskNeeds()), QueueWatch(TaskNeeds())
    found: list[str] = []
    while not found:
        if idle.is_due(2) and (message := idle.explain_unplaced(2, [node], {})):
            found.append(message)
        if busy.is_due(2):
            assert busy.explain_unplaced(2, [node], {node.node_id: node.slots}) == ""
    assert re.fullmatch(
        rf"2 tasks have not started for \d s although there is room on {node.name}: sent again", found[0]
    )
