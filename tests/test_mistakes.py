"""The hardest test images: which they are, what they are taken for, and by whom."""

import numpy as np

from jobs.report.mistakes import hardest_images

ACTUAL = np.array([0, 1, 2, 3], np.uint8)
NAMES = {"aa": "MLP, fixed rate", "bb": "MLP, adaptive rate", "cc": "CNN"}
PREDICTED = {
    "aa": ([6, 7, 2, 3], [6, 7, 2, 3], [6, 1, 2, 3]),  # of two seeds and more, most miss the images 0 and 1
    "bb": ([6, 7, 2, 3], [8, 7, 2, 3], [8, 7, 5, 3]),
    "cc": ([8, 1, 2, 3], [0, 1, 2, 3]),
}


def found(names: dict[str, str]) -> list[tuple[int, int, int, str, str]]:
    networks = [(one, (ACTUAL, np.array(row, np.uint8))) for one, rows in PREDICTED.items() for row in rows]
    hardest = hardest_images(networks, names)
    assert {each.networks for each in hardest} == {8}
    return [(each.image, each.actual, each.wrong, each.taken_for, each.missed_by) for each in hardest]


def test_the_hardest_images_come_first_with_what_they_are_taken_for() -> None:
    assert found(NAMES) == [
        (0, 0, 7, "6\u00a0(4), 8\u00a0(3)", "all but CNN"),
        (1, 1, 5, "7\u00a0(5)", "all but CNN"),
        (2, 2, 1, "5\u00a0(1)", "no configuration"),
    ]


def test_configurations_with_long_names_are_counted() -> None:
    long = {one: f"{name}, {100 * 'x'}" for one, name in NAMES.items()}
    assert [row[4] for row in found(long)] == ["2 of 3 configurations", "2 of 3 configurations", "no configuration"]


def test_an_image_that_every_configuration_misses_says_so() -> None:
    networks = [(one, (ACTUAL, np.array([9, 1, 2, 3], np.uint8))) for one in NAMES]
    (only,) = hardest_images(networks, NAMES)
    assert (only.image, only.taken_for, only.missed_by) == (0, "9\u00a0(3)", "every configuration")
