"""Downloads, against a real HTTP server on this machine that can misbehave in each way a mirror does."""

import gzip
import hashlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.idx_files import idx_contents

from mnist_core.data.download import download
from mnist_core.errors import DownloadError, NoMirrorDelivered

CONTENTS = idx_contents(train_count=200)
FILES = {f"{name}.gz": hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
ZIPPED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}
NAME = "train-images-idx3-ubyte.gz"
ONE = {NAME: FILES[NAME]}
BODY = ZIPPED[NAME]


@dataclass
class Mirror:
    """Hold what a server sends, how it misbehaves, and the requests that it received."""

    url: str = ""
    bodies: dict[str, bytes] = field(default_factory=lambda: dict(ZIPPED))
    honours_range: bool = True
    sends_length: bool = True
    dies_after: int | None = None  # bytes of a body
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # file name, Range


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@contextmanager
def serving(mirror: Mirror) -> Iterator[Mirror]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            asked = self.headers["Range"]
            mirror.requests.append((name, asked))
            body = mirror.bodies.get(name)
            start = int(asked[len("bytes=") : -1]) if asked and mirror.honours_range else 0
            if body is None or (start and start >= len(body)):
                self.send_error(404 if body is None else 416)
                return
            self.send_response(206 if start else 200)
            if mirror.sends_length:
                self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : mirror.dies_after])

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        mirror.url = f"http://127.0.0.1:{server.server_port}/mnist"
        try:
            yield mirror
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def good() -> Iterator[Mirror]:
    with serving(Mirror()) as mirror:
        yield mirror


@pytest.fixture
def bad() -> Iterator[Mirror]:
    with serving(Mirror()) as mirror:
        yield mirror


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_all_files_arrive_and_nothing_else_is_left(tmp_path: Path, good: Mirror) -> None:
    folder = tmp_path / "new" / "folder"
    download(FILES, folder, mirrors=[good.url])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == ZIPPED


def test_existing_files_are_not_requested(tmp_path: Path, good: Mirror) -> None:
    (tmp_path / NAME).touch()
    download(FILES, tmp_path, mirrors=[good.url])
    assert [name for name, _ in good.requests] == [name for name in FILES if name != NAME]


def test_progress_ends_at_the_total(tmp_path: Path, good: Mirror) -> None:
    calls: list[tuple[str, int, int | None]] = []
    download(ONE, tmp_path, mirrors=[good.url], progress=lambda *call: calls.append(call))
    done = [done for _, done, _ in calls]
    assert len(done) > 1
    assert done == sorted(set(done))
    assert calls[-1] == (NAME, len(BODY), len(BODY))


def test_the_next_run_resumes_a_partial_file(tmp_path: Path, good: Mirror) -> None:
    good.dies_after = 1000
    with pytest.raises(
        DownloadError, match=f"ended after 1,000 of {len(BODY):,} bytes; the next download resumes there"
    ):
        download(ONE, tmp_path, mirrors=[good.url])
    assert (tmp_path / f"{NAME}.partial").read_bytes() == BODY[:1000]
    good.dies_after = None
    calls: list[tuple[str, int, int | None]] = []
    download(ONE, tmp_path, mirrors=[good.url], progress=lambda *call: calls.append(call))
    assert good.requests[1:] == [(NAME, "bytes=1000-")]
    assert calls[-1] == (NAME, len(BODY), len(BODY))
    assert left_in(tmp_path) == [NAME]


def test_the_next_mirror_resumes_a_partial_file(tmp_path: Path, good: Mirror, bad: Mirror) -> None:
    bad.dies_after = 500
    download(ONE, tmp_path, mirrors=[bad.url, good.url])
    assert good.requests == [(NAME, "bytes=500-")]
    assert (tmp_path / NAME).read_bytes() == BODY


def test_a_server_may_ignore_the_range(tmp_path: Path, good: Mirror) -> None:
    good.honours_range = False
    (tmp_path / f"{NAME}.partial").write_bytes(BODY[:700])
    download(ONE, tmp_path, mirrors=[good.url])
    assert good.requests == [(NAME, "bytes=700-")]
    assert (tmp_path / NAME).read_bytes() == BODY


def test_a_partial_file_of_another_file_is_deleted(tmp_path: Path, good: Mirror) -> None:
    (tmp_path / f"{NAME}.partial").write_bytes(b"x" * 700)
    download(ONE, tmp_path, mirrors=[good.url])
    assert good.requests == [(NAME, "bytes=700-"), (NAME, None)]
    assert (tmp_path / NAME).read_bytes() == BODY


