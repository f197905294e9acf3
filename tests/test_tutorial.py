"""docs/tutorial.md: its commands run as they are written there, and print what stands there."""

import re
from pathlib import Path

import pytest
from tutorial_page import PAGE, renewed_page

TEXT = PAGE.read_text(encoding="utf-8")


def figures(text: str) -> set[str]:
    return set(re.findall(r"\d+\.\d+", text))


@pytest.mark.slow
def test_the_commands_of_the_tutorial_print_what_the_page_says(tmp_path: Path) -> None:
    assert renewed_page(TEXT, tmp_path) == TEXT, "if this is right, renew the page: python docs/tutorial_page.py"


def test_every_figure_of_the_conclusion_was_printed_by_a_command() -> None:
    printed = figures("".join(re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)))
    conclusion = TEXT.partition("## The conclusion")[2]
    assert len(figures(conclusion)) > 10
    assert figures(conclusion) - printed == {"0.5"}  # the margin, which the grid declares
    assert "margin: 0.5pp" in TEXT
