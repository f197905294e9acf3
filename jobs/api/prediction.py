"""Let the networks of a job vote on one's own pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.api.answers import rank_job
from jobs.api.reading import StorePath, read_job
from jobs.errors import InputError, LostWeightsError
from jobs.predict import Likeness, Vote, compare_with, find_dataset, majority, prepare_file, probabilities
from jobs.report import CONFIGURATION_COLUMNS
from jobs.store import WEIGHTS, Store, find_job, open_store_of, read_weights_of
from mnist_core.data import SIDE, DatasetInfo

_MAX_NAMED = 5  # configurations in a message
Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the networks of one configuration take a picture for."""

    picture: str
    digit: int
    votes: tuple[Vote, ...]  # one per network, in the order of the seeds
    likeness: Likeness | None  # to the training images; None where this machine does not have the dataset
    image: NDArray[np.uint8]  # (28, 28): what the networks saw

    @property
    def agree(self) -> int:
        """How many networks vote for the digit."""
        return sum(vote.digit == self.digit for vote in self.votes)

    @property
    def probability(self) -> float:
        """The probability of the digit, as the mean over the networks."""
        return float(np.mean([vote.probabilities[self.digit] for vote in self.votes]))


@dataclass(frozen=True)
class Predictions:
    """What was predicted, and by which networks."""

    job_id: str
    configuration: Row  # configuration_id and settings
    is_chosen: bool  # by the caller; else it is the best one by validation accuracy
    predictions: tuple[Prediction, ...]
    lost: tuple[str, ...]  # trial_ids without a vote, because their weights are missing or damaged
    collapsed: int  # networks that take nearly every test image for the same digit


def predict_pictures(
    store: StorePath,
    pictures: str | Path | Sequence[str | Path],
    job: str | None = None,
    configuration: str | None = None,
) -> Predictions:
    """Let all networks of one configuration of a job vote on which digits some pictures show.

    A picture may have any size, and be dark on light or light on dark. It is prepared as the images of the job's
    dataset were.

    Args:
        store: The store's folder, or its URL.
        pictures: The paths of the pictures, each of one digit; or one path.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.
        configuration: The configuration_id, or its beginning; by default that of the best one by validation accuracy.

    Returns:
        For each picture the digit and all votes, the image that the networks saw, and how near it is to their training
        images.

    Raises:
        InputError: There is no such job or configuration, no trial has finished, or a picture cannot be used.
        StoreError: The store cannot be read, or the weights of all trials are missing or damaged.
    """
    opened, name = open_store_of(store, job)
    found = find_job(opened, name)
    paths = [pictures] if isinstance(pictures, str | Path) else pictures
    images = _prepared(paths, found.dataset.name)
    chosen = _choose(str(opened.location), found.job_id, configuration)
    trials = _trials(str(opened.location), found.job_id, chosen["configuration_id"])
    ballots, lost = _ballots(opened, trials, images)
    if not ballots:
        where = f"configuration {chosen['configuration_id']}: the weights of all its trials in {opened.locate(WEIGHTS)}"
        raise LostWeightsError(f"{where} are missing or damaged")
    counted = _count(paths, images, ballots, found.dataset)
    collapsed = sum(bool(row["collapsed"]) for row in trials)
    return Predictions(found.job_id, chosen, configuration is not None, counted, lost, collapsed)


def _prepared(pictures: Sequence[str | Path], dataset: str) -> NDArray[np.uint8]:
    """Return what the networks see of pictures, (B, D)."""
    if not pictures:
        raise InputError("no picture is given; allowed: the paths of one or more")
    return np.stack([prepare_file(each, dataset).ravel() for each in pictures])


def _choose(place: str, job: str, configuration: str | None) -> Row:
    """Return the best configuration of a job, or the one whose id begins as it was given."""
    ranking = rank_job(place, job).to_pylist()
    matching = [row for row in ranking if row["configuration_id"].startswith(configuration or "")]
    if not ranking:
        raise InputError(f"job {job}: no trial has finished; allowed: a job with a finished trial")
    if not matching or (configuration is not None and len(matching) > 1):
        ids = ", ".join(row["configuration_id"] for row in ranking[:_MAX_NAMED])
        which = "several configurations have" if matching else "no configuration with a finished trial has"
        raise InputError(f"configuration {configuration!r}: {which} this id; allowed: the id of one, such as {ids}")
    return {name: matching[0][name] for name in ("configuration_id", *CONFIGURATION_COLUMNS)}


def _trials(place: str, job: str, configuration: object) -> list[Row]:
    """Return the finished trials of a configuration in the order of their seeds: settings and hash of the weights."""
    _, requested, stored = read_job(place, job, ("trial_id", "status", "weights_sha256", "collapsed"))
    asked = {row["trial_id"]: row for row in requested.to_pylist() if row["configuration_id"] == configuration}
    finished = [row for row in stored.to_pylist() if row["trial_id"] in asked and row["status"] == "finished"]
    return sorted(({**row, **asked[row["trial_id"]]} for row in finished), key=lambda row: int(row["seed"]))


def _ballots(
    store: Store, trials: Sequence[Row], images: NDArray[np.uint8]
) -> tuple[list[list[Vote]], tuple[str, ...]]:
    """Let each network vote on all images; return the votes, and the trials whose weights are lost."""
    weights = dict(read_weights_of(store, {row["trial_id"]: row["weights_sha256"] for row in trials}))
    ballots = [_vote(row, own, images) for row in trials if (own := weights[row["trial_id"]])]
    return ballots, tuple(trial_id for trial_id, own in weights.items() if not own)


def _vote(trial: Row, weights: Mapping[str, NDArray[Any]], images: NDArray[np.uint8]) -> list[Vote]:
    found = probabilities(trial["model"], weights, images)
    return [Vote(trial["trial_id"], trial["seed"], tuple(each)) for each in found.tolist()]


def _count(
    pictures: Sequence[str | Path], images: NDArray[np.uint8], ballots: Sequence[Sequence[Vote]], info: DatasetInfo
) -> tuple[Prediction, ...]:
    """Put together the votes of all networks on each picture."""
    dataset = find_dataset(info)
    likeness: Sequence[Likeness | None] = compare_with(dataset, images) if dataset else [None] * len(images)
    found = zip(pictures, zip(*ballots, strict=True), likeness, images.reshape(-1, SIDE, SIDE), strict=True)
    return tuple(Prediction(str(name), majority(votes), votes, like, image) for name, votes, like, image in found)
