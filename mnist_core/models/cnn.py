"""The convolutional network, to be read beside section 3 of the seed report.

The seed report is Peralta, *Neural Network Image Classifier*. The layers are its layers, in its order: two
convolutions, each followed by ReLU and max-pooling, then three linear layers of 120, 84 and 10 outputs. Its
`view(-1, 2, 28, 28)` is a misprint: its first filters are 1x5x5, so an image has one channel.

Shapes: B images of a batch, D 784 pixels, K 10 digits.

This form is for reading and for tests. `mnist_core.backends.cnn_cpu` trains the packs on the CPU, and
`mnist_core.backends.stacked` on a GPU.
"""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_core.trial import Trial


class CNN:
    """Train a network by stochastic gradient descent, with gradients by autograd; NumPy arrays in and out, as in MLP.

    Args:
        network: The layers, as `build_network` makes them.
        momentum: Fraction of the previous step that is added to each step. The seed report uses none.
    """

    def __init__(self, network: nn.Sequential, *, momentum: float = 0.0) -> None:
        self.network = network
        self._optimizer = torch.optim.SGD(network.parameters(), lr=0.0, momentum=momentum)  # `step` sets the rate

    @classmethod
    def from_trial(cls, trial: Trial, rng: np.random.Generator) -> Self:
        """Draw the initial weights with `initial_network`."""
        network = initial_network(rng)
        # With so few channels, pooling is a third faster in this memory layout.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(network, momentum=trial.momentum)

    @classmethod
    def from_weights(cls, weights: Mapping[str, NDArray[Any]]) -> Self:
        """Make a network with trained weights, as `weights` returns them."""
        network = build_network()
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        return cls(network)

    def step(self, images: NDArray[np.float32], labels: NDArray[np.int64], learning_rate: float) -> None:
        """Take one step of stochastic gradient descent: subtract the learning rate times the summed gradient.

        Args:
            images: The images of the batch (B, D).
            labels: Their digits (B,).
            learning_rate: The step size.
        """
        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.zero_grad()
        logits = self.network(torch.from_numpy(images))  # (B, K)
        F.cross_entropy(logits, torch.from_numpy(labels), reduction="sum").backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the logits (B, K) of images (B, D)."""
        with torch.inference_mode():
            logits: Tensor = self.network(torch.from_numpy(images))
            return logits.numpy()

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return a copy of the parameters by name."""
        return weights_of(self.network)


def build_network() -> nn.Sequential:
    """Build the layers, with PyTorch's default initial weights drawn from its global generator."""
    layers = {
        "image": nn.Unflatten(1, (1, 28, 28)),  # (B, D) -> (B, 1, 28, 28)
        "conv1": nn.Conv2d(1, 6, 5),  # (B, 6, 24, 24)
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(2, 2),  # (B, 6, 12, 12)
        "conv2": nn.Conv2d(6, 16, 5),  # (B, 16, 8, 8)
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(2, 2),  # (B, 16, 4, 4)
        "vector": nn.Flatten(),  # (B, 256)
        "fc1": nn.Linear(16 * 4 * 4, 120),  # (B, 120)
        "relu3": nn.ReLU(),
        "fc2": nn.Linear(120, 84),  # (B, 84)
        "relu4": nn.ReLU(),
        "fc3": nn.Linear(84, 10),  # (B, K)
    }
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network


def initial_network(rng: np.random.Generator) -> nn.Sequential:
    """Build the layers, with PyTorch's default initial weights drawn from a seed that `rng` provides.

    They are uniform on +-1 / sqrt(n), where n is the number of inputs of a unit. The layers draw them in the same way,
    but scale and shift in one operation, which some CPUs round once and others twice.
    """
    # Draws come from torch's global generator, so its state is saved, seeded and restored.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = build_network()
        torch.manual_seed(int(rng.integers(2**63)))
        for layer in network:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                bound = 1 / math.sqrt(layer.weight[0].numel())
                for parameter in layer.parameters():
                    parameter.copy_((2 * torch.rand_like(parameter) - 1) * bound)
    return network


def weights_of(network: nn.Sequential) -> dict[str, NDArray[Any]]:
    """Return a copy of a network's parameters by name."""
    return {name: value.detach().numpy().copy() for name, value in network.named_parameters()}
