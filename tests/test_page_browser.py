"""The page in a real browser: nothing is refused or loaded, and everybody can read and use it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from test_page import JOB, both_schedules, rendered

if TYPE_CHECKING:
    from playwright.sync_api import Browser

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.usefixtures("figures_drawn_once"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install -y chromium"),
]
SEVERE = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(rendered(JOB, *both_schedules()), encoding="utf-8")
    return path.as_uri()


def test_nothing_is_refused_or_loaded_and_everything_reacts(browser: "Browser", address: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.hover(".forest .bars >> nth=1")
    assert page.text_content(".tip") == "overall: +2.0 [+1.9, +2.2] points"
    page.keyboard.press("Escape")
    assert page.is_hidden(".tip")

    first = "#configuration-table tr.configuration .name >> nth=0"
    page.click("#configuration-table th >> text=mean (%)")
    assert page.text_content(first) == "adaptive rate"
    page.click("#configuration-table th >> text=mean (%)")
    assert page.text_content(first) == "fixed rate"
    page.fill("#filter", "adapt")
    assert page.text_content("#filter-count") == "1 of 2 configurations"
    page.fill("#filter", "")
    page.focus(f"{first} >> button")
    page.keyboard.press("Enter")
    assert page.is_visible("tr.detail.shown >> text=finished >> nth=0")

    assert page.is_hidden("#train_loss-0")
    page.click("label >> text=train loss")
    assert page.is_visible("#train_loss-0")
    page.focus("#train_loss-0")
    page.keyboard.press("ArrowLeft")
    assert (page.text_content("#train_loss-0 .reading") or "").startswith("epoch 2: ")

    page.hover(".matrix:visible tbody td >> nth=1")
    assert page.text_content(".tip") == "0 predicted as 1: 12"
    page.check("#matrix-counts")
    assert page.text_content(".matrix:visible tbody td >> nth=1") == "12"
    page.uncheck("#matrix-counts")
    assert page.text_content(".matrix:visible tbody td >> nth=1") == "3.0"

    page.select_option("#matrix-b", index=2)
    assert page.text_content("#matrix-difference tbody td >> nth=0") == "0.0"
    assert (said, asked) == ([], [address])
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_from_reading_the_page(
    browser: "Browser", address: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page.goto(address)
    violations = axe.Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in violations if each["impact"] in SEVERE] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_without_scripts_the_answers_are_there(browser: "Browser", address: str) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(address)
    assert page.is_visible("text=Does the adaptive rate help? Yes")
    assert page.is_visible("tr.detail >> text=finished >> nth=0")
    assert page.locator(".matrix").count() == 2
    page.close()
