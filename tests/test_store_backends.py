"""One contract for every backend of a store: a folder, an S3 server, and one that ignores conditions on writes."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.s3_servers import BUCKET, S3Server

from jobs.store.backends import Backend, FolderBackend, ObjectBackend, Refused, StoreUrl, Version

KINDS = ("folder", *(pytest.param(name, marks=pytest.mark.medium) for name in ("moto", "rclone")))
CLOCK_STEP_S = 1.0  # S3 tells times in whole seconds


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    if request.param == "folder":
        return FolderBackend(tmp_path / "store")
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    server.use(monkeypatch)
    return ObjectBackend(StoreUrl("s3", BUCKET, f"tests/{secrets.token_hex(8)}"))


@pytest.fixture
def conditional(backend: Backend) -> Backend:
    if not backend.honours_conditions():
        pytest.skip("this server ignores conditions on writes")
    return backend


def put(backend: Backend, key: str, content: bytes = b"1") -> Version:
    version = backend.put(key, content)
    assert not isinstance(version, Refused)
    return version


def test_an_object_that_was_put_is_read(backend: Backend) -> None:
    version = put(backend, "parts/a", b"first")
    assert backend.get("parts/a") == (b"first", version)
    entry = backend.head("parts/a")
    assert entry is not None
    assert (entry.key, entry.size, entry.version) == ("parts/a", 5, version)


def test_an_empty_object_is_an_object(backend: Backend) -> None:
    version = put(backend, "jobs/a-b.c_d/cancel", b"")
    assert backend.get("jobs/a-b.c_d/cancel") == (b"", version)


def test_an_object_that_was_never_put_is_none(backend: Backend) -> None:
    put(backend, "parts/a")
    for key in ("parts/b", "parts", "a", "parts/a/b"):
        assert (backend.get(key), backend.head(key)) == (None, None)


def test_a_put_replaces_and_gives_another_version(backend: Backend) -> None:
    first = put(backend, "a", b"first")
    second = put(backend, "a", b"second")
    assert first != second
    assert backend.get("a") == (b"second", second)


def test_create_only_is_refused_or_known_to_be_ignored(backend: Backend) -> None:
    put(backend, "a", b"first")
    refused = backend.put("a", b"second", create_only=True) is Refused.exists
    assert refused is backend.honours_conditions()
    content, _ = backend.get("a") or (b"", "")
    assert content == (b"first" if refused else b"second")
    assert backend.names("temporary/") == []  # what it was tried with is gone


def test_which_server_ignores_conditions(rclone_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    rclone_server.use(monkeypatch)
    assert not ObjectBackend(StoreUrl("s3", BUCKET)).honours_conditions()


def test_create_only_takes_a_free_key(backend: Backend) -> None:
    version = backend.put("jobs/a/lease", b"1", create_only=True)
    assert backend.get("jobs/a/lease") == (b"1", version)


def test_one_of_many_creators_wins(conditional: Backend) -> None:
    def create(number: int) -> Version | Refused:
        return conditional.put("lease", str(number).encode(), create_only=True)

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(create, range(24)))
    (winner,) = [number for number, outcome in enumerate(outcomes) if outcome is not Refused.exists]
    assert conditional.get("lease") == (str(winner).encode(), outcomes[winner])


def test_a_version_can_be_replaced_once(conditional: Backend) -> None:
    first = put(conditional, "lease", b"1")
    second = conditional.put("lease", b"2", if_match=first)
    assert not isinstance(second, Refused)
    assert conditional.put("lease", b"3", if_match=first) is Refused.changed
    assert conditional.get("lease") == (b"2", second)
    conditional.delete(["lease"])
    assert conditional.put("lease", b"4", if_match=second) is Refused.changed
    assert conditional.get("lease") is None


def test_one_of_many_replacements_wins(conditional: Backend) -> None:
    first = put(conditional, "lease", b"first")

    def replace(number: int) -> Version | Refused:
        return conditional.put("lease", str(number).encode(), if_match=first)

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(replace, range(16)))
    assert sum(outcome is not Refused.changed for outcome in outcomes) == 1


KEYS = ["jobs-old/x", "jobs/a/job.json", "jobs/a/log/1", "jobs/a.b/job.json", "jobs/b", "parts/0", "parts/1"]


def test_keys_are_listed_in_their_order(backend: Backend) -> None:
    for key in reversed(KEYS):
        put(backend, key, key.encode())
    assert [entry.key for entry in backend.list("")] == sorted(KEYS)
    below = sorted(key for key in KEYS if key.startswith("jobs/"))
    assert [entry.key for entry in backend.list("jobs/")] == below
    assert [entry.key for entry in backend.list("jobs/", after=below[1])] == below[2:]
    assert list(backend.list("jobs/", after="jobs/b")) == []
    assert list(backend.list("none/")) == []


def test_a_listing_describes_objects_as_head_does(backend: Backend) -> None:
    put(backend, "parts/0", b"123")
    (entry,) = backend.list("parts/")
    head = backend.head("parts/0")
    assert head is not None
    assert entry.size == head.size
    if backend.honours_conditions():  # rclone gives listed objects other versions, of which it makes no use
        assert entry.version == head.version
    assert abs(entry.changed_s - head.changed_s) <= CLOCK_STEP_S  # one of them may have more digits


def test_names_are_those_directly_below(backend: Backend) -> None:
    for key in KEYS:
        put(backend, key)
    assert backend.names("") == ["jobs", "jobs-old", "parts"]
    assert backend.names("jobs/") == ["a", "a.b", "b"]
    assert backend.names("none/") == []


def test_delete_skips_missing_objects(backend: Backend) -> None:
    for key in ("parts/0", "parts/1", "jobs/a/x"):
        put(backend, key)
    backend.delete(["parts/0", "parts/none", "jobs/a/x", "none/none"])
    backend.delete([])
    assert [entry.key for entry in backend.list("")] == ["parts/1"]


def test_age_is_told_by_the_clock_of_the_store(backend: Backend) -> None:
    before_s = backend.now_s("parts/0")
    put(backend, "parts/0")
    entry = backend.head("parts/0")
    assert entry is not None
    assert before_s <= entry.changed_s <= backend.now_s("parts/0")
    assert [found.key for found in backend.list("")] == ["parts/0"]


def test_an_object_is_located_for_a_person(backend: Backend, tmp_path: Path) -> None:
    root = str(tmp_path / "store") if isinstance(backend, FolderBackend) else str(backend.url)  # type: ignore[attr-defined]
    assert (backend.locate(), backend.locate("parts/a")) == (root, f"{root}/parts/a")


def test_a_large_listing_goes_on_behind_a_page(
    moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moto_server.use(monkeypatch)
    monkeypatch.setattr("jobs.store.backends.object_store._PAGE", 3)
    backend = ObjectBackend(StoreUrl("s3", BUCKET, f"pages/{secrets.token_hex(8)}"))
    for number in range(7):
        put(backend, f"a/{number}")
    assert [entry.key for entry in backend.list("a/")] == [f"a/{number}" for number in range(7)]
    assert [entry.key for entry in backend.list("a/", after="a/2")] == [f"a/{number}" for number in range(3, 7)]
