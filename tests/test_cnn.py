"""The model CNN: its shapes, its initial weights, and its training against the seed report's network."""

import numpy as np
import pytest
import torch
from support.seed_report_network import SeedReportNetwork
from torch.nn import functional as F

from mnist_core.devices import torch_threads
from mnist_core.models.cnn import CNN, build_network, initial_network
from mnist_core.trial import Trial

ROUNDING = 2.0**-23  # of float32
LAYOUT_TOLERANCE = 1e-5  # float32, with another order of sums


def small_trial(**settings: object) -> Trial:
    return Trial(model="cnn", subset_size=64, adaptive_lr=False, seed=0, **settings)  # type: ignore[arg-type]


def batch(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return rng.random((size, 784), dtype=np.float32), rng.integers(0, 10, size)


def test_layers_have_the_seed_reports_shapes() -> None:
    shapes = {name: tuple(value.shape) for name, value in build_network().named_parameters()}
    assert shapes == {
        "conv1.weight": (6, 1, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "fc1.weight": (120, 256),
        "fc1.bias": (120,),
        "fc2.weight": (84, 120),
        "fc2.bias": (84,),
        "fc3.weight": (10, 84),
        "fc3.bias": (10,),
    }


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_equals_the_seed_reports_network(size: int, momentum: float) -> None:
    cnn = CNN.from_trial(small_trial(momentum=momentum), np.random.default_rng(0))
    reference = SeedReportNetwork()
    reference.load_state_dict({name: torch.tensor(value) for name, value in cnn.weights().items()})
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.001, momentum=momentum)
    images, labels = batch(size)
    for _ in range(5):
        cnn.step(images, labels, 0.001)
        optimizer.zero_grad()
        F.cross_entropy(reference(torch.tensor(images)), torch.tensor(labels), reduction="sum").backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for name, value in reference.named_parameters():
        np.testing.assert_allclose(cnn.weights()[name], value.detach().numpy(), atol=LAYOUT_TOLERANCE)
    np.testing.assert_allclose(
        cnn.logits(images), reference(torch.tensor(images)).detach().numpy(), atol=10 * LAYOUT_TOLERANCE
    )


def test_initial_weights_come_from_the_generator_alone() -> None:
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    first = CNN.from_trial(small_trial(), np.random.default_rng(5)).weights()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(7)
    second = CNN.from_trial(small_trial(), np.random.default_rng(5)).weights()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    bound = 1 / np.sqrt(256)  # kaiming_uniform with a = sqrt(5): 1 / sqrt(fan_in)
    assert 0.99 * bound < np.abs(first["fc1.weight"]).max() <= bound


def test_initial_weights_are_pytorchs_own_up_to_rounding() -> None:
    drawn = initial_network(np.random.default_rng(5))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.default_rng(5).integers(2**63)))
        default = build_network()
    for found, expected in zip(drawn.parameters(), default.parameters(), strict=True):
        assert torch.allclose(found, expected, rtol=0, atol=ROUNDING * float(expected.detach().abs().max()))


def test_weights_are_contiguous_copies() -> None:
    cnn = CNN.from_trial(small_trial(), np.random.default_rng(5))
    weights = cnn.weights()
    assert all(value.flags.c_contiguous for value in weights.values())
    cnn.step(*batch(8), 0.1)
    assert not np.array_equal(weights["conv1.weight"], cnn.weights()["conv1.weight"])


def test_torch_threads_restores_the_limit() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
