"""The commands and files of docs/cluster.md, by the comment in front of each."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- test: (\w+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)


def blocks(name: str) -> list[str]:
    """Return the blocks of a name, in the order of the page."""
    return [text for label, text in BLOCKS if label == name]
