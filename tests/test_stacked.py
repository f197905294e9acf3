"""Stacked packs on torch's CPU device against packs of one trial and against the CPU backends.

CUDA graphs, CUDA's memory and its rounding are not tested here.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.nn import functional as F

from cluster import TaskFailure
from mnist_core.backends.interface import PackData
from mnist_core.backends.stacked import StackedPack
from mnist_core.backends.stacked_models import StackedCNN, product_in
from mnist_core.data.datasets import Dataset
from mnist_core.errors import OutOfDeviceMemory
from mnist_core.models.cnn import CNN
from mnist_core.seeds import generator, subset_index
from mnist_core.training import EpochRecord, Training, TrialResult, train
from mnist_core.trial import Trial

# Another order of sums; over a few epochs of small networks the last bits of float32 grow to this.
OTHER_ORDER = 2e-5
BFLOAT16 = 0.05  # eight bits of significand


def small_trial(**settings: object) -> Trial:
    defaults = {"model": "mlp", "subset_size": 300, "adaptive_lr": False, "seed": 0, "epochs": 3, "batch_size": 64}
    return Trial(**{"learning_rate": 0.003, **defaults, **settings})  # type: ignore[arg-type]


def pack_data(trials: Sequence[Trial], dataset: Dataset) -> PackData:
    size = len(dataset.train.labels)
    return PackData(dataset, {trial.seed: subset_index(size, trial.subset_size, trial.seed) for trial in trials})


def stacked(trials: Sequence[Trial], dataset: Dataset) -> dict[Trial, TrialResult]:
    pack = StackedPack(trials, pack_data(trials, dataset), torch.device("cpu"))
    records = Training(trials, lambda: pack)
    return {record.trial: record for record in records if isinstance(record, TrialResult)}


def on_cpu(trial: Trial, dataset: Dataset) -> TrialResult:
    *_, result = train([trial], dataset)
    assert isinstance(result, TrialResult)
    return result


def losses(result: TrialResult) -> list[float]:
    return [loss for epoch in result.epochs for loss in (epoch.train_loss, epoch.validation_loss)]


def of_every_kind(model: str, **settings: object) -> list[Trial]:
    return [
        small_trial(model=model, **settings),
        small_trial(model=model, adaptive_lr=True, lr_decay=0.5, **settings),
        small_trial(model=model, seed=1, learning_rate=0.001, **settings),
        small_trial(model=model, seed=2, momentum=0.5, learning_rate=0.002, **settings),
    ]


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def together(request: pytest.FixtureRequest, digits: Dataset) -> dict[Trial, TrialResult]:
    """Train a pack of every kind of trial, once for each model."""
    torch.set_num_threads(1)
    return stacked(of_every_kind(request.param), digits)


def test_a_stacked_trial_equals_the_same_trial_on_the_cpu(together: dict[Trial, TrialResult], digits: Dataset) -> None:
    for trial, result in together.items():
        alone = on_cpu(trial, digits)
        assert losses(result) == pytest.approx(losses(alone), rel=OTHER_ORDER)
        assert [epoch.learning_rate for epoch in result.epochs] == [epoch.learning_rate for epoch in alone.epochs]
        assert result.test_loss == pytest.approx(alone.test_loss, rel=OTHER_ORDER)
        assert alone.weights.keys() == result.weights.keys()
        for name, weight in alone.weights.items():
            assert_allclose(result.weights[name], weight, atol=OTHER_ORDER)


@pytest.mark.medium
def test_a_trial_does_not_depend_on_its_pack(together: dict[Trial, TrialResult], digits: Dataset) -> None:
    for trial, result in together.items():
        (alone,) = stacked([trial], digits).values()
        assert losses(result) == pytest.approx(losses(alone), rel=OTHER_ORDER)


@pytest.mark.medium
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_diverging_neighbour_ends_alone(model: str, digits: Dataset) -> None:
    fine, wild = small_trial(model=model), small_trial(model=model, learning_rate=1e38)
    after = small_trial(model=model, seed=3)
    together = stacked([fine, wild, after], digits)
    assert [together[trial].status for trial in (fine, wild, after)] == ["finished", "diverged", "finished"]
    assert len(together[wild].epochs) == 1
    assert not math.isfinite(together[wild].epochs[-1].train_loss)
    for trial in (fine, after):
        (alone,) = stacked([trial], digits).values()
        assert losses(together[trial]) == pytest.approx(losses(alone), rel=OTHER_ORDER)
        assert together[trial].epochs[-1].epoch == 3


def test_a_pack_in_which_all_diverge_ends(digits: Dataset) -> None:
    trials = [small_trial(seed=seed, learning_rate=1e38) for seed in (0, 1)]
    assert [result.status for result in stacked(trials, digits).values()] == ["diverged", "diverged"]


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_both_schedules_share_the_first_epoch_bitwise(model: str, digits: Dataset) -> None:
    results = stacked([small_trial(model=model), small_trial(model=model, adaptive_lr=True)], digits)
    fixed, adaptive = (losses(result) for result in results.values())
    assert fixed[:2] == adaptive[:2]
    assert fixed[2:] != adaptive[2:]


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_confusion_counts_every_test_image_and_its_prediction(model: str, digits: Dataset) -> None:
    (result,) = stacked([small_trial(model=model, epochs=1)], digits).values()
    assert result.confusion is not None
    assert result.predicted is not None
    assert_array_equal(result.confusion.sum(axis=1), np.bincount(digits.test.labels, minlength=10))
    counts = np.zeros((10, 10), np.int64)
    np.add.at(counts, (digits.test.labels, result.predicted), 1)
    assert_array_equal(result.confusion, counts)
    assert result.test_accuracy == np.trace(result.confusion) / len(digits.test.labels)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_bfloat16_losses_approximate_float32(model: str, digits: Dataset) -> None:
    exact, rounded = (
        losses(*stacked([small_trial(model=model, precision=precision)], digits).values())
        for precision in ("float32", "bfloat16")
    )
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=BFLOAT16)


def test_evaluation_in_tiles_counts_every_image(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [small_trial(epochs=1), small_trial(epochs=1, seed=1)]
    whole = StackedPack(trials, pack_data(trials, digits), torch.device("cpu")).evaluate("train")
    monkeypatch.setattr("mnist_core.backends.stacked.EVALUATION_IMAGES", 512)
    tiled = StackedPack(trials, pack_data(trials, digits), torch.device("cpu")).evaluate("train")
    for one, other in zip(whole, tiled, strict=True):
        assert_array_equal(one.confusion, other.confusion)
        assert_array_equal(one.predicted, other.predicted)
        assert one.loss == pytest.approx(other.loss, rel=OTHER_ORDER)


@pytest.mark.parametrize("kind", ["random", "constant", "zero"])
def test_stacked_cnn_gradients_equal_autograd(kind: str) -> None:
    rng = np.random.default_rng(3)
    images = {"random": rng.random((2, 8, 784)), "constant": np.full((2, 8, 784), 0.5), "zero": np.zeros((2, 8, 784))}
    x = torch.tensor(images[kind], dtype=torch.float64)
    labels = torch.tensor(rng.integers(0, 10, (2, 8)))
    models = [CNN.from_trial(small_trial(model="cnn"), generator(seed, "weights")) for seed in (0, 1)]
    networks = [each.network.double() for each in models]
    names = [name for name, _ in networks[0].named_parameters()]
    parameters = {name: torch.stack([network.get_parameter(name).detach() for network in networks]) for name in names}
    model = StackedCNN(torch.device("cpu"))
    model._embedding = model._embedding.double()
    found = model.gradients(parameters, x, labels, product_in("float32"))
    for index, network in enumerate(networks):
        F.cross_entropy(network(x[index]), labels[index], reduction="sum").backward()  # type: ignore[no-untyped-call]
        for name in names:
            gradient = network.get_parameter(name).grad
            assert gradient is not None
            assert_allclose(found[name][index], gradient, atol=1e-10)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("no more"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_errors_become_out_of_device_memory(error: RuntimeError, digits: Dataset) -> None:
    trials = [small_trial()]
    pack = StackedPack(trials, pack_data(trials, digits), torch.device("cpu"))
    with pytest.raises(OutOfDeviceMemory, match="pack of 1 trial: ") as raised, pack._on_device():
        raise error
    # Other processes may have taken the memory, so the trial is retried alone.
    assert TaskFailure.from_exception(raised.value).kind == "out_of_memory"


def test_other_device_errors_are_not_translated(digits: Dataset) -> None:
    trials = [small_trial()]
    pack = StackedPack(trials, pack_data(trials, digits), torch.device("cpu"))
    with pytest.raises(RuntimeError, match="illegal memory access"), pack._on_device():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize(("precision", "rounds"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee")])
def test_precision_is_set_only_while_the_pack_computes(precision: str, rounds: str, digits: Dataset) -> None:
    trials = [small_trial(precision=precision)]
    before = torch.backends.cuda.matmul.fp32_precision
    pack = StackedPack(trials, pack_data(trials, digits), torch.device("cpu"))
    with pack._on_device():
        assert torch.backends.cuda.matmul.fp32_precision == rounds
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_only_trials_with_momentum_have_velocities(digits: Dataset) -> None:
    trials = [small_trial(), small_trial(momentum=0.5)]
    pack = StackedPack(trials, pack_data(trials, digits), torch.device("cpu"))
    assert (len(pack.velocities(0)), len(pack.velocities(1))) == (0, 4)


def test_the_loop_yields_records_of_a_stacked_pack(digits: Dataset) -> None:
    trials = [small_trial(epochs=2), small_trial(epochs=2, seed=1)]
    pack = StackedPack(trials, pack_data(trials, digits), torch.device("cpu"))
    records = list(Training(trials, lambda: pack))
    assert [type(record) for record in records] == [EpochRecord] * 4 + [TrialResult] * 2
