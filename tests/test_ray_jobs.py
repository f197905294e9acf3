"""Jobs of a Ray cluster, submitted from a host that is no node, to nodes that have no mnistjobs installed.

Each node is a host of its own (`support.hosts`), and the cluster is started by the commands of docs/cluster.md. Run by
`make test-cluster`, in this order, as each test leaves the cluster to the next one.
"""

import logging
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from support.cluster_page import blocks
from support.hosts import Network, network_of_hosts, why_no_hosts
from support.job_hosts import BUCKET, JobHosts, Laptop, give_token, laptop_environment, start_cluster, start_storage
from support.ray_hosts import REPOSITORY, wait_until
from support.reference_study import ReferenceStudy, reference_study

import mnistjobs
from jobs.store import Job

pytestmark = [pytest.mark.several_nodes, pytest.mark.ray]
QUICKSTART = REPOSITORY / "data" / "grids" / "quickstart.yaml"
LONG = """
name: long
dataset: digits
grid: {model: [mlp], subset_size: [1200], adaptive_lr: [false, true], seed: [0, 1]}
train: {epochs: 5000, batch_size: 32, learning_rate: 0.002}
"""
COMPARE = f"""
import sys
sys.path.append({str(REPOSITORY / "tests")!r})
from support.reference_study import tables
print(tables(*sys.argv[1:3]) == tables(*sys.argv[3:]))
"""
SUBMIT_NOTHING = """
import pathlib, cluster.ray_jobs as ray_jobs
ray_jobs._ANSWER_TIMEOUT_S = 3.0
ray_jobs.connect_to_jobs("{address}").submit("nothing", "true", pathlib.Path("{folder}"), {{}})
"""
SUBMIT_S = 20.0  # the bound against hanging on a busy machine; the goal on an idle one is 3
JOB_S = 400.0


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    if reason := why_no_hosts():
        pytest.skip(reason)
    with network_of_hosts() as network:
        start_storage(network)
        yield network


@pytest.fixture(scope="module")
def cluster(network: Network) -> JobHosts:
    return start_cluster(network, "n1", "n2", "n3")


@pytest.fixture(scope="module")
def laptop(network: Network, cluster: JobHosts) -> Laptop:
    laptop = Laptop(network.add_host("laptop"), network.folder / "store")
    give_token(cluster.head, laptop.host)
    return laptop


@pytest.fixture(scope="module")
def expected(network: Network) -> Iterator[ReferenceStudy]:
    with reference_study(QUICKSTART, network.folder / "expected") as study:
        yield study


def submit(laptop: Laptop, grid: Path, address: str) -> str:
    """Submit a detached job; return its id, which is all that is printed to stdout."""
    begun_s = time.monotonic()
    done = laptop.run("submit", grid, "--detach", "--address", address)
    assert done.returncode == 0, done.stderr
    took_s = time.monotonic() - begun_s
    logging.getLogger(__name__).info("job id after %.1f s", took_s)  # shown by --log-cli-level INFO
    assert took_s < SUBMIT_S
    (job_id,) = done.stdout.splitlines()
    return job_id


def test_a_cluster_that_refuses_the_user_is_named_in_one_line(
    laptop: Laptop, cluster: JobHosts, network: Network
) -> None:
    words = ("submit", QUICKSTART, "--detach", "--quiet", "--address")
    for token, reason in {
        "b" * 64: "refuses the token in RAY_AUTH_TOKEN",
        "": "needs a token, and there is none",
    }.items():
        done = laptop.run(*words, cluster.address, RAY_AUTH_TOKEN=token, HOME="/nowhere", timeout_s=SUBMIT_S)
        (line,) = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (2, "")
        assert line.startswith(f"Ray's job server at '{cluster.address}': {reason}")
    done = laptop.run(*words, f"http://{cluster.head.address}:6379", timeout_s=SUBMIT_S)
    assert "another service answers there" in done.stderr
    assert not (network.folder / "store").exists()


def test_a_head_without_an_agent_that_answers_is_given_up(laptop: Laptop, cluster: JobHosts) -> None:
    code = SUBMIT_NOTHING.format(address=cluster.address, folder=laptop.host.folder / ".ray")
    (agent,) = [
        each
        for each in psutil.Process(cluster.head.first_pid).children(recursive=True)
        if "ray::DashboardAgent" in name(each)
    ]
    agent.send_signal(signal.SIGSTOP)
    try:
        done = laptop.host.run(sys.executable, "-c", code, env=laptop_environment())
    finally:
        agent.send_signal(signal.SIGCONT)
    assert "is silent for 3 s; its head is busy or dying" in done.stderr.splitlines()[-1]


def name(process: psutil.Process) -> str:
    """Return what a process calls itself, which Ray's processes do; "" where it has ended."""
    try:
        return (process.cmdline() or [""])[0]
    except psutil.NoSuchProcess:
        return ""


def test_a_driver_that_gives_up_is_explained(laptop: Laptop, cluster: JobHosts, network: Network) -> None:
    grid = network.folder / "mnist.yaml"
    grid.write_text(LONG.replace("dataset: digits", "dataset: mnist").replace("long", "mnist"))
    without_dataset = submit(laptop, grid, cluster.address)
    words = ("submit", QUICKSTART, "--detach", "--quiet", "--address", cluster.address)
    without_python = laptop.run(*words, MNISTJOBS_PYTHON="/no/such/python").stdout.strip()

    status = laptop.wait_for(without_python, lambda status: "has ended" in status["note"], "the cluster tells", JOB_S)
    assert status["state"] == "queued"
    assert "its driver on the cluster has ended (Job entrypoint command failed with exit code 1" in status["note"]
    assert "/no/such/python" in laptop.run("logs", without_python).stdout
    assert laptop.run("cancel", without_python).returncode == 0
    assert laptop.status(without_python)["state"] == "cancelled"

    status = laptop.wait_for(without_dataset, lambda status: status["state"] == "interrupted", "it gives up", JOB_S)
    assert "no mirror delivered it" in status["note"]
    assert "MNISTJOBS_DATA_DIR" in status["note"]