def test_a_complete_partial_file_is_renamed(tmp_path: Path, good: Mirror) -> None:
    (tmp_path / f"{NAME}.partial").write_bytes(BODY)
    download(ONE, tmp_path, mirrors=[good.url])
    assert good.requests == [(NAME, f"bytes={len(BODY)}-")]
    assert left_in(tmp_path) == [NAME]


def test_a_partial_file_that_is_too_long_is_deleted(tmp_path: Path, good: Mirror) -> None:
    (tmp_path / f"{NAME}.partial").write_bytes(BODY + b"more")
    download(ONE, tmp_path, mirrors=[good.url])
    assert (tmp_path / NAME).read_bytes() == BODY


DAMAGED = {
    "a web page": (b"<html>Log in to this network</html>", "is a web page"),
    "an empty body": (b"", "is empty"),
    "a truncated gzip": (BODY[:2000], "the gzip data ends too early"),
    "a flipped bit": (BODY[:-6] + bytes([BODY[-6] ^ 1]) + BODY[-5:], "the gzip data is damaged"),
    "another dataset": (
        gzip.compress(idx_contents(train_count=200, seed=1)[NAME.removesuffix(".gz")]),
        f"the sha256 of its decompressed bytes is [0-9a-f]{{64}}; {FILES[NAME]} is expected",
    ),
}


@pytest.mark.parametrize(("body", "reason"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_download_moves_to_the_next_mirror(
    tmp_path: Path, good: Mirror, bad: Mirror, body: bytes, reason: str
) -> None:
    bad.bodies[NAME] = body
    with pytest.raises(DownloadError, match=f"{bad.url}/{NAME}: {reason}"):
        download(ONE, tmp_path, mirrors=[bad.url])
    assert left_in(tmp_path) == []
    download(ONE, tmp_path, mirrors=[bad.url, good.url])
    assert left_in(tmp_path) == [NAME]
    assert good.requests == [(NAME, None)]


def test_the_error_lists_a_reason_for_each_mirror(tmp_path: Path, bad: Mirror) -> None:
    del bad.bodies[NAME]
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(NoMirrorDelivered) as caught:
        download(ONE, tmp_path, mirrors=[closed, bad.url])
    first, *reasons = str(caught.value).splitlines()
    assert first.startswith(f"{NAME}: no mirror delivered it; set $MNISTJOBS_DATA_DIR to a folder")
    assert first.endswith("or use another mirror")
    assert reasons[0].startswith(f"  {closed}/{NAME}: [Errno ")
    assert reasons[0].endswith("Connection refused")
    assert reasons[1:] == [f"  {bad.url}/{NAME}: HTTP 404 Not Found"]


@pytest.mark.parametrize("sends_length", [True, False])
def test_a_file_larger_than_allowed_is_not_stored(tmp_path: Path, bad: Mirror, sends_length: bool) -> None:
    bad.sends_length = sends_length
    with pytest.raises(DownloadError, match="is larger than the 1,000 bytes allowed"):
        download(ONE, tmp_path, mirrors=[bad.url], max_file_bytes=1000)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("mirror", ["", "file:///etc/", "ftp://127.0.0.1/", "mnist.example"])
def test_a_mirror_must_be_a_web_address(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(DownloadError, match="is not a web address; it must begin with http:// or https://"):
        download(ONE, tmp_path / "new", mirrors=[mirror])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("mirror", ["http://[::1", "http://a b/", "http://127.0.0.1:port/", "http://"])
def test_a_malformed_address_is_reported_as_a_reason(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(DownloadError, match="no mirror delivered it"):
        download(ONE, tmp_path, mirrors=[mirror])


def test_an_unwritable_folder_is_named(tmp_path: Path, good: Mirror) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"file/below: cannot be written: .*; set \$MNISTJOBS_DATA_DIR"):
        download(ONE, tmp_path / "file" / "below", mirrors=[good.url])


@pytest.mark.medium
def test_concurrent_processes_fetch_each_file_once(tmp_path: Path, good: Mirror) -> None:
    code = (
        "import json, pathlib, sys\n"
        "from mnist_core.data.download import download\n"
        "print('ready', flush=True), sys.stdin.readline()\n"
        "download(json.loads(sys.argv[1]), pathlib.Path(sys.argv[2]), mirrors=[sys.argv[3]])"
    )
    command = [sys.executable, "-c", code, json.dumps(FILES), str(tmp_path), good.url]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for _ in range(3)
        ]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.close()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(name for name, _ in good.requests) == sorted(FILES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ZIPPED
