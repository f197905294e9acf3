"""The convolutional network of the report: two convolutions with max-pooling, then 256-120-84-10.

The report's `view(-1, 2, 28, 28)` is a misprint: its first filters are 1x5x5, so an image has one channel.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_core.trial import Trial


class CNN:
    """Train the report's network by stochastic gradient descent; takes and returns NumPy arrays like the MLP.

    This is the form to read. `backends.cnn_step` does the same at the cost of its arithmetic and trains the packs.
    """

    def __init__(self, network: nn.Sequential, *, momentum: float = 0.0) -> None:
        self.network = network
        # The learning rate is set before every step.
        self._optimizer = torch.optim.SGD(network.parameters(), lr=0.0, momentum=momentum)

    @classmethod
    def from_trial(cls, trial: Trial, rng: np.random.Generator) -> Self:
        """Draw the initial weights as `initial_network` does."""
        network = initial_network(rng)
        # The pooling and the few channels of this network run a third faster with the channels innermost.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(network, momentum=trial.momentum)

    def step(self, images: NDArray[np.float32], labels: NDArray[np.int64], learning_rate: float) -> None:
        """Take one step on a batch, images (B, 784) and labels (B,): the gradient is summed over the batch."""
        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.zero_grad()
        logits = self.network(torch.from_numpy(images))
        F.cross_entropy(logits, torch.from_numpy(labels), reduction="sum").backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (B, 10) of images (B, 784)."""
        with torch.inference_mode():
            logits: Tensor = self.network(torch.from_numpy(images))
            return logits.numpy()

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return a copy of the parameters by name."""
        return weights_of(self.network)


def initial_network(rng: np.random.Generator) -> nn.Sequential:
    """Build the layers, with PyTorch's default initial weights from a seed that `rng` gives."""
    # The layers draw from torch's global generator: lend it our seed and put its state back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        return build_network()


def weights_of(network: nn.Sequential) -> dict[str, NDArray[Any]]:
    """Return a copy of a network's parameters by name."""
    return {name: value.detach().numpy().copy() for name, value in network.named_parameters()}


def build_network() -> nn.Sequential:
    """Build the layers, with PyTorch's default initial weights out of its global generator."""
    # The report takes the ReLU before the pooling. The two commute, value and gradient, and a quarter remains to do.
    layers = {
        "image": nn.Unflatten(1, (1, 28, 28)),  # (B, 784) -> (B, 1, 28, 28)
        "conv1": nn.Conv2d(1, 6, 5),  # (B, 6, 24, 24)
        "pool1": nn.MaxPool2d(2, 2),  # (B, 6, 12, 12)
        "relu1": nn.ReLU(),
        "conv2": nn.Conv2d(6, 16, 5),  # (B, 16, 8, 8)
        "pool2": nn.MaxPool2d(2, 2),  # (B, 16, 4, 4)
        "relu2": nn.ReLU(),
        "vector": nn.Flatten(),  # (B, 256)
        "fc1": nn.Linear(16 * 4 * 4, 120),
        "relu3": nn.ReLU(),
        "fc2": nn.Linear(120, 84),
        "relu4": nn.ReLU(),
        "fc3": nn.Linear(84, 10),
    }
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Cap the threads of torch's operators for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
