"""The pictures of the hardest test images: the dataset's own pixels, or a reason why there are none."""

import base64
import io
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.idx_files import write_idx_folder
from support.tiny_study import submit_tiny
from test_page_size import page_of

from jobs.report.pictures import begin_reading, differ_in_pictures_alone, take_pictures
from jobs.report.report import write_report
from jobs.store import Job, Store
from jobs.verify import check_job
from mnist_core.data import NAMED_DATASETS, DatasetInfo, inspect_dataset, load_dataset, read_test_images

pytestmark = pytest.mark.usefixtures("figures_drawn_once")
PICTURE = re.compile(
    r'<li><img src="data:image/png;base64,([^"]+)" width="28" height="28" alt="Test image (\d+), which shows a (\d)">'
)
GONE = "Without their pictures, because the dataset cannot be read where this page was made."
CHANGED = "Without their pictures, because the dataset has changed since the job was submitted."


@pytest.fixture
def study(tmp_path: Path) -> tuple[Store, Job]:
    """Two networks of four hidden units, which get many of the ten test images wrong."""
    return submit_tiny(tmp_path)


def test_the_page_holds_the_pixels_of_the_images_it_names(study: tuple[Store, Job], tmp_path: Path) -> None:
    test = load_dataset(tmp_path / "images").test
    found = PICTURE.findall(page_of(*study))
    assert found
    for encoded, index, digit in found:
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
            assert np.array_equal(np.asarray(picture), test.images[int(index)].reshape(28, 28))
        assert int(digit) == test.labels[int(index)]


def test_without_its_dataset_the_page_lists_the_images(study: tuple[Store, Job], tmp_path: Path) -> None:
    with_pictures = page_of(*study)
    write_report(*study)
    count = len(PICTURE.findall(with_pictures))
    shutil.rmtree(tmp_path / "images")
    without = page_of(*study)
    assert (GONE in without, PICTURE.findall(without)) == (True, [])
    assert len(re.findall(r"<tr><td>\d+</td><td>\d</td>", without)) == count
    assert differ_in_pictures_alone(with_pictures.encode(), without.encode())
    assert not differ_in_pictures_alone(with_pictures.encode(), with_pictures.replace("wrong", "right").encode())
    checked = check_job(*study)  # whose page on the disk has pictures
    assert checked.problems == ()
    assert checked.notes == ("report.html: is compared without its pictures of test images: they need the dataset",)


def test_pictures_of_a_changed_dataset_are_not_shown(study: tuple[Store, Job], tmp_path: Path) -> None:
    write_idx_folder(tmp_path / "images", train_count=72, test_count=20, seed=1)
    page = page_of(*study)
    assert (CHANGED in page, PICTURE.findall(page)) == (True, [])


def test_a_page_with_other_pictures_does_not_match(study: tuple[Store, Job]) -> None:
    write_report(*study)
    store, job = study
    page = store.root / "jobs" / job.job_id / "report.html"
    page.write_text(re.sub(r'(<ol class="hardest".*?base64,.{60})', r"\1AAAA", page.read_text(), flags=re.DOTALL))
    assert check_job(store, job).problems == ("report.html: does not match the parts",)


def test_nobody_waits_for_a_disk_that_does_not_answer(tmp_path: Path) -> None:
    write_idx_folder(tmp_path)
    answer = threading.Event()

    def read(info: DatasetInfo) -> NDArray[np.uint8]:
        assert answer.wait(60)
        return read_test_images(info)

    reading = begin_reading(inspect_dataset(tmp_path), read)
    assert take_pictures(reading, [0], timeout_s=0.01).reason == "the dataset could not be read within 0.01 seconds"
    answer.set()
    assert len(take_pictures(reading, [0, 2]).urls) == 2


def test_a_very_large_dataset_is_not_read() -> None:
    huge = replace(NAMED_DATASETS["digits"], train_size=700_000)
    assert take_pictures(begin_reading(huge), [0]).reason.startswith("the dataset is so large")
    digits = take_pictures(begin_reading(NAMED_DATASETS["digits"]), [249])
    assert digits.reason == ""
    with Image.open(io.BytesIO(base64.b64decode(digits.urls[0].partition(",")[2]))) as picture:
        assert np.array_equal(np.asarray(picture).ravel(), load_dataset("digits").test.images[249])
