"""`predict`: pictures of every size, place and polarity become what the networks know, and all seeds vote."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from support.command_line import run, said

import mnistjobs
from jobs.errors import InputError
from jobs.predict.likeness import compare_with
from jobs.predict.picture import find_ink, prepare, read_picture
from jobs.predict.votes import Vote, majority, probabilities
from mnist_core.data import Dataset, load_dataset

pytestmark = pytest.mark.medium
Floats = NDArray[np.float32]

GRID = """\
name: {dataset}
dataset: {dataset}
grid: {{model: [{model}], subset_size: [{size}], adaptive_lr: {rates}, seed: {seeds}}}
train: {{epochs: {epochs}, batch_size: 32, learning_rate: 0.004, lr_decay: 0.5}}
"""
IMAGES = 100
# Of the images that the networks get right, as they are in the dataset: the share that keeps its digit.
KEPT = {"digits": 0.93, "mnist": 0.97}


@dataclass(frozen=True)
class Study:
    """A job whose best configuration is the one with a fixed rate, and its dataset."""

    folder: Path
    dataset: Dataset

    @property
    def store(self) -> Path:
        return self.folder / "results"


def train(
    folder: Path,
    dataset: str,
    size: int,
    model: str = "mlp",
    epochs: int = 12,
    rates: str = "[false]",
    seeds: str = "[0]",
) -> Study:
    grid = folder / "grid.yaml"
    settings = {"model": model, "epochs": epochs, "rates": rates, "seeds": seeds}
    grid.write_text(GRID.format(dataset=dataset, size=size, **settings))
    mnistjobs.submit_grid(grid, folder / "results", in_process=True)
    return Study(folder, load_dataset(dataset))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return train(tmp_path_factory.mktemp("predict"), "digits", 1200, rates="[false, true]", seeds="[0, 1, 2]")


def variants(image: NDArray[np.uint8], rng: np.random.Generator) -> Iterator[Floats]:
    """Draw an image at four scales, somewhere on a larger sheet, light on dark and dark on light, partly pale."""
    levels = Image.fromarray(image.reshape(28, 28).astype(np.float32) / 255)
    for scale, low, high in ((1.0, 0.0, 1.0), (2.0, 0.2, 0.9), (3.7, 0.0, 0.6), (9.0, 0.0, 1.0)):
        side = int(28 * scale)
        drawn = np.asarray(levels.resize((side, side), Image.Resampling.BICUBIC)).clip(0, 1)
        sheet = np.zeros(tuple(rng.integers(side, 3 * side, 2)), np.float32)
        top, left = (int(rng.integers(0, whole - side + 1)) for whole in sheet.shape)
        sheet[top : top + side, left : left + side] = drawn
        sheet = np.float32(low) + np.float32(high - low) * sheet
        yield sheet
        yield 1 - sheet


def votes_of(study: Study, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Let the networks of the job vote on images (B, 784)."""
    rows = mnistjobs.read_trials(study.store, study.dataset.name).to_pylist()
    ballots = [
        probabilities(row["model"], mnistjobs.read_weights(study.store, row["trial_id"]), images)
        for row in rows
        if not row["adaptive_lr"]
    ]
    by_image = np.stack(ballots, axis=1)  # (B, networks, 10)
    return np.array([majority([Vote("", 0, tuple(each)) for each in ballot]) for ballot in by_image.tolist()])