def test_the_commands_of_the_page_run_a_study(laptop: Laptop, cluster: JobHosts, network: Network) -> None:
    (network.folder / "grid.yaml").write_text(LONG.replace("5000", "5").replace("long", "page"))
    store = network.folder / "page"
    for text in blocks("laptop"):
        script = text.replace("HEAD", cluster.head.address).replace("/shared/studies", str(store))
        script = f"set -ex; cd {network.folder}; {script}"
        done = laptop.host.run("bash", "-c", script, env=laptop_environment(), timeout_s=JOB_S)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    (job,) = mnistjobs.list_jobs(store)
    assert isinstance(job, Job)
    assert job.state == "finished"
    assert job.job_id in done.stdout
    assert set(mnistjobs.read_trials(store, job.job_id)["host"].to_pylist()) <= {"n2", "n3"}


def test_the_slurm_script_of_the_page_runs_a_study_on_its_first_node(network: Network) -> None:
    host = network.add_host("slurm")
    (host.folder / "grid.yaml").write_text(LONG.replace("5000", "5"))
    srun = host.folder / "srun"  # what Slurm does on another node, if there were one, this does here
    srun.write_text('#!/bin/sh\nwhile case $1 in --*) true ;; *) false ;; esac; do shift; done\nexec "$@"\n')
    srun.chmod(0o755)
    (script,) = blocks("slurm")
    allocation = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURMD_NODENAME": "slurm",
    }
    env = laptop_environment(**allocation)
    env["PATH"] = f"{host.folder}:{env['PATH']}"
    process = host.start("bash", "-c", f"cd {host.folder}; {script}", log="slurm.log", env=env)
    code = process.wait(JOB_S)
    network.remove(host)  # as the end of its script ends a job of Slurm's
    (job,) = mnistjobs.list_jobs(host.folder / "studies")
    assert (code, job.state) == (0, "finished"), (host.folder / "slurm.log").read_text()[-3000:]


def test_jobs_end_when_cancelled_and_when_ray_stops_them(laptop: Laptop, cluster: JobHosts, network: Network) -> None:
    grid = network.folder / "long.yaml"
    grid.write_text(LONG)
    first, second = (submit(laptop, grid, cluster.address) for _ in range(2))
    laptop.wait_for(first, lambda status: len(status["running"]) == 2, "two trials run", JOB_S)
    laptop.wait_for(second, lambda status: status["state"] == "running", "another job waits for room", JOB_S)

    code = f"from jobs.service.ray_launch import stop_on_ray; print(stop_on_ray('{cluster.address}', '{second}'))"
    stopped = laptop.host.run(sys.executable, "-c", code, env=laptop_environment())
    assert stopped.stdout == "True\n", stopped.stderr
    laptop.wait_for(second, lambda status: status["state"] == "interrupted", "its driver has ended it", 60)

    done = laptop.run("cancel", first)
    assert done.returncode == 0, done.stderr
    assert laptop.status(first)["state"] == "cancelled"
    workers = [each for node in cluster.nodes for each in psutil.Process(node.first_pid).children(recursive=True)]
    wait_until(lambda: not any("ray::run_if_admitted" in name(each) for each in workers), "no trial runs", 30)


def test_a_job_in_a_bucket_outlives_its_head(
    laptop: Laptop, cluster: JobHosts, network: Network, expected: ReferenceStudy
) -> None:
    laptop = Laptop(laptop.host, BUCKET)
    job_id = submit(laptop, QUICKSTART, cluster.address)
    laptop.wait_for(job_id, lambda status: status["counts"]["finished"] >= 4, "some trials end", JOB_S)
    network.remove(cluster.head)
    killed_s = time.monotonic()
    for node in cluster.nodes:
        network.remove(node)

    def wait_until_lost() -> float:
        laptop.wait_for(job_id, lambda status: status["state"] == "lost", "the job is lost", 120)
        return time.monotonic() - killed_s

    with ThreadPoolExecutor(1) as meanwhile:
        waiting = meanwhile.submit(wait_until_lost)
        other = start_cluster(network, "m1", "m2", "m3")  # in this thread: hosts die with the thread that made them
        assert waiting.result() < 60
    assert "mnistjobs resume" in laptop.run("status", job_id).stdout
    give_token(other.head, laptop.host)
    stored = laptop.status(job_id)["counts"]["finished"]
    resumed = laptop.run("resume", job_id, "--address", other.address)
    assert resumed.returncode == 0, resumed.stderr
    watched = laptop.run("watch", job_id, timeout_s=JOB_S)
    assert watched.returncode == 0, watched.stderr
    assert laptop.status(job_id)["state"] == "finished"
    assert "finished" in laptop.run("logs", job_id).stdout
    assert 4 <= stored < 24
    words = (sys.executable, "-c", COMPARE, BUCKET, job_id, expected.store, expected.finish())
    compared = laptop.host.run(*words, env=laptop_environment(), timeout_s=JOB_S)
    assert compared.stdout == "True\n", compared.stderr
