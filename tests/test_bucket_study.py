"""A whole study in a bucket: the same commands, the same tables, the same upkeep as in a folder."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command_line import Outcome, run, said, write_grid
from support.part_tables import part_table, whole
from support.s3_servers import BUCKET, SECRET, S3Server
from support.warm_processes import WarmProcess

import mnistjobs
from jobs.cli.exit_codes import BAD_INPUT, SOME_FAILED
from jobs.errors import StoreError
from jobs.run import node_admission
from jobs.store import Store, StoreUrl, compact, open_store, scan_parts, write_part
from jobs.store.backends import lease
from jobs.store.compaction import Compaction
from jobs.store.layout import PARTS

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

TIMES = ("seconds", "finished_at", "epoch_seconds")  # what differs between two runs of equal results
SAME_BYTES = [
    *("requested.parquet", "confusion.parquet", "predictions.parquet", "summary.parquet", "contrasts.parquet"),
    *("effects.parquet", "summary.csv", "summary.md", "contrasts.csv", "contrasts.md"),
]


@pytest.fixture(scope="module")
def study(
    moto_server: S3Server, tmp_path_factory: pytest.TempPathFactory, figures_drawn_once: None
) -> Iterator[tuple[Path, Outcome, Outcome]]:
    """The grid of a study that was trained into a folder and into a bucket, and what both commands said."""
    folder = tmp_path_factory.mktemp("study")
    grid = write_grid(folder)
    with pytest.MonkeyPatch.context() as patch:
        moto_server.use(patch)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        words = ("submit", grid, "--in-process", "--store")
        yield grid, run(*words, folder / "results"), run(*words, url_of(folder))


@pytest.fixture
def bucket(study: tuple[Path, Outcome, Outcome], moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    moto_server.use(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(study[0].parent / "cache"))
    return open_store(url_of(study[0].parent))


def url_of(folder: Path) -> str:
    return f"s3://{BUCKET}/{folder.name}"


def files_of_job(store: Store) -> dict[str, bytes]:
    found = {entry.key: store.backend.get(entry.key) for entry in store.backend.list("jobs/")}
    return {key.partition("/")[2].partition("/")[2]: each[0] for key, each in found.items() if each}


def table(content: bytes) -> pa.Table:
    read = pq.read_table(pa.BufferReader(content))
    return read.select([name for name in read.column_names if name not in TIMES])


def test_a_study_in_a_bucket_equals_one_in_a_folder(study: tuple[Path, Outcome, Outcome], bucket: Store) -> None:
    grid, in_folder, in_bucket = study
    assert (in_folder.code, in_bucket.code, in_bucket.err) == (0, 0, in_folder.err)
    said_there, said_here = (outcome.out.splitlines() for outcome in (in_folder, in_bucket))
    assert said_there[1:-1] == said_here[1:-1]  # all but where it is
    assert said_here[-1].startswith(f"Report: {url_of(grid.parent)}/jobs/tiny-")
    theirs, ours = files_of_job(open_store(grid.parent / "results")), files_of_job(bucket)
    assert theirs.keys() == ours.keys()
    assert [name for name in SAME_BYTES if theirs[name] != ours[name]] == []
    for name in ("trials.parquet", "metrics.parquet"):
        assert table(theirs[name]).equals(table(ours[name]))


def test_the_layout_is_that_of_a_folder(study: tuple[Path, Outcome, Outcome], bucket: Store) -> None:
    folder = study[0].parent / "results"
    rooms = {entry.key.partition("/")[0] for entry in bucket.backend.list("")}
    assert rooms == {"parts", "weights", "jobs"}  # nothing temporary is left
    assert list(bucket.backend.names("weights/")) == sorted(path.name for path in (folder / "weights").iterdir())


def test_every_command_reads_a_bucket(study: tuple[Path, Outcome, Outcome], bucket: Store, tmp_path: Path) -> None:
    grid, url = study[0], str(bucket.location)
    store = ("--store", url)
    assert "3 found in" in said("plan", grid, *store)
    assert "tiny-" in said("list", *store)
    (job_id,) = bucket.backend.names("jobs/")
    assert said("summary", "tiny", *store) == said("summary", f"{url}/jobs/{job_id}/report.html")
    assert said("verify", "tiny", "--rerun", "1", *store).endswith(": 0 problems\n")
    assert said("report", "tiny", *store).endswith(f"Report: {url}/jobs/{job_id}/report.html\n")
    assert "Wrote 3 files" in said("export", "tiny", "--weights", tmp_path / "weights", *store)
    assert mnistjobs.read_trials(url, "tiny").num_rows == 3
    trial = mnistjobs.read_trials(url, "tiny")["trial_id"][0].as_py()
    assert mnistjobs.read_weights(url, trial)["W1"].shape == (4, 784)


def test_a_report_has_no_path_in_a_bucket(bucket: Store) -> None:
    report = mnistjobs.report_job(str(bucket.location), "tiny")
    assert report.where.startswith("s3://")
    with pytest.raises(StoreError, match="is not a folder; allowed here: a folder"):
        _ = report.page


def test_submitting_again_trains_nothing(study: tuple[Path, Outcome, Outcome], bucket: Store) -> None:
    before = list(bucket.backend.names(PARTS))
    assert "3 found in" in said("submit", study[0], "--in-process", "--store", str(bucket.location))
    assert bucket.backend.names(PARTS) == before


@pytest.mark.filterwarnings("default::jobs.errors.DamagedPartWarning")
def test_damage_is_found_moved_and_trained_anew(
    study: tuple[Path, Outcome, Outcome], moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moto_server.use(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = ("--store", f"s3://{BUCKET}/{secrets.token_hex(8)}")
    words = ("submit", study[0], "--in-process", "--quiet", *store)
    said(*words)
    backend = open_store(store[1]).backend
    (part,) = backend.names(PARTS)
    backend.put(f"{PARTS}{part}", b"damaged")
    outcome = run("verify", "tiny", *store)  # the whole copy in the cache is no proof
    assert outcome.code == SOME_FAILED
    assert f"it has been moved to {store[1]}/quarantine/{part}" in outcome.out + outcome.err
    assert (backend.names(PARTS), backend.names("quarantine/")) == ([], [part])
    said(*words)
    assert said("verify", "tiny", *store).endswith(": 0 problems\n")


# Workers


def test_nodes_prove_that_they_read_the_bucket(
    study: tuple[Path, Outcome, Outcome], bucket: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = mnistjobs.plan_grid(study[0], str(bucket.location))
    with node_admission(plan, "cpu") as admission:
        assert admission.describe(*admission.arguments)["store"] == admission.required["store"]
        with monkeypatch.context() as patch:
            patch.delenv("AWS_SECRET_ACCESS_KEY")
            found = admission.describe(*admission.arguments)["store"]
        assert found.startswith(f"not shared ({bucket.locate('temporary')}: there are no credentials for it; set ")
    assert bucket.backend.names("temporary/") == []


@pytest.mark.ray
@pytest.mark.slow
def test_workers_of_ray_write_to_the_bucket(
    study: tuple[Path, Outcome, Outcome], moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto_server.use(monkeypatch)
    url = f"s3://{BUCKET}/{secrets.token_hex(8)}"
    # In a process of its own: the Ray of this one, where it has one, was started without the credentials.
    submit = WarmProcess("submit", study[0], "--store", url, "--workers", 1, "--quiet")
    out, err = submit.communicate(timeout=120)
    assert (submit.returncode, err) == (0, ""), out
    (job,) = mnistjobs.list_jobs(url)
    assert job.state == "finished"
    assert mnistjobs.plan_grid(study[0], url).missing == ()
    assert not any(SECRET.encode() in content for content in files_of_job(open_store(url)).values())


# Compaction


@pytest.fixture
def parts(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """A store in a bucket with four parts of ten trials."""
    moto_server.use(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = Store(StoreUrl("s3", BUCKET, secrets.token_hex(8)))
    for start in range(0, 40, 10):
        write_part(store, part_table(range(start, start + 10)))
    return store


def test_a_bucket_is_compacted(parts: Store) -> None:
    before = whole(parts, range(40))
    done = compact(parts)
    assert (len(done.merged), list(parts.backend.names(PARTS))) == (4, list(done.written))
    assert whole(parts, range(40)) == before
    assert compact(parts) == Compaction((), (), ())


def test_compactions_take_turns_in_a_bucket(parts: Store) -> None:
    before = whole(parts, range(40))
    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(lambda _: compact(parts), range(3)))
    assert sorted(len(each.merged) for each in done) == [0, 0, 4]
    assert whole(parts, range(40)) == before


def test_a_lock_whose_holder_is_gone_is_taken_over(parts: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LOST_S", 1.5)
    lost = lease._Lease(parts.backend, "compaction.lock")
    lost.take()
    assert parts.backend.lock_state("compaction.lock") is None
    assert len(compact(parts).merged) == 4
    lost.release()  # a suspended process wakes up, and takes nothing back
    assert parts.backend.lock_state("compaction.lock") is not None


def test_a_service_without_conditions_is_not_compacted(
    study: tuple[Path, Outcome, Outcome], rclone_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rclone_server.use(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = ("--store", f"s3://{BUCKET}/{secrets.token_hex(8)}")
    said("submit", study[0], "--in-process", "--quiet", *store)
    outcome = run("compact", *store)
    assert outcome.code == BAD_INPUT
    assert "cannot be locked: its service ignores conditions on writes" in outcome.err
    assert said("verify", "tiny", *store).endswith(": 0 problems\n")


# The cache


def test_a_part_is_fetched_once(parts: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = whole(parts, range(40))
    names = list(parts.backend.names(PARTS))
    for name in names:
        parts.backend.put(f"{PARTS}{name}", b"not read any more")
    assert whole(parts, range(40)) == before
    copy = tmp_path / "mnistjobs" / "parts" / names[0]
    copy.write_bytes(b"damaged")
    assert len(list((tmp_path / "mnistjobs" / "parts").iterdir())) == 4
    with pytest.raises(AssertionError):
        whole(parts, range(40))  # the copy is not used, and the part cannot be


def test_without_a_home_nothing_is_kept(parts: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "")
    before = whole(parts, range(40))
    assert not Path("relative").exists()
    assert whole(parts, range(40)) == before


def test_the_second_plan_opens_no_part(parts: Store, tmp_path: Path) -> None:
    def rows() -> list[object]:
        return [rows.to_pylist() for _, rows in scan_parts(parts, ["trial_id", "seconds"]) if rows]

    before = rows()
    for name in parts.backend.names(PARTS):
        (tmp_path / "mnistjobs" / "parts" / name).unlink()
        parts.backend.put(f"{PARTS}{name}", b"not read any more")
    assert rows() == before