def share_kept(study: Study) -> float:
    rng = np.random.default_rng(0)
    chosen = slice(None, None, len(study.dataset.test.labels) // IMAGES)  # scikit-learn's are in the order of digits
    images, labels = study.dataset.test.images[chosen], study.dataset.test.labels[chosen]
    right = votes_of(study, images) == labels
    assert right.mean() > 0.8
    seen = np.array([prepare(each, study.dataset.name).ravel() for image in images for each in variants(image, rng)])
    return float((votes_of(study, seen).reshape(len(images), -1) == labels[:, None])[right].mean())


def test_a_digit_keeps_its_class_at_other_scales_places_and_polarities(study: Study) -> None:
    assert share_kept(study) >= KEPT["digits"]


@pytest.mark.mnist
def test_an_image_of_mnist_keeps_its_class_too(tmp_path: Path) -> None:
    assert share_kept(train(tmp_path, "mnist", 3000)) >= KEPT["mnist"]


@pytest.mark.mnist
def test_an_image_of_mnist_is_prepared_as_it_was() -> None:
    images = load_dataset("mnist").test.images[:100]
    again = np.array([prepare(image.reshape(28, 28).astype(np.float32) / 255).ravel() for image in images])
    assert np.abs(again.astype(int) - images).mean() < 1  # of 255 grey levels
    assert (again == images).all(axis=1).mean() > 0.4


@pytest.fixture
def picture(study: Study, tmp_path: Path) -> Path:
    """A large picture of the first test image, dark on light."""
    path = tmp_path / "digit.png"
    *_, sheet = variants(study.dataset.test.images[0], np.random.default_rng(1))
    Image.fromarray(np.uint8(255 * sheet)).save(path)
    return path


def test_the_command_prints_the_votes_and_what_the_networks_saw(study: Study, picture: Path, tmp_path: Path) -> None:
    digit = int(votes_of(study, study.dataset.test.images[:1])[0])
    words = ("predict", picture, "--job", "digits", "--store", study.store)
    lines = said(*words, "--show", "--save", tmp_path / "seen").splitlines()
    assert "3 networks of" in lines[0]
    assert lines[0].endswith("(model MLP, subset size 1,200, adaptive lr no), the best by validation accuracy")
    assert lines[1].startswith(f"{picture}: {digit}; 3 of 3 networks; mean probability ")
    assert len(lines) == 2 + 28
    found = json.loads(said(*words, "--json"))["pictures"][0]
    assert (found["digit"], found["agree"], found["networks"], found["is_unlike"]) == (digit, 3, 3, False)
    assert [vote["seed"] for vote in found["votes"]] == [0, 1, 2]
    assert all(sum(vote["probabilities"]) == pytest.approx(1) for vote in found["votes"])
    written = np.asarray(Image.open(tmp_path / "seen" / "1-digit.png"))
    assert (written[5::10, 5::10] == np.array(found["image"])).all()


def test_another_configuration_can_be_chosen(study: Study, picture: Path) -> None:
    (other,) = {row["configuration_id"] for row in mnistjobs.read_trials(study.store, "digits").to_pylist()} - {
        mnistjobs.rank_job(study.store, "digits")["configuration_id"][0].as_py()
    }
    found = mnistjobs.predict_pictures(study.store, [picture], configuration=other[:4])
    assert (found.configuration["configuration_id"], found.configuration["adaptive_lr"]) == (other, True)
    assert found.is_chosen


def test_an_empty_choice_is_no_choice(study: Study, picture: Path) -> None:
    with pytest.raises(InputError, match="configuration '': several configurations have this id"):
        mnistjobs.predict_pictures(study.store, picture, configuration="")
    with pytest.raises(InputError, match="no picture is given"):
        mnistjobs.predict_pictures(study.store, [])


def test_votes_of_collapsed_networks_are_warned_of(tmp_path: Path, picture: Path) -> None:
    untrained = train(tmp_path, "digits", 32, epochs=1, seeds="[0, 1, 2, 3, 4, 5]")
    collapsed = sum(mnistjobs.read_trials(untrained.store, "digits")["collapsed"].to_pylist())
    assert collapsed
    outcome = run("predict", picture, "--store", untrained.store)
    assert f"warning: {collapsed} of 6 networks collapsed: they take nearly every image for the same" in outcome.err


def test_a_picture_unlike_the_training_images_is_warned_of(study: Study, tmp_path: Path) -> None:
    cross = np.zeros((90, 90), np.uint8)
    cross[40:50], cross[:, 40:50] = 255, 255
    cross[:5], cross[-5:], cross[:, :5], cross[:, -5:] = 0, 0, 0, 0
    Image.fromarray(cross).save(tmp_path / "cross.png")
    outcome = run("predict", tmp_path / "cross.png", "--store", study.store)
    assert outcome.code == 0
    assert "cross.png: is unlike the training images: " in outcome.err


def test_few_test_images_are_unlike_the_training_images(digits: Dataset) -> None:
    flagged = [each.is_unlike for each in compare_with(digits, digits.test.images)]
    assert np.mean(flagged) == pytest.approx(0.02, abs=0.005)
    assert not any(each.is_unlike for each in compare_with(digits, digits.train.images[:50]))


@pytest.mark.slow
@pytest.mark.mnist
def test_most_printed_letters_are_unlike_mnist_and_few_digits() -> None:
    pictures = [printed(text) for text in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "0123456789"]
    mnist = load_dataset("mnist")
    flagged = [each.is_unlike for each in compare_with(mnist, np.concatenate([*pictures, mnist.test.images]))]
    assert np.mean(flagged[:26]) >= 0.65
    assert np.mean(flagged[26:36]) <= 0.1
    assert np.mean(flagged[36:]) == pytest.approx(0.02, abs=0.005)


def printed(text: str) -> NDArray[np.uint8]:
    """Prepare a picture of a printed character, (1, 784)."""
    sheet = Image.new("L", (320, 320), 255)
    ImageDraw.Draw(sheet).text((160, 160), text, font=ImageFont.load_default(150), anchor="mm")
    return prepare(np.asarray(sheet, np.float32) / np.float32(255)).reshape(1, -1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.png", b"hello", "cannot be read as a picture; allowed: the file of a picture, such as a PNG or a JPEG"),
        ("cut.png", None, "cannot be read as a picture"),
        ("missing.png", b"", "no such file; allowed: the file of a picture"),
        ("blank.png", np.full((20, 20), 77, np.uint8), "shows nothing: no pixel differs much from the border"),
        ("bomb.png", np.zeros((9000, 10_000), np.bool_), "is larger than a picture may be"),
    ],
)
def test_a_file_that_shows_no_digit_ends_in_one_message(
    name: str, content: bytes | NDArray[np.uint8] | None, message: str, study: Study, picture: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    if isinstance(content, np.ndarray):
        Image.fromarray(content).save(path)
    elif content != b"":
        path.write_bytes(picture.read_bytes()[:300] if content is None else content)
    outcome = run("predict", picture, path, "--store", study.store)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"{path}: {message}")


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    what = {"pipe": "is a pipe or a device", "link": "is a link to 'nowhere', which does not exist", "": "is a folder"}
    for name, message in {**what, "x" * 300: "cannot be opened: File name too long"}.items():
        with pytest.raises(InputError, match=f"{message}; allowed: the file of a picture"):
            read_picture(tmp_path / name)


