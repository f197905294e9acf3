"""What surrounds a local Ray: the folder, the environment, the home, the CPUs and the program that start it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import write_grid
from support.ray_clusters import cluster, environment_of, free_port
from support.surroundings import (
    ALONE,
    MODULES,
    NOBODY,
    ROOT,
    command_line,
    python_environment,
    require,
    run,
    run_script,
    write_modules,
)

from cluster import AddressError
from jobs.cli.hints import HINTS

# What launchers, shells and other Rays leave in an environment, each of which has stopped a study or changed it.
LEFT_BEHIND = {
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
    "RAY_ADDRESS": "http://127.0.0.1:1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_CLIENT_MODE": "1",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": '{"runtime_env": {"working_dir": "/nowhere"}}',
    "RAY_LOG_TO_STDERR": "1",
    "RAY_REDIS_ADDRESS": "127.0.0.1:1",
    "RAY_RUNTIME_ENV_HOOK": "nowhere.hook",
    **dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY"), "http://127.0.0.1:1"),
}
LAUNCHER = "from mnistjobs import main\nmain()\n"
# Ray takes any process that looks like this for uv, and sends the working directory to its workers.
UV_RUN = (
    "import json, os, sys, subprocess\nsys.exit(subprocess.run(sys.argv[2:], env=json.loads(sys.argv[1])).returncode)"
)


@pytest.mark.ray
def test_no_file_of_the_working_directory_is_imported_nor_sent_to_the_workers(tmp_path: Path) -> None:
    here, other = write_modules(tmp_path / "here"), write_modules(tmp_path / "other")
    for name in MODULES:
        if name not in ("jobs", "cluster", "mnist_core"):
            (other / f"{name}.py").unlink()  # one may keep one's own numpy in PYTHONPATH, but not our packages
    grid = write_grid(tmp_path)
    with (here / "large").open("wb") as file:
        file.truncate(600 << 20)  # more than Ray sends
    (here / "run").write_text(UV_RUN)
    environment = python_environment(Path("/proc/nowhere"), "", str(other))  # a home that cannot be written
    submit = [sys.executable, "-m", "mnistjobs", "submit", str(grid), "--store", str(tmp_path / "results"), "--quiet"]
    command = ["uv", "run", json.dumps(environment), *submit]
    outcome = run(command, here, {"PYTHONSAFEPATH": "1"}, executable=sys.executable)
    assert (outcome.code, outcome.err) == (0, "")
    assert list(tmp_path.rglob("*.imported")) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_needs_no_home_no_user_and_nothing_of_its_environment(tmp_path: Path) -> None:
    require(NOBODY)
    grid, launcher, deep = write_grid(tmp_path), tmp_path / "mnistjobs-launcher", tmp_path / ("x" * 100)
    launcher.write_text(LAUNCHER)
    deep.mkdir()
    environment = {**python_environment(tmp_path), **LEFT_BEHIND, "TMPDIR": str(deep)}
    for name in ("HOME", "USER", "LOGNAME"):
        environment.pop(name, None)
    words = ["submit", str(grid), "--store", str(tmp_path / "results"), "--quiet", "--address", "local"]
    outcome = run([*NOBODY, sys.executable, str(launcher), *words], tmp_path, environment)
    assert (outcome.code, outcome.err) == (0, "")


WORKER = """
import json, os, sys
before = dict(os.environ)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from cluster import Done, usable_cpus
from cluster.ray_session import ray_session
import ray

def describe(item, shared):
    import os, sys
    return sys.path, {name: value for name, value in os.environ.items() if name.startswith(("RAY_", "PYTHON"))}
    yield

with ray_session(address="local") as session:
    during = dict(os.environ)
    folder = ray._private.worker._global_node.get_temp_dir_path()
    executor = session.executor(describe, None)
    executor.submit(0)
    while not isinstance(event := executor.next_event(1.0), Done):
        pass
