"""Buckets that cannot be used, and servers that fail: one clear sentence each, in bounded time, and no secret in it."""

import pickle
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.command_line import GRID, run, write_grid
from support.s3_servers import BUCKET, KEY, SECRET, S3Server, moto, moto_with_a_reader

from jobs.cli.exit_codes import BAD_INPUT
from jobs.errors import StoreError
from jobs.run import TaskContext
from jobs.store import open_store
from jobs.store.backends import ObjectBackend, StoreUrl
from jobs.store.backends.credentials import METADATA
from jobs.store.backends.requests import Requests
from mnist_core.data import Dataset

URL = f"s3://{BUCKET}/faults"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start without any, and in a home that has no files of them."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(METADATA, raising=False)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten every wait; the real ones are minutes."""
    monkeypatch.setattr("jobs.store.backends.requests._REQUEST_S", 1)
    monkeypatch.setattr("jobs.store.backends.object_store.FIRST_PATIENCE_S", 1.0)


def refusal(url: str = URL) -> str:
    """Open a store, and return why that is refused."""
    with pytest.raises(StoreError) as raised:
        open_store(url)
    assert SECRET not in str(raised.value)
    return str(raised.value)


class Listener:
    """Count the connections to an address that nobody should ask."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.5)
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def was_asked(self) -> bool:
        try:
            connection, _ = self._socket.accept()
        except TimeoutError:
            return False
        connection.close()
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """Take the place of the address from which a cloud gives its machines their credentials."""
    listener = Listener()
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", listener.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", listener.endpoint)
    yield listener
    listener.close()


# Credentials


def test_without_credentials_nothing_is_asked_of_the_network(metadata: Listener) -> None:
    assert "there are no credentials for it; set AWS_ACCESS_KEY_ID" in refusal()
    assert not metadata.was_asked()


@pytest.mark.medium
def test_the_machine_is_asked_where_the_user_says_so(
    metadata: Listener, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    monkeypatch.setenv(METADATA, "1")
    asking = threading.Thread(target=refusal)
    asking.start()
    assert metadata.was_asked()
    metadata.close()
    asking.join()


@pytest.mark.parametrize("url", ["gs://bucket/x", "az://container/x"])
def test_the_other_services_need_credentials_too(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if url.startswith("az"):
        assert "set AZURE_STORAGE_ACCOUNT_NAME" in refusal(url)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    assert "there are no credentials for it; set " in refusal(url)


def test_a_file_of_google_credentials_has_to_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/none.json")
    assert "the file of credentials '/none.json' does not exist" in refusal("gs://bucket/x")


def test_profiles_of_the_standard_files_are_used(
    moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / ".aws"
    folder.mkdir(parents=True)
    keys = f"aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    (folder / "credentials").write_text(f"[default]\n[lab]\n{keys}")
    (folder / "config").write_text(f"[profile lab]\nregion = eu-west-1\nendpoint_url = {moto_server.endpoint}\n")
    assert "there are no credentials" in refusal()
    monkeypatch.setenv("AWS_PROFILE", "lab")
    backend = open_store(URL).backend
    backend.put("x", b"1")
    assert backend.get("x") is not None


def test_a_file_of_settings_that_is_none_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".aws"
    folder.mkdir(parents=True)
    (folder / "credentials").write_text(f"{SECRET}\n")
    assert "is not a file of AWS settings" in refusal()


def test_a_wrong_key_is_not_tried_again(rclone_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    rclone_server.use(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another-key")
    assert "the service does not accept the credentials (InvalidAccessKeyId); correct them" in refusal()


def test_a_wrong_bucket_is_named(
    moto_server: S3Server, rclone_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for server in (moto_server, rclone_server):
        server.use(monkeypatch)
        assert "there is no bucket 'another'; make it, or correct the URL" in refusal("s3://another/x")


@pytest.mark.medium
def test_a_bucket_that_may_only_be_read_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto_with_a_reader() as server:
        server.use(monkeypatch)
        backend = open_store(URL).backend
        assert list(backend.list("")) == []
        message = r"x: cannot be written: these credentials may not write there \(AccessDenied\); .* before is kept"
        with pytest.raises(StoreError, match=message):
            backend.put("x", b"1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another-key")
        assert "the service does not accept the credentials (InvalidAccessKeyId)" in refusal()


def test_no_secret_travels_with_a_task(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, tiny: Dataset) -> None:
    moto_server.use(monkeypatch)
    store = open_store(URL)
    store.backend.put("x", b"1")
    for value in (store, TaskContext(tiny, store.location)):
        assert SECRET.encode() not in pickle.dumps(value)
    assert SECRET not in repr(store.backend)


@pytest.mark.parametrize("url", [f"s3://key:{SECRET}@bucket/x", f"az://bucket/x?sig={SECRET}"])
def test_a_url_with_credentials_is_refused_and_not_repeated(url: str) -> None:
    assert "has credentials, a query or a fragment in it, which are not shown here" in refusal(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://bucket/x", "is a URL of another kind; allowed: a folder, s3://BUCKET/PREFIX"),
        ("s3://", "'' is not the name of a bucket"),
        ("s3://a_b c/x", "'a_b c' is not the name of a bucket"),
        ("s3://bucket/a/../b", "the prefix has '..' between its slashes"),
        ("s3://bucket/a//b", "the prefix has '' between its slashes"),
        ("s3://bucket/a*", "the prefix has 'a*' between its slashes"),
    ],
)
def test_a_url_that_names_no_store_is_refused(url: str, message: str) -> None:
    assert message in refusal(url)


# Servers that fail


@pytest.mark.medium
def test_an_endpoint_that_does_not_answer_is_given_up_soon(
    moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    moto_server.use(monkeypatch)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert "nothing answers (Connection refused), tried for " in refusal()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server of the test's own, which may be stopped."""
    with moto() as own:
        own.use(monkeypatch)
        yield own


