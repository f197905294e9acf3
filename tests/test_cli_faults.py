"""Bad input on the command line: one clear message, exit code 2, no traceback, and nothing written."""

import gzip
import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.command_line import GRID, run, write_grid

from jobs.cli.exit_codes import BAD_INPUT
from mnist_core.data.files import find_mnist

pytestmark = pytest.mark.usefixtures("figures_drawn_once")
NOWHERE = "http://127.0.0.1:9/"  # the discard port: nobody listens there
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nname: *c\n"


@pytest.fixture(autouse=True)
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_grid(tmp_path).relative_to(tmp_path)


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def refusal(*words: object) -> str:
    """Run a command that must be refused, and return its message."""
    before = tree(Path.cwd())
    outcome = run(*words)
    assert outcome.code == BAD_INPUT, outcome
    assert tree(Path.cwd()) == before
    assert outcome.err.count("\n") == 1, outcome.err
    return outcome.err


def refused_submit(*words: object) -> str:
    return refusal("submit", "grid.yaml", "--in-process", *words)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[mlp]", "[rnn]", ":3:16: grid.model[0]: model 'rnn': allowed mlp or cnn"),
        ("train:", "trian:", ":4:1: trian: unknown key 'trian'; did you mean 'train'?"),
        ("[20]", "[0]", ":3:36: grid.subset_size[0]: subset_size 0: allowed 1 to 60, the training images of "),
        ("[20]", "[-1]", "subset_size -1: allowed 1 to 60"),
        ("[20]", "[61]", "subset_size 61: allowed 1 to 60"),
        ("batch_size: 16", "batch_size: 0", "train.batch_size: batch_size 0: allowed"),
        ("epochs: 2", "epochs: 0", "train.epochs: epochs 0: allowed"),
        ("0.01", "0", "train.learning_rate: learning_rate 0: allowed"),
        ("0.01", "-0.1", "learning_rate -0.1: allowed"),
        ("0.01", ".nan", "learning_rate nan: allowed"),
        ("0.01", ".inf", "learning_rate inf: allowed"),
        ("[mlp]", "[]", "grid.model: model []: is empty"),
        ("[0, 1, 2]", "[0, 1, 0]", "grid.seed[2]: seed 0 repeats the value at line 3, column 70"),
        ("{epochs: 2,", "{epochs: 2, epoch: 3,", "train.epoch: unknown key 'epoch'; epochs is given already, "),
        ("{epochs: 2,", "{epoch: 3,", "train.epoch: unknown key 'epoch'; did you mean 'epochs'?"),
        ("{epochs: 2, batch_size: 16, learning_rate: 0.01, hidden_units: 4}", "[1, 2]", ":4:8: train: "),
        ("train: ", "\ttrain: ", ":4:1: a tab; indent with spaces"),
        ("tiny", "ti\x00ny", "binary content"),
        ("tiny", "!!python/object/apply:os.system [touch owned]", ":1:7: tag 'tag:yaml.org,2002:python/object"),
        ("tiny", "../../etc", ":1:7: name: name '../../etc': allowed"),
        ("images", "nowhere", ":2:17: dataset.path: "),
        (GRID, "", "grid.yaml: is empty"),
        (GRID, "- 1\n- 2\n", "grid.yaml:1:1: "),
        (GRID, BOMB, "anchor '&a'"),
    ],
)
def test_a_bad_grid_is_refused(old: str, new: str, message: str, grid: Path) -> None:
    assert GRID.count(old) == 1
    grid.write_text(GRID.replace(old, new))
    refused = refused_submit()
    assert refused.startswith("grid.yaml:")
    assert message in refused


def test_a_subset_larger_than_mnist_is_refused_without_mnist(grid: Path) -> None:
    grid.write_text(GRID.replace("{path: images}", "mnist").replace("[20]", "[50001]"))
    assert "subset_size 50001: allowed 1 to 50000, the training images of mnist" in refused_submit()


def test_bytes_that_are_no_text_are_refused(grid: Path) -> None:
    grid.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    assert "byte 0x89 is not UTF-8 text" in refused_submit()


@pytest.mark.parametrize("command", ["plan", "submit"])
def test_a_grid_that_is_no_file_is_refused(command: str) -> None:
    assert refusal(command, "none.yaml") == "none.yaml: no such file\n"
    assert refusal(command, "images").startswith("images: is a folder")
    assert refusal(command, "").startswith(".: is a folder")
    assert "File name too long" in refusal(command, "x" * 5000)
    assert refusal(command, "\x1b[31m\udcff.yaml") == "\\x1b[31m\\udcff.yaml: no such file\n"


def relabel(labels: bytes) -> bytes:
    return labels[:-1] + b"\x0a"


