"""The CPU backend of the CNN against the seed report's network under autograd, and packs of CNNs."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from support.seed_report_network import SeedReportNetwork
from torch.nn import functional as F

from mnist_core.backends.cnn_cpu import SLICE, CNNPack
from mnist_core.backends.cnn_step import Activations, FastCNN
from mnist_core.backends.interface import Evaluation, PackData
from mnist_core.data.datasets import Dataset
from mnist_core.models.cnn import build_network
from mnist_core.models.mlp import cross_entropy
from mnist_core.seeds import subset_index
from mnist_core.trial import Trial

# Another order of sums over some 37,000 outputs. Relative to the largest gradient of a parameter, which may be a small
# difference of large terms.
TOLERANCE = {torch.float64: 1e-13, torch.float32: 5e-5}
AFTER_STEPS = 1e-5


def images(kind: str, size: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    values = {
        "random": rng.random((size, 784)),
        "sparse": rng.random((size, 784)) * (rng.random((size, 784)) < 0.2),
        "constant": np.repeat(rng.random((size, 1)), 784, axis=1),
        "zero": np.zeros((size, 784)),
        "binary": rng.integers(0, 2, (size, 784)),
    }
    return values[kind].astype(np.float64)


def labels_of(size: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).integers(0, 10, size))


def network(kind: str = "default", dtype: torch.dtype = torch.float64) -> SeedReportNetwork:
    """Return the seed report's network with PyTorch's initial weights, or with small integers, whose sums are exact."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        made = SeedReportNetwork().to(dtype)
        if kind == "whole":
            for value in made.parameters():
                value.data = torch.randint(-1, 2, value.shape).to(dtype)
            made.fc3.weight.data /= 1000  # keeps the softmax away from 0 and 1
    return made


def fast(reference: torch.nn.Module, momentum: float = 0.0) -> FastCNN:
    return FastCNN({name: value.detach().numpy() for name, value in reference.named_parameters()}, momentum)


def loaded(pixels: torch.Tensor) -> Activations:
    activations = Activations(len(pixels), pixels.dtype)
    activations.load(pixels)
    return activations


