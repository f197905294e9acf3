"""`mnistjobs.figures`: the report's figures as charts for a notebook, with the report's own data."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from support.tiny_study import submit_tiny

import mnistjobs
from jobs.errors import InputError, StoreError
from jobs.report.matrices import colour_range, weight_png
from jobs.store import Store

pytestmark = pytest.mark.medium
PAGE = (Path(__file__).parent.parent / "docs" / "analysis.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two sizes, three seeds."""
    store, _ = submit_tiny(tmp_path_factory.mktemp("figures"), subset_size="[20, 30]", seed="[0, 1, 2]")
    return store


def rows_of(chart: Any, name: str) -> list[dict[str, Any]]:  # noqa: ANN401
    found: list[dict[str, Any]] = chart.to_dict()["datasets"][name]
    return found


def test_the_example_of_the_page_runs_and_writes_a_figure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = (fence for fence in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "figures" in fence)
    monkeypatch.chdir(store.root.parent)
    names: dict[str, Any] = {"mnistjobs": mnistjobs}
    exec(example.replace("<job>", "tiny"), names)  # noqa: S102 - the page's own code
    assert (store.root.parent / "more-images.png").read_bytes().startswith(b"\x89PNG")
    assert list(names["curves"]) == ["MLP, 20 images", "MLP, 30 images"]
    assert list(names["matrices"]) == [f"MLP, {size} images, fixed learning rate" for size in (20, 30)]


def test_a_chart_holds_the_figures_of_the_tables(store: Store) -> None:
    summary = mnistjobs.read_summary(store.root, "tiny").to_pylist()
    means = rows_of(mnistjobs.figures.learning_curve(store.root, "tiny"), "p0-means")
    assert [row["mean"] for row in means] == pytest.approx(
        [100 * row["test_accuracy_mean"] for row in summary], abs=1e-4
    )
    (contrast,) = mnistjobs.read_contrasts(store.root, "tiny").to_pylist()
    (row,) = rows_of(mnistjobs.figures.differences(store.root, "tiny"), "f0")
    assert row["mean"] == pytest.approx(100 * contrast["mean"], abs=0.01)
    for chart in mnistjobs.figures.confusion_matrices(store.root, "tiny").values():
        assert sum(int(row["images"]) for row in rows_of(chart, "totals")) == 3 * 10


def test_a_sheet_of_weights_holds_the_pixels_of_the_first_seed(store: Store) -> None:
    sheets = mnistjobs.figures.weight_sheets(store.root, "tiny")
    assert list(sheets) == [f"MLP, {size} images, fixed learning rate" for size in (20, 30)]
    trials = mnistjobs.read_trials(store.root, "tiny").to_pylist()
    for chart, size in zip(sheets.values(), (20, 30), strict=True):
        (trial_id,) = (row["trial_id"] for row in trials if (row["subset_size"], row["seed"]) == (size, 0))
        weight = mnistjobs.read_weights(store.root, trial_id)["W1"]
        png = base64.b64encode(weight_png(weight, colour_range(weight))).decode()
        assert rows_of(chart, "sheet") == [{"url": f"data:image/png;base64,{png}"}]
        assert [row["w"] for row in rows_of(chart, "scale")] == [-colour_range(weight), colour_range(weight)]


def test_lost_weights_end_in_one_message(tmp_path: Path) -> None:
    store, _ = submit_tiny(tmp_path, seed="[0]")
    for path in (store.root / "weights").iterdir():
        path.unlink()
    with pytest.raises(
        StoreError, match=r"configuration MLP, 20 images.*: the weights of all its trials in .* are mis"
    ):
        mnistjobs.figures.weight_sheets(store.root, "tiny")


def test_a_notebook_can_show_each_chart(store: Store) -> None:
    for chart in mnistjobs.figures.training_curves(store.root, "tiny").values():
        assert "vega" in str(chart._repr_mimebundle_())


def test_a_job_without_results_ends_in_one_message(tmp_path: Path) -> None:
    store, _ = submit_tiny(tmp_path, seed="[0]", learning_rate="1e38")
    for chart in (mnistjobs.figures.learning_curve, mnistjobs.figures.differences):
        with pytest.raises(InputError, match=r"job tiny: .*; allowed: a job with"):
            chart(store.root, "tiny")


def test_the_module_is_not_a_function_of_the_api() -> None:
    assert "figures" not in mnistjobs.__all__
    assert all(callable(getattr(mnistjobs.figures, name)) for name in ("learning_curve", "training_curves"))
    with pytest.raises(AttributeError):
        mnistjobs.drawings  # noqa: B018  # type: ignore[attr-defined]