def fewer(labels: bytes) -> bytes:
    return struct.pack(">II", 2049, 71) + labels[8:-1]


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (IMAGES, lambda content: b"\0\0\x09\x03" + content[4:], "has element type 0x09"),
        (IMAGES, lambda content: b"junk" + content[4:], "begins with the bytes 6a 75 6e 6b"),
        (IMAGES, lambda content: content[:-1], "is truncated"),
        (LABELS, relabel, "has label 10 at index 71"),
        (LABELS, fewer, "has 72 images and 71 labels in the train files"),
    ],
)
def test_a_damaged_dataset_is_refused_where_the_grid_names_it(
    name: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = Path("images") / name
    path.write_bytes(gzip.compress(damage(gzip.decompress(path.read_bytes()))))
    refused = refused_submit()
    assert refused.startswith("grid.yaml:2:17: dataset.path: ")
    assert message in refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><p>Not found", "is a web page, probably a failed download"),
        (b"", "is empty"),
        (gzip.compress(bytes(range(256)), mtime=0)[:12], "the gzip data ends too early"),
    ],
    ids=["a web page", "nothing", "half a gzip file"],
)
def test_a_file_that_is_no_gzip_is_refused(content: bytes, message: str) -> None:
    Path("images", IMAGES).write_bytes(content)
    refused = refused_submit()
    assert refused.startswith("grid.yaml:2:17: dataset.path: ")
    assert message in refused


def test_files_that_are_not_mnists_are_refused(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNISTJOBS_DATA_DIR", "images")
    grid.write_text(GRID.replace("{path: images}", "mnist"))
    assert "MNIST's is ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db" in refused_submit()
    assert "MNIST's is " in refusal("data", "verify", "mnist")


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("grid.yaml", "store 'grid.yaml': is not a folder"),
        ("grid.yaml/below", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("http://bucket/prefix", "is a URL of another kind; allowed: a folder"),
    ],
)
@pytest.mark.parametrize("words", [["plan", "grid.yaml"], ["submit", "grid.yaml", "--in-process"], ["list"]])
def test_a_store_that_is_no_folder_is_refused(words: list[str], store: str, message: str) -> None:
    assert message in refusal(*words, "--store", store)


def test_an_empty_name_of_a_store_is_refused() -> None:
    outcome = run("list", "--store", "")
    assert outcome.code == BAD_INPUT
    assert "'--store'" in outcome.err
    assert "is empty; allowed: a folder" in outcome.err


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing can be made, for the superuser either."""
    if os.geteuid() != 0:
        folder = tmp_path / "read-only"
        folder.mkdir(mode=0o555)
        yield folder
    elif Path("/proc/self").is_dir():
        yield Path("/proc/self")
    else:
        pytest.skip("no folder that the superuser cannot write to")


def test_a_read_only_store_is_refused_before_anything_is_trained(read_only: Path) -> None:
    assert refused_submit("--store", read_only).startswith(f"store '{read_only}': cannot be written: ")


def test_an_address_that_is_none_is_refused() -> None:
    assert "Ray at 'nonsense': not HOST:PORT" in refusal("submit", "grid.yaml", "--address", "nonsense")


def test_options_that_contradict_each_other_are_refused() -> None:
    message = "--workers 3: --in-process trains one task after the other; remove one of the two\n"
    assert refused_submit("--workers", 3) == message


@pytest.mark.parametrize(
    "words",
    [
        ["submit", "grid.yaml", "--workers", "0"],
        ["submit"],
        ["submit", "grid.yaml", "--bogus"],
        ["sbumit"],
        ["data"],
        [],
    ],
)
def test_misuse_of_the_command_line_is_exit_code_2(words: list[str]) -> None:
    before = tree(Path.cwd())
    assert run(*words).code == BAD_INPUT
    assert tree(Path.cwd()) == before


@pytest.mark.parametrize("command", ["summary", "report"])
@pytest.mark.parametrize("job", ["nope", "../../etc", "", "[red]x", "*", "tiny-20260101-000000-0000"])
def test_an_unknown_job_is_refused(command: str, job: str) -> None:
    assert (
        refusal(command, job) == f"no job {job!r} in the store '{Path('results').absolute()}'; jobs there: none yet\n"
    )


def test_unknown_datasets_are_refused() -> None:
    assert refusal("data", "fetch", "images") == "dataset 'images': cannot be fetched; allowed: mnist, digits\n"
    assert refusal("data", "verify", "none").startswith("none: does not exist; a dataset is mnist, digits or a folder")


def test_a_mirror_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("MNISTJOBS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    if find_mnist():
        pytest.skip("MNIST is on this machine already: nothing would be fetched")
    assert refusal("data", "fetch", "mnist", "--mirror", "ftp://x").startswith("mirror 'ftp://x': is not a web address")
    outcome = run("data", "fetch", "mnist", "--mirror", NOWHERE)
    assert outcome.code == BAD_INPUT
    assert f"{NOWHERE}{IMAGES}: " in outcome.err
    assert list(tmp_path.glob("data/*")) == []


def test_a_working_directory_that_is_gone_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    outcome = run("list")
    assert (outcome.code, outcome.err) == (BAD_INPUT, "mnistjobs: No such file or directory\n")


@pytest.mark.parametrize(("count", "last"), [(20, ""), (21, "and 1 more fault; "), (100, "and 80 more faults; ")])
def test_a_screenful_of_faults_is_printed(tmp_path: Path, count: int, last: str) -> None:
    grid = write_grid(tmp_path, GRID + "".join(f"k{number}: 1\n" for number in range(count)))
    outcome = run("plan", grid)
    lines = outcome.err.splitlines()
    assert (outcome.code, len(lines)) == (BAD_INPUT, min(count, 20) + bool(last))
    assert last in lines[-1]
    assert len(json.loads(run("plan", grid, "--json").out)["faults"]) == count
