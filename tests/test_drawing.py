"""Drawing: other formats, too little memory, and sheets of weights of any width."""

import re

import numpy as np
import pytest
from support.svg_texts import texts

from jobs.report.drawing import convert, draw
from jobs.report.matrices import MAX_UNITS, weight_sheet


@pytest.mark.parametrize("hidden", [1, 8, 11, 64, MAX_UNITS + 1])
def test_a_weight_sheet_of_any_width_is_drawn(hidden: int) -> None:
    weight = np.random.default_rng(0).normal(0, 0.1, (hidden, 784)).astype(np.float32)
    assert "weight" in texts(weight_sheet(weight, "W1"))


def test_weights_of_zero_are_drawn() -> None:
    assert "weight" in texts(weight_sheet(np.zeros((8, 784), np.float32), "W1"))


def test_a_figure_becomes_a_pdf_and_a_png_of_twice_its_size() -> None:
    svg = draw({"mark": "bar", "data": {"values": [{}]}, "width": 20, "height": 20}, {})
    assert convert(svg, "pdf").startswith(b"%PDF")
    png = convert(svg, "png")
    (width,) = re.findall(r'^<svg [^>]*width="(\d+)"', svg)
    assert int.from_bytes(png[16:20], "big") == 2 * int(width)


def test_a_limited_address_space_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1 << 33, 1 << 33))
    with pytest.raises(MemoryError):
        draw({"mark": "bar"}, {})