slots = sum(node.slots for node in session.nodes)
path, variables = event.result
print(json.dumps([slots, path, variables, before == during == dict(os.environ), folder]))
"""


@pytest.mark.ray
def test_workers_get_their_own_token_the_usable_cpus_and_none_of_the_programs_folders(tmp_path: Path) -> None:
    environment = python_environment(tmp_path, **LEFT_BEHIND, RAY_memory_usage_threshold="0.99")
    outcome = run_script(WORKER, tmp_path, environment)
    assert (outcome.code, outcome.err) == (0, "")
    slots, path, variables, is_unchanged, folder = json.loads(outcome.out)
    assert (slots, is_unchanged) == (1, True)
    assert str(tmp_path) not in path
    assert variables.keys() & LEFT_BEHIND.keys() == {"RAY_AUTH_MODE", "RAY_CLIENT_MODE"}
    assert (variables["RAY_AUTH_MODE"], len(variables["RAY_AUTH_TOKEN"])) == ("token", 64)
    assert variables["RAY_memory_usage_threshold"] == "0.99"
    assert not (tmp_path / ".ray").exists()
    assert Path(folder).name.startswith("mnistjobs-")
    assert not Path(folder).exists()


PROGRAM = """
import os, signal, sys
from pathlib import Path
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
import mnistjobs

def state():
    return dict(os.environ), list(sys.path), signal.getsignal(signal.SIGTERM)

def submit(store, **options):
    before = state()
    try:
        job = mnistjobs.submit_grid("grid.yaml", store, **options)
        print(job.state, len(job.failures), state() == before)
    except Exception as error:
        print(type(error).__name__, error, state() == before)

mine = ray.put("mine")
submit("first")
submit("second", address="local")
Path(__file__).with_name("jobs.py").write_text("raise ImportError")
submit("second")
print(ray.get(mine), ray.is_initialized())
ray.shutdown()
submit("second")
print(ray.is_initialized())
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_programs_ray_is_used_and_left_as_it_was(tmp_path: Path) -> None:
    write_grid(tmp_path)
    outcome = run_script(PROGRAM, tmp_path, python_environment(tmp_path, RAY_AUTH_MODE="disabled"))
    assert outcome.code == 0, outcome.err
    first, elsewhere, hidden, *rest = outcome.out.splitlines()
    assert first == "finished 0 True"
    assert elsewhere.startswith("AddressError Ray at 'local': this program is connected to the one at ")
    assert elsewhere.endswith(" already; allowed: no address to use that, or ray.shutdown() first True")
    assert hidden == (
        f"AddressError {tmp_path / 'jobs.py'}: workers of this program's Ray import it in place of mnistjobs' own; "
        "rename it True"
    )
    assert rest == ["mine True", "finished 0 True", "False"]  # a file in the way is in nobody's way on a Ray of ours


def test_a_module_that_a_program_has_imported_in_place_of_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").touch()
    outcome = run_script("import jobs, mnistjobs\nmnistjobs.list_jobs()\n", tmp_path, python_environment(tmp_path))
    assert outcome.err.splitlines()[-1] == (
        f"ImportError: mnistjobs: {tmp_path / 'jobs.py'} has been imported in place of the package 'jobs'; rename it"
    )


