"""The page in a real browser: nothing is refused or loaded, and everybody can read and use it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from support.stored_studies import store_study
from support.study_tables import study
from test_page import JOB, both_schedules, rendered
from test_page_size import HEAD, odd, page_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

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
    check_table(page)
    check_figures(page)
    assert (said, asked) == ([], [address])
    page.close()


def check_table(page: "Page") -> None:
    """Sort and filter the configurations, and open one by the keyboard."""
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


def check_figures(page: "Page") -> None:
    """Switch measures, read values by keyboard and pointer, and take the difference of two matrices."""
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


def test_the_page_of_one_configuration_reacts_as_well(browser: "Browser", tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(rendered(JOB, *study(0.9, 0.92)), encoding="utf-8")
    page = browser.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.click("#configuration-table .name button")
    assert page.is_visible("tr.detail.shown")
    page.check("#matrix-counts")
    assert page.text_content(".matrix:visible tbody td >> nth=1") == "6"
    assert said == []
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


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of 28 configurations, some of whose trials ended badly."""
    folder = tmp_path_factory.mktemp("large")
    sizes = "[8, 16, 32, 64, 128, 256, 512]"
    grid = (
        f"grid: {{model: [mlp, cnn], subset_size: [500, 2000], adaptive_lr: [false], batch_size: {sizes}, seeds: 3}}\n"
    )
    path = folder / "report.html"
    path.write_text(page_of(*store_study(folder, f"{HEAD}{grid}train: {{epochs: 2}}\n", odd)), encoding="utf-8")
    return path.as_uri()


@pytest.mark.medium
def test_what_is_folded_unfolds_where_a_link_leads_to_it(browser: "Browser", large: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(large)
    assert page.is_hidden("#configuration-table")
    page.click(".heat td a >> nth=1")
    assert page.is_visible("#configuration-table")
    assert page.is_visible("tr.detail.shown")
    page.click("tr.detail.shown >> text=training curves")
    assert page.is_visible(".chart:target")
    page.go_back()
    page.click("tr.configuration:has-text('MLP, 500 images, batch size 8') button")
    page.click("tr.detail.shown >> text=W1 >> nth=0")
    assert page.is_visible("details.weights:target img[alt*='trained minus initial']")
    assert page.is_visible("text=mnistjobs submit grid.yaml")
    page.focus("#configuration-table th button >> nth=1")
    page.keyboard.press("Enter")
    assert page.get_attribute("#configuration-table th >> nth=2", "aria-sort") == "descending"
    page.close()


@pytest.mark.slow
def test_a_large_page_can_be_read_unfolded_and_printed(browser: "Browser", large: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = browser.new_page(viewport={"width": 390, "height": 900}, color_scheme="dark", bypass_csp=True)
    page.goto(large)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    violations = axe.Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.emulate_media(media="print")
    assert page.is_hidden("#filter")
    assert page.is_visible("text=The hardest test images")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.close()