def assert_equal_gradients(reference: SeedReportNetwork, pixels: torch.Tensor) -> None:
    labels, backend = labels_of(len(pixels)), fast(reference)
    backend.add_gradients(loaded(pixels), labels)
    F.cross_entropy(reference(pixels), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
    for name, value in reference.named_parameters():
        assert value.grad is not None
        expected = value.grad.numpy()
        scale = np.abs(expected).max()
        assert_allclose(backend.gradients()[name], expected, rtol=0, atol=TOLERANCE[pixels.dtype] * scale, err_msg=name)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", ["random", "sparse", "constant", "zero"])
@pytest.mark.parametrize("size", [1, 65])
def test_every_gradient_equals_autograd(size: int, kind: str, dtype: torch.dtype) -> None:
    assert_equal_gradients(network(dtype=dtype), torch.from_numpy(images(kind, size)).to(dtype))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_tied_outputs_give_the_first_the_gradient(dtype: torch.dtype) -> None:
    reference, pixels = network("whole", dtype), torch.from_numpy(images("binary", 20)).to(dtype)
    outputs = reference.conv1(pixels.view(-1, 1, 28, 28)).detach().unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
    tied = (outputs == outputs.amax(-1, keepdim=True)).sum(-1) > 1
    assert tied.double().mean() > 0.1
    assert_equal_gradients(reference, pixels)


def test_zero_activations_pass_no_gradient() -> None:
    reference = network()
    for name, value in reference.named_parameters():
        if name in ("conv1.bias", "conv2.bias", "fc1.bias", "fc2.bias"):
            value.data.zero_()
    backend = fast(reference)
    backend.add_gradients(loaded(torch.zeros(3, 784, dtype=torch.float64)), labels_of(3))
    assert [name for name, grad in backend.gradients().items() if grad.any()] == ["fc3.bias"]


@pytest.mark.parametrize("size", [1, 65])
def test_logits_equal_the_seed_reports_network(size: int) -> None:
    for kind, dtype in product(["random", "constant"], TOLERANCE):
        reference, pixels = network(dtype=dtype), torch.from_numpy(images(kind, size)).to(dtype)
        expected = reference(pixels).detach()
        found = fast(reference).infer(loaded(pixels)).T
        assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_equal_torch_sgd(momentum: float) -> None:
    reference = network(dtype=torch.float32)
    backend = fast(reference, momentum)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.001, momentum=momentum)
    for size in (64, 64, 64, 64, 9):
        pixels, labels = torch.from_numpy(images("sparse", size)).float(), labels_of(size)
        backend.add_gradients(loaded(pixels), labels)
        backend.descend(0.001)
        optimizer.zero_grad()
        F.cross_entropy(reference(pixels), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for name, value in reference.named_parameters():
        assert_allclose(backend.weights()[name], value.detach().numpy(), rtol=0, atol=AFTER_STEPS)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_logits_stay_with_their_image(value: float) -> None:
    reference, pixels = network(), torch.from_numpy(images("random", 4))
    pixels[2, 400] = value
    expected = reference(pixels).isfinite().all(1)
    assert expected.tolist() == [True, True, False, True]
    backend, activations = fast(reference), loaded(pixels)
    assert backend.infer(activations).isfinite().all(0).tolist() == expected.tolist()
    backend.add_gradients(activations, labels_of(4))
    backend.descend(0.001)
    assert not backend.infer(activations).isfinite().any()


def test_shared_buffers_leak_nothing_between_networks() -> None:
    pixels, labels = torch.from_numpy(images("random", 8)).float(), labels_of(8)
    clean, used = loaded(pixels), loaded(pixels)
    broken = network(dtype=torch.float32)
    broken.conv1.weight.data.fill_(float("nan"))
    fast(broken).add_gradients(used, labels)
    first, second = fast(network(dtype=torch.float32)), fast(network(dtype=torch.float32))
    first.add_gradients(clean, labels)
    second.add_gradients(used, labels)
    for name, grad in first.gradients().items():
        assert_array_equal(grad, second.gradients()[name])


def test_weights_are_copies_in_the_models_shapes() -> None:
    backend = fast(build_network())
    weights = backend.weights()
    assert {name: value.shape for name, value in weights.items()} == {
        name: tuple(value.shape) for name, value in build_network().named_parameters()
    }
    assert all(value.flags.c_contiguous for value in weights.values())
    before = {name: value.copy() for name, value in weights.items()}
    backend.add_gradients(loaded(torch.from_numpy(images("random", 3)).float()), labels_of(3))
    backend.descend(0.1)
    assert all(np.array_equal(weights[name], before[name]) for name in weights)
    assert not np.array_equal(backend.weights()["conv1.weight"], before["conv1.weight"])


def pack_of(dataset: Dataset, *, seeds: tuple[int, ...] = (0,), size: int = 300, **settings: object) -> CNNPack:
    trials = [
        Trial(model="cnn", subset_size=size, adaptive_lr=False, seed=seed, **settings)  # type: ignore[arg-type]
        for seed in seeds
    ]
    data = PackData(dataset, {seed: subset_index(len(dataset.train.labels), size, seed) for seed in seeds})
    return CNNPack(trials, data)


def test_a_batch_larger_than_a_slice_takes_one_step(digits: Dataset) -> None:
    size = SLICE + 50
    pack = pack_of(digits, size=size, batch_size=size)
    reference = SeedReportNetwork()
    reference.load_state_dict({name: torch.tensor(value) for name, value in pack.weights(0).items()})
    subset = pack.data.subsets[0]
    loss = F.cross_entropy(reference(torch.from_numpy(subset.images)), torch.from_numpy(subset.labels), reduction="sum")
    loss.backward()  # type: ignore[no-untyped-call]
    pack.train_epoch({0: np.arange(size)}, [0.001])
    for name, value in reference.named_parameters():
        assert value.grad is not None
        expected = (value.data - 0.001 * value.grad).numpy()
        assert_allclose(pack.weights(0)[name], expected, rtol=0, atol=AFTER_STEPS)


@pytest.mark.parametrize("size", [1, SLICE, SLICE + 1])
def test_evaluations_equal_the_seed_reports_network(size: int, digits: Dataset) -> None:
    pack = pack_of(digits, seeds=(0, 1, 0), size=size)
    for index, found in enumerate(pack.evaluate("train")):
        reference = SeedReportNetwork()
        reference.load_state_dict({name: torch.tensor(value) for name, value in pack.weights(index).items()})
        data = pack.data.subsets[pack.trials[index].seed]
        logits = reference(torch.from_numpy(data.images)).detach().numpy()
        expected = Evaluation.from_predictions(data.labels, cross_entropy(logits, data.labels), logits.argmax(axis=1))
        assert found.loss == pytest.approx(expected.loss, rel=1e-6)
        assert_array_equal(found.confusion, expected.confusion)
        assert_array_equal(found.predicted, expected.predicted)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_restored_network_continues_bitwise(momentum: float, digits: Dataset) -> None:
    order = {0: np.arange(300)}
    first, second = (pack_of(digits, momentum=momentum) for _ in range(2))
    first.train_epoch(order, [0.01])
    assert bool(first.velocities(0)) == (momentum > 0)
    second.restore(0, first.weights(0), first.velocities(0))
    for pack in (first, second):
        pack.train_epoch(order, [0.01])
    assert_array_equal(first.weights(0)["fc1.weight"], second.weights(0)["fc1.weight"])


def test_kept_networks_continue_bitwise(digits: Dataset) -> None:
    orders = {seed: np.random.default_rng(seed).permutation(300) for seed in (0, 1)}
    pack, alone = pack_of(digits, seeds=(0, 1)), pack_of(digits, seeds=(1,))
    pack.train_epoch(orders, [1e30, 0.01])
    pack.keep([1])
    pack.train_epoch(orders, [0.01])
    for _ in range(2):
        alone.train_epoch(orders, [0.01])
    for name, value in alone.weights(0).items():
        assert_array_equal(pack.weights(0)[name], value)


@pytest.mark.medium
def test_training_does_not_import_torchs_compiler() -> None:
    # Creating one of torch's optimizers imports the compiler, which takes over a second of a worker's first trial.
    done = subprocess.run([sys.executable, "-c", TRAIN_SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["trained", "without"], done.stderr


TRAIN_SCRIPT = """
import sys
from mnist_core.data.datasets import load_dataset
from mnist_core.training import TrialResult, train
from mnist_core.trial import Trial

trial = Trial(model="cnn", subset_size=20, adaptive_lr=False, seed=0, epochs=1, momentum=0.5)
*_, result = train([trial], load_dataset("digits"))
print("trained" if isinstance(result, TrialResult) else result, "with" if "torch._dynamo" in sys.modules else "without")
"""