@pytest.mark.medium
def test_work_goes_on_when_a_stopped_server_does(server: S3Server, impatient: None) -> None:
    backend = ObjectBackend(StoreUrl("s3", BUCKET, secrets.token_hex(8)))
    backend.put("before", b"1")
    server.process.send_signal(signal.SIGSTOP)
    going_on = threading.Timer(2.5, server.process.send_signal, [signal.SIGCONT])
    going_on.start()
    started_s = time.monotonic()
    backend.put("parts/a", b"1", create_only=True)  # one of these was sent before the server stopped to answer
    assert time.monotonic() - started_s > 2.0
    going_on.join()
    assert backend.get("parts/a") is not None
    assert [entry.key for entry in backend.list("")] == ["before", "parts/a"]


@pytest.mark.medium
def test_a_server_that_never_answers_is_given_up(server: S3Server, impatient: None) -> None:
    backend = ObjectBackend(StoreUrl("s3", BUCKET))
    backend.put("before", b"1")
    backend.__dict__["requests"] = Requests(backend.url, patience_s=2.0)
    server.process.send_signal(signal.SIGSTOP)
    with pytest.raises(StoreError, match=r"s3://studies/a: cannot be written: nothing answers .*, tried for \d+ s"):
        backend.put("a", b"1")
    started_s = time.monotonic()
    with pytest.raises(StoreError, match="cannot be listed: nothing answers"):
        list(backend.list(""))
    assert time.monotonic() - started_s < 60.0  # soon: its patience is used up


@pytest.mark.slow
@pytest.mark.usefixtures("no_wait_before_a_retry")
@pytest.mark.filterwarnings("default:the command to run at the end was not run")
def test_a_study_whose_server_never_comes_back_ends(
    server: S3Server, impatient: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("jobs.store.backends.object_store.Requests", partial(Requests, patience_s=2.0))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    grid = write_grid(tmp_path, GRID.replace("seed: [0, 1, 2]", "seeds: 2000").replace("epochs: 2", "epochs: 200"))
    watching = ObjectBackend(StoreUrl("s3", BUCKET, "faults"))

    def stop_after_the_first_part() -> None:
        while not watching.names("parts/"):
            time.sleep(0.1)
        server.process.send_signal(signal.SIGSTOP)

    stopping = threading.Thread(target=stop_after_the_first_part, daemon=True)
    stopping.start()
    outcome = run("submit", grid, "--in-process", "--store", URL)
    assert outcome.code == BAD_INPUT
    assert re.search(r"cannot be \w+: nothing answers.* tried for \d+ s; check the network", outcome.err)
    assert SECRET not in outcome.err + outcome.out
    server.process.send_signal(signal.SIGCONT)
    assert 0 < len(open_store(URL).backend.names("parts/")) < 2000
