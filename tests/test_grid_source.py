"""Where the text of a grid comes from: files, pipes, the standard input, and paths that lead elsewhere."""

import io
import json
import os
import sys
import threading
import unicodedata
from pathlib import Path

import pytest
from support.command_line import GRID, run, said, write_grid

from jobs.cli.exit_codes import BAD_INPUT
from jobs.errors import InputError
from jobs.grid.source import read_text

pytestmark = pytest.mark.timeout(60)  # a hang is what is looked for
NFC, NFD = (unicodedata.normalize(form, "Études") for form in ("NFC", "NFD"))


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as raised:
        read_text(path)
    return str(raised.value)


def fed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=["name: a\n" * 20_000])
    writer.start()
    assert read_text(pipe) == "name: a\n" * 20_000
    writer.join()


def test_a_pipe_whose_writer_has_ended_is_read(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"name: a\n")
    os.close(writer)
    assert read_text(Path(f"/dev/fd/{reader}")) == "name: a\n"
    os.close(reader)


def test_a_pipe_without_a_writer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.grid.source.PIPE_TIMEOUT_S", 0.1)
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe to which nothing was written for" in refusal(tmp_path / "pipe")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/random"])
def test_a_device_is_refused(device: str) -> None:
    assert refusal(Path(device)) == f"{device}: is a device; allowed: a grid file, or - for the standard input"


def test_a_link_that_leads_nowhere_is_named_with_its_target(tmp_path: Path) -> None:
    for name, target in [("link", "/no/such/file"), ("loop", "loop"), ("folder", "gone")]:
        (tmp_path / name).symlink_to(target)
    assert refusal(tmp_path / "link").endswith("link: is a link to '/no/such/file', which does not exist")
    assert refusal(tmp_path / "loop").endswith("loop: is a link to 'loop', which leads back to itself")
    below = refusal(tmp_path / "folder" / "grid.yaml")
    assert below.endswith(f"grid.yaml: {str(tmp_path / 'folder')!r} is a link to 'gone', which does not exist")


@pytest.mark.parametrize(("stored", "typed"), [(NFC, NFD), (NFD, NFC)])
def test_a_name_that_looks_the_same_is_found(tmp_path: Path, stored: str, typed: str) -> None:
    (tmp_path / stored).mkdir()
    (tmp_path / stored / f"{stored}.yaml").write_text("name: a\n")
    assert read_text(tmp_path / typed / f"{typed}.yaml") == "name: a\n"
    (tmp_path / typed).mkdir()  # now each means itself
    assert refusal(tmp_path / typed / f"{typed}.yaml").endswith("no such file")


def test_plan_and_submit_read_the_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_grid(tmp_path)
    monkeypatch.chdir(tmp_path)
    fed(monkeypatch, GRID.encode())
    assert "tiny: 3 trials, 0 found in store, 3 to train" in said("plan", "-", "--store", "store")
    fed(monkeypatch, GRID.encode())
    assert "Report: " in said("submit", "-", "--in-process", "--store", "store")
    fed(monkeypatch, GRID.replace("[mlp]", "[MLP]").encode())
    outcome = run("plan", "-", "--json")
    (fault,) = json.loads(outcome.out)["faults"]
    assert (outcome.code, fault["file"], fault["corrections"][0][0]["text"]) == (BAD_INPUT, "stdin", "mlp")


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "stdin: is empty; a grid file"),
        (b"a\xff", "stdin:1:2: byte 0xff is not UTF-8"),
        (None, "stdin: is closed"),
    ],
)
def test_a_bad_standard_input_is_one_fault(
    monkeypatch: pytest.MonkeyPatch, content: bytes | None, fragment: str
) -> None:
    if content is None:
        monkeypatch.setattr(sys, "stdin", None)
    else:
        fed(monkeypatch, content)
    outcome = run("plan", "-")
    assert (outcome.code, outcome.err.startswith(fragment)) == (BAD_INPUT, True), outcome