def test_values_that_are_no_numbers_count_as_background(tmp_path: Path) -> None:
    levels = np.zeros((30, 30), np.float32)
    levels[8:20, 10:14], levels[:, 25] = 1, np.nan
    Image.fromarray(levels).save(tmp_path / "scan.tiff")
    assert (find_ink(read_picture(tmp_path / "scan.tiff")) == (levels == 1)).all()


def test_a_transparent_background_counts_as_background(tmp_path: Path) -> None:
    for colour in (0, 255):
        pixels = np.zeros((30, 30, 4), np.uint8)
        pixels[..., :3] = colour
        pixels[10:20, 10:20, 3] = 255
        Image.fromarray(pixels).save(tmp_path / "sticker.png")
        ink = find_ink(read_picture(tmp_path / "sticker.png"))
        assert (ink == (pixels[..., 3] > 0)).all()


def test_sixteen_bits_are_read(tmp_path: Path) -> None:
    levels = np.zeros((30, 30), np.uint16)
    levels[8:20, 10:14] = 40_000
    Image.fromarray(levels).save(tmp_path / "scan.png")
    assert (find_ink(read_picture(tmp_path / "scan.png")) == (levels > 0)).all()


def test_a_tie_goes_to_the_greater_probability() -> None:
    sure, unsure = (tuple(np.eye(10)[digit] * weight) for digit, weight in ((3, 0.9), (5, 0.6)))
    assert majority([Vote("a", 0, unsure), Vote("b", 1, sure)]) == 3
    assert majority([Vote("a", 0, unsure), Vote("b", 1, sure), Vote("c", 2, unsure)]) == 5


def test_a_network_votes_as_it_was_trained(study: Study) -> None:
    stored = mnistjobs.read_predictions(study.store, "digits").to_pylist()
    row = mnistjobs.read_trials(study.store, "digits").to_pylist()[0]
    own = [each["predicted"] for each in stored if each["trial_id"] == row["trial_id"]]
    weights = mnistjobs.read_weights(study.store, row["trial_id"])
    assert probabilities("mlp", weights, study.dataset.test.images).argmax(axis=1).tolist() == own


def test_a_cnn_votes_as_it_was_trained(tmp_path: Path) -> None:
    cnn = train(tmp_path, "digits", 40, "cnn", epochs=1)
    (row, *_) = mnistjobs.read_trials(cnn.store, "digits").to_pylist()
    own = mnistjobs.query_job(cnn.store, "digits", f"from predictions where trial_id = '{row['trial_id']}'")
    weights = mnistjobs.read_weights(cnn.store, row["trial_id"])
    votes = probabilities("cnn", weights, cnn.dataset.test.images).argmax(axis=1)
    assert votes.tolist() == own.sort_by("image")["predicted"].to_pylist()


def test_without_any_weights_one_message_says_so(study: Study, picture: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for path in study.store.rglob("*"):
        if path.is_file() and path.parent.name != "weights":
            (copy / path.relative_to(study.store)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(study.store)).write_bytes(path.read_bytes())
    outcome = run("predict", picture, "--store", copy)
    assert outcome.code == 2
    assert "the weights of all its trials in" in outcome.err
    assert "`mnistjobs submit GRID` trains trials again that are missing" in outcome.err