@pytest.fixture(scope="module")
def open_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster that asks for no token."""
    folder = tmp_path_factory.mktemp("cluster")
    with cluster(environment_of(folder, RAY_AUTH_MODE="disabled"), folder) as address:
        yield address


@pytest.mark.ray
@pytest.mark.slow
def test_a_token_file_does_not_lock_its_owner_out_of_a_cluster_without_authentication(
    tmp_path: Path, open_cluster: str
) -> None:
    grid, here = write_grid(tmp_path), write_modules(tmp_path / "here")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(64 * "a")
    words = ["submit", str(grid), "--store", str(tmp_path / "results"), "--quiet"]
    environment = python_environment(tmp_path, RAY_ADDRESS=open_cluster)
    refused = command_line(*words, environment=environment | {"RAY_AUTH_MODE": "token"})
    accepted = command_line(*words, environment=environment, folder=here)
    reason = "works without tokens, but RAY_AUTH_MODE is token; unset RAY_AUTH_MODE"
    assert refused.err == f"Ray at '{open_cluster}' (from RAY_ADDRESS): {reason}; {HINTS[AddressError]}\n"
    assert (refused.code, accepted.code, accepted.err) == (2, 0, "")
    assert list(here.glob("*.imported")) == []  # Ray puts the working directory first on the path of the workers


@pytest.mark.ray
@pytest.mark.slow
def test_a_driver_on_a_machine_that_is_no_node_is_told_so(tmp_path: Path, open_cluster: str) -> None:
    require(ALONE)
    check = f"from cluster.ray_address import check_cluster\ncheck_cluster({open_cluster!r})\n"
    outcome = run([*ALONE, sys.executable, "-c", check], ROOT, python_environment(tmp_path))
    message = outcome.err.splitlines()[-1]
    assert "this machine is not one of its nodes (" in message
    join = f"`ray start --address={open_cluster} --num-cpus=0`"
    assert message.endswith(f"); run this on one of them, or make it one: {join}")


@pytest.mark.medium
def test_a_stale_address_in_the_environment_is_named_with_a_way_out(tmp_path: Path) -> None:
    grid, address = write_grid(tmp_path), f"127.0.0.1:{free_port()}"
    words = ["submit", str(grid), "--store", str(tmp_path / "results"), "--quiet"]
    outcome = command_line(*words, environment=python_environment(tmp_path, RAY_ADDRESS=address))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(f"Ray at '{address}' (from RAY_ADDRESS): nothing answers")
    assert outcome.err.endswith("; `--address local` starts Ray on this machine\n")


NO_WORKER = "import sys\nif any('default_worker' in word for word in sys.orig_argv):\n    sys.exit('no worker here')\n"
SUBMIT_NOTHING = """
import psutil
import cluster.ray_queue
from cluster import ClusterLostError, LocalRayError
from cluster.ray_session import ray_session

def nothing(item, shared):
    return None
    yield

cluster.ray_queue.MAX_START_S = 2.0
with ray_session(address="local", workers=1) as session:
    executor = session.executor(nothing, None)
    executor.submit(0)
    try:
        while executor.next_event(1.0) is None:
            pass
    except LocalRayError as error:
        print(error)
    executor.close()
    for process in psutil.Process().children():
        if process.name() == "raylet":
            process.kill()
    try:
        while True:
            executor.next_event(1.0)
    except ClusterLostError as error:
        print(error)
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_ray_that_starts_no_workers_or_dies_is_given_up_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_WORKER)
    outcome = run_script(SUBMIT_NOTHING, tmp_path, python_environment(tmp_path, str(tmp_path / "site")))
    reason = "no task has started for 2 s; the last line of its log is: SystemExit: no worker here"
    given_up, lost = outcome.out.splitlines()
    assert (given_up, outcome.err) == (f"Ray on this machine: {reason}", "")
    assert lost.endswith(": its raylet has died")


@pytest.mark.ray
@pytest.mark.chaos
def test_a_submit_whose_workers_do_not_start_ends_within_a_minute_and_a_half(tmp_path: Path) -> None:
    grid, site = write_grid(tmp_path), tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NO_WORKER)
    words = ["submit", str(grid), "--store", str(tmp_path / "results"), "--quiet"]
    outcome = command_line(*words, environment=python_environment(tmp_path, str(site)), bound_s=90.0)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert "no task has started for 55 s" in outcome.err


@pytest.mark.ray
@pytest.mark.chaos
def test_a_cluster_whose_workers_do_not_start_is_given_up_within_two_minutes(tmp_path: Path) -> None:
    grid, site = write_grid(tmp_path), tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NO_WORKER)
    words = ["submit", str(grid), "--store", str(tmp_path / "results"), "--quiet"]
    broken = python_environment(tmp_path, str(site), RAY_AUTH_MODE="disabled")
    with cluster(broken, tmp_path) as address:
        outcome = command_line(*words, environment=python_environment(tmp_path, RAY_ADDRESS=address), bound_s=120.0)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert "accepts no driver (it is silent for 50 s)" in outcome.err
