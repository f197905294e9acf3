"""Reads the page back: what it shows, and that nothing in it can run or fetch."""

import base64
import re
from html import unescape
from typing import Any

import pyarrow as pa
import pytest
from jobs.report.pictures import Picture
from support.study_tables import study

from jobs.report.page import render_page
from jobs.report.summary import SUMMARY, summarize
from jobs.store.schemas import TRIALS

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PICTURE = Picture("curves-mlp-2000.svg", "Training curves: MLP", "What it shows.", "<svg/>")


def page(job: dict[str, Any] | None = None, *accuracies: float | None, pictures: tuple[Picture, ...] = ()) -> str:
    trials, requested = study(*(accuracies or (0.9, 0.92)))
    return render_page(job or {}, summarize(trials, requested), pictures, trials)


def test_the_page_forbids_everything_but_its_own_style_and_pictures() -> None:
    assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY}' in page()


def test_the_page_has_no_script_and_refers_to_nothing_elsewhere() -> None:
    text = page({"name": "study", "provenance": {"python": "3.11"}}, pictures=(PICTURE,)).lower()
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_a_picture_is_part_of_the_page() -> None:
    data = base64.b64encode(b"<svg/>").decode()
    text = page(pictures=(PICTURE,))
    assert f'<img src="data:image/svg+xml;base64,{data}" alt="Training curves: MLP">' in text
    assert "What it shows." in text


def test_only_kinds_with_pictures_have_a_heading() -> None:
    text = page(pictures=(PICTURE,))
    assert "<h2>Training curves</h2>" in text
    assert "<h2>W1</h2>" not in text


def test_the_page_says_how_many_trials_are_done() -> None:
    text = page({"name": "study", "status": "finished"}, 0.9, None)
    assert "<h1>study</h1>" in text
    assert "Status: finished" in text
    assert "2 of 2 trials done" in text
    assert "1 diverged" in text


def test_a_row_with_too_few_seeds_is_marked_and_says_why() -> None:
    assert '<tr class="warn">' in page(None, 0.9, None)
    assert '<td class="text">n is 1 of 2: 1 diverged</td>' in page(None, 0.9, None)
    assert '<tr class="warn">' not in page(None, 0.9, 0.91)


def test_the_page_shows_where_the_numbers_come_from() -> None:
    job = {
        "job_id": "study-20260101-000000-abcd",
        "provenance": {"git_commit": "0123abc"},
        "dataset": {"name": "mnist"},
    }
    text = page({**job, "grid_text": "name: study\ngrid: {}\n"})
    for fact in ("study-20260101-000000-abcd", "0123abc", "mnist", "here (2)", "name: study\ngrid: {}\n"):
        assert fact in text


def test_a_failure_shows_its_error() -> None:
    text = page({"failures": [{"trial_id": "ab12", "error": "ValueError: no\n  at <line> 3\x1b[0m"}]})
    assert "Trial ab12" in text
    assert "ValueError: no\n  at &lt;line&gt; 3\\x1b[0m" in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "{{ 7 * 7 }}", "a" * 300])
def test_a_hostile_name_is_shown_as_it_is_and_does_nothing(name: str) -> None:
    text = page({"name": name, "job_id": name, "dataset": {name: name}, "grid_text": name})
    heading = re.search(r"<h1>(.*)</h1>", text)
    assert heading is not None
    assert unescape(heading[1]) == name
    assert "<script" not in text
    assert "<img" not in text


@pytest.mark.parametrize("character", ["\x1b", "\x00", "\x07", "‮", "⁦", "\r", "\x9b"])
def test_no_unseen_character_reaches_the_page(character: str) -> None:
    hostile = f"a{character}b"
    job = {"name": hostile, "status": hostile, "grid_text": hostile, "provenance": {hostile: hostile}}
    text = page({**job, "failures": [{"trial_id": hostile, "error": hostile}]})
    assert character not in text
    assert character.encode("unicode_escape").decode() in text


def test_a_page_without_any_data_renders() -> None:
    empty: pa.Table = SUMMARY.empty_table()
    assert "0 of 0 trials done" in render_page({}, empty, [], TRIALS.empty_table())
