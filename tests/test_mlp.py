"""The model MLP: its gradients against central differences and torch autograd, and its steps against torch SGD."""

import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mnist_core.models.mlp import MLP, cross_entropy, log_sum_exp, sigmoid, softmax
from mnist_core.trial import Trial

CENTRAL_DIFFERENCE_TOLERANCE = 1e-7  # of the largest gradient; step 1e-5 in float64 leaves about 1e-9
AUTOGRAD_TOLERANCE = 1e-12  # both in float64
SHAPES = [(1, 784, 64), (2, 784, 64), (7, 5, 3), (1, 1, 1), (256, 20, 8)]  # B, D, H


def random_mlp(pixels: int, hidden: int, *, scale: float = 0.5) -> MLP:
    rng = np.random.default_rng(1)
    shapes = {"W1": (hidden, pixels), "b1": (hidden,), "W2": (10, hidden), "b2": (10,)}
    return MLP({name: scale * rng.standard_normal(shape) for name, shape in shapes.items()})


def random_batch(size: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.random((size, pixels)), rng.integers(0, 10, size)


def torch_gradients(mlp: MLP, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    p = {name: torch.tensor(value, requires_grad=True) for name, value in mlp.parameters.items()}
    f1 = torch.sigmoid(torch.tensor(images) @ p["W1"].T + p["b1"])
    F.cross_entropy(f1 @ p["W2"].T + p["b2"], torch.tensor(labels), reduction="sum").backward()  # type: ignore[no-untyped-call]
    return {name: np.asarray(value.grad) for name, value in p.items()}


@pytest.mark.parametrize(("size", "pixels", "hidden"), SHAPES)
def test_gradients_equal_central_differences(size: int, pixels: int, hidden: int) -> None:
    mlp, (images, labels) = random_mlp(pixels, hidden), random_batch(size, pixels)
    gradients = mlp.gradients(images, labels)
    rng = np.random.default_rng(3)
    for name, gradient in gradients.items():
        flat, largest = mlp.parameters[name].reshape(-1), np.abs(gradient).max()
        for index in rng.choice(flat.size, size=min(flat.size, 40), replace=False):
            before, step = flat[index], 1e-5
            losses = []
            for value in (before + step, before - step):
                flat[index] = value
                losses.append(cross_entropy(mlp.logits(images), labels).sum())
            flat[index] = before
            numeric = (losses[0] - losses[1]) / (2 * step)
            assert abs(numeric - gradient.reshape(-1)[index]) <= CENTRAL_DIFFERENCE_TOLERANCE * max(1, largest), name


@pytest.mark.parametrize(("size", "pixels", "hidden"), SHAPES)
@pytest.mark.parametrize("scale", [0.1, 30.0], ids=["ordinary", "saturated sigmoids"])
def test_gradients_equal_torch_autograd(size: int, pixels: int, hidden: int, scale: float) -> None:
    mlp, (images, labels) = random_mlp(pixels, hidden, scale=scale), random_batch(size, pixels)
    expected = torch_gradients(mlp, images, labels)
    for name, gradient in mlp.gradients(images, labels).items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-9, atol=AUTOGRAD_TOLERANCE * 255)


def test_gradients_of_raw_pixels_equal_autograd() -> None:
    mlp, (images, labels) = random_mlp(784, 64), random_batch(32, 784)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradients = mlp.gradients(255 * images, labels)
    for name, expected in torch_gradients(mlp, 255 * images, labels).items():
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-9, atol=1e-9)


def test_a_rate_of_ten_on_raw_pixels_stays_finite() -> None:
    trial = Trial(model="mlp", subset_size=64, adaptive_lr=False, seed=0, learning_rate=10)
    mlp = MLP.from_trial(trial, np.random.default_rng(0))
    images, labels = random_batch(64, 784)
    for _ in range(20):
        mlp.step((255 * images).astype(np.float32), labels, 10)
    assert all(np.isfinite(value).all() for value in mlp.weights().values())
    assert mlp.weights()["W1"].dtype == np.float32


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_equal_torch_sgd(momentum: float) -> None:
    start, (images, labels) = random_mlp(20, 8), random_batch(16, 20)
    mlp = MLP(start.parameters, momentum=momentum)
    p = {name: torch.tensor(value, requires_grad=True) for name, value in start.parameters.items()}
    optimizer = torch.optim.SGD(p.values(), lr=0.01, momentum=momentum)
    for _ in range(5):
        mlp.step(images, labels, 0.01)
        optimizer.zero_grad()
        f1 = torch.sigmoid(torch.tensor(images) @ p["W1"].T + p["b1"])
        F.cross_entropy(f1 @ p["W2"].T + p["b2"], torch.tensor(labels), reduction="sum").backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for name, value in mlp.weights().items():
        np.testing.assert_allclose(value, p[name].detach().numpy(), rtol=1e-9, atol=1e-12)


def test_initial_weights_are_gaussian_and_biases_zero() -> None:
    trial = Trial(model="mlp", subset_size=64, adaptive_lr=False, seed=0, hidden_units=100, weight_init_std=0.2)
    weights = MLP.from_trial(trial, np.random.default_rng(0)).weights()
    assert weights["W1"].shape == (100, 784)
    assert weights["W2"].shape == (10, 100)
    assert weights["W1"].std() == pytest.approx(0.2, rel=0.02)  # 78,400 draws: 0.25 % standard error
    assert not weights["b1"].any()
    assert not weights["b2"].any()


def test_activations_are_exact_at_extreme_inputs() -> None:
    x = np.array([-1e30, -100, 0, 100, 1e30], np.float32)
    assert sigmoid(x).tolist() == [0, 0, 0.5, 1, 1]
    logits = np.array([[1e30, 0], [-1e30, -1e30], [1000, 1000]], np.float32)
    assert softmax(logits).tolist() == [[1, 0], [0.5, 0.5], [0.5, 0.5]]
    assert log_sum_exp(logits[2:]).tolist() == [np.float32(1000 + np.log(2))]


def test_cross_entropy_of_equal_logits_is_log_ten() -> None:
    loss = cross_entropy(np.zeros((3, 10)), np.array([0, 5, 9]))
    np.testing.assert_allclose(loss, np.log(10), rtol=1e-15)
