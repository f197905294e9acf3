"""The interval for seeds and new images: worked out by hand, and simulated."""

import numpy as np
import pytest
from scipy.stats import norm, t

from jobs.report.crossed import crossed_interval, widen_to_new_images


def test_a_small_table_is_worked_out_by_hand() -> None:
    hits = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)
    # Rows 3/4, 2/4; columns 1, 1, 1/2, 0; mean 5/8. Sums of squares: total 15/8, seeds 1/8, images 11/8, rest 3/8.
    ms_seed, ms_image, ms_rest = 1 / 8, 11 / 24, 1 / 8
    found = crossed_interval(hits)
    assert found is not None
    variance = (ms_seed + ms_image - ms_rest) / 8
    centre = (4 * 5 / 8 + 2) / 8
    widened = variance + max(0, centre * (1 - centre) / 8 - 15 / 64 / 4)
    degrees = max(1, (11 / 24) ** 2 / (ms_seed**2 / 1 + ms_image**2 / 3 + ms_rest**2 / 3))
    half = t.ppf(0.975, degrees) * widened**0.5
    assert found.mean == 5 / 8
    assert (found.low, found.high) == pytest.approx((max(0, centre - half), min(1, centre + half)), abs=1e-12)
    assert found.seed_variance == pytest.approx(ms_rest / 8, abs=1e-12)
    assert found.image_variance == pytest.approx((ms_image - ms_rest) / 8, abs=1e-12)


def test_an_interval_for_seeds_is_widened_by_the_error_of_the_images() -> None:
    hits = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)
    # The shares 1, 1, 1/2 and 0 of the images have the variance 11/48, so their mean has 11/192. Each end is moved to
    # (4 x + 2) / 8 by two hits and two misses, which add no variance at 0.6; at 0.9: 0.7 * 0.3 / 8 - 0.9 * 0.1 / 4.
    z = norm.ppf(0.995)
    expected = 0.55 - z * (11 / 192) ** 0.5, 0.7 + z * (11 / 192 + 0.02625 - 0.0225) ** 0.5
    found = widen_to_new_images((0.6, 0.9), hits)
    assert found == pytest.approx((max(0, expected[0]), min(1, expected[1])), abs=1e-12)
    many = np.repeat(hits, 50, axis=1)  # 200 images
    low, high = widen_to_new_images((0.6, 0.7), many) or (0.0, 0.0)
    assert 0.45 < low < 0.55
    assert 0.75 < high < 0.85


@pytest.mark.parametrize("shape", [(1, 100), (5, 1)])
def test_one_seed_or_one_image_has_no_interval(shape: tuple[int, int]) -> None:
    assert crossed_interval(np.ones(shape, bool)) is None
    assert widen_to_new_images((0.9, 1.0), np.ones(shape, bool)) is None


def test_networks_that_are_always_right_may_still_err() -> None:
    found = crossed_interval(np.ones((5, 250), bool))
    assert found is not None
    assert (found.mean, found.high) == (1.0, 1.0)
    assert 0.9 < found.low < 1.0


def coverage(studies: int, seeds: int, images: int, centre: float) -> tuple[float, float]:
    """Simulate studies whose seeds share their images; give how often each target is covered.

    Returns:
        The share of the intervals that contain the mean accuracy of all networks on all images, and the mean width.
    """
    rng = np.random.default_rng(seeds)
    spread_of_images, spread_of_seeds = 3.0, 0.15
    images_of_all = rng.normal(centre, spread_of_images, 400_000)
    truth = float(np.mean(1 / (1 + np.exp(-images_of_all - rng.normal(0, spread_of_seeds, images_of_all.size)))))
    found = []
    for _ in range(studies):
        logits = rng.normal(centre, spread_of_images, images) + rng.normal(0, spread_of_seeds, (seeds, 1))
        interval = crossed_interval(rng.random((seeds, images)) < 1 / (1 + np.exp(-logits)))
        assert interval is not None
        found.append((interval.low <= truth <= interval.high, interval.high - interval.low))
    covered, widths = zip(*found, strict=True)
    return float(np.mean(covered)), float(np.mean(widths))


@pytest.mark.parametrize(
    ("studies", "seeds", "images"),
    [
        (300, 3, 500),
        pytest.param(2000, 3, 1000, marks=pytest.mark.chaos),
        pytest.param(2000, 5, 1000, marks=pytest.mark.chaos),
        pytest.param(2000, 10, 1000, marks=pytest.mark.chaos),
    ],
)
@pytest.mark.parametrize("centre", [7.0, 10.0])  # about 95 and 99.5 % of the images are classified correctly
def test_the_interval_covers_new_seeds_and_new_images(studies: int, seeds: int, images: int, centre: float) -> None:
    covered, width = coverage(studies, seeds, images, centre)
    assert covered >= 0.92
    assert width < 0.2
