"""Both models for a whole pack at once, on any torch device: the parameters of all its networks are stacked.

Letters: E networks of the pack, B images of a batch, D 784 pixels, H hidden units, K 10 digits, C channels.
Images are (B, D) where all networks see the same, (E, B, D) where each has its own.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_core.trial import Precision

Product = Callable[[Tensor, Tensor], Tensor]  # (E, M, N) times (E, N, P)
Parameters = Mapping[str, Tensor]  # (E, ...), each network's in the shape that its CPU twin has


class StackedModel(Protocol):
    """Map stacked parameters and images to logits, and to gradients; the product is a matrix product per network."""

    def logits(self, parameters: Parameters, images: Tensor, product: Product) -> Tensor:
        """Return the logits (E, B, K)."""

    def gradients(self, parameters: Parameters, images: Tensor, labels: Tensor, product: Product) -> dict[str, Tensor]:
        """Return each network's gradient of its cross-entropy, summed over its batch; labels are (E, B)."""


def product_in(precision: Precision) -> Product:
    """Return the matrix product that rounds its factors as `precision` says; sums and results are float32.

    For tf32 the caller allows it for CUDA's products at large: torch has no such setting for one product.
    """
    if precision == "bfloat16":
        return lambda left, right: torch.matmul(left.bfloat16(), right.bfloat16()).float()
    return torch.matmul


class StackedMLP:
    """The equations of `mnist_core.mlp.MLP`, with one dimension more."""

    def logits(self, parameters: Parameters, images: Tensor, product: Product) -> Tensor:
        """Return the logits (E, B, K)."""
        return self._forward(parameters, images, product)[1]

    def gradients(self, parameters: Parameters, images: Tensor, labels: Tensor, product: Product) -> dict[str, Tensor]:
        """Return each network's gradient of its cross-entropy, summed over its batch; labels are (E, B)."""
        f1, a2 = self._forward(parameters, images, product)
        grad_a2 = torch.softmax(a2, dim=2) - F.one_hot(labels, a2.shape[2])  # (E, B, K)
        grad_a1 = product(grad_a2, parameters["W2"]) * (f1 * (1 - f1))  # (E, B, H)
        return {
            "W1": product(grad_a1.mT, images),
            "b1": grad_a1.sum(dim=1),
            "W2": product(grad_a2.mT, f1),
            "b2": grad_a2.sum(dim=1),
        }

    @staticmethod
    def _forward(p: Parameters, images: Tensor, product: Product) -> tuple[Tensor, Tensor]:
        f1 = torch.sigmoid(product(images, p["W1"].mT) + p["b1"][:, None])
        return f1, product(f1, p["W2"].mT) + p["b2"][:, None]


class StackedCNN:
    """The network of `mnist_core.cnn.build_network`, its convolutions written as matrix products.

    A convolution and the pooling after it are one product: the 6x6 patch under a 2x2 pooling window holds the four
    5x5 patches of its phases, so the patches at stride 2 times a weight of four columns per channel, each the 5x5
    filter at another place in zeros, are the four values that the pooling chooses from. Half of the patches' memory
    traffic and wider products than with plain 5x5 patches, for 36/25 of the arithmetic.
    """

    def __init__(self, device: torch.device) -> None:
        self._places = _filter_places().to(device)

    def logits(self, parameters: Parameters, images: Tensor, product: Product) -> Tensor:
        """Return the logits (E, B, K)."""
        p = parameters
        x = images.reshape(*images.shape[:-1], 28, 28, 1)  # (B, 28, 28, 1) or (E, B, 28, 28, 1)
        x = self._convolve_and_pool(x, p["conv1.weight"], p["conv1.bias"], product)  # (E, B, 12, 12, 6)
        x = self._convolve_and_pool(x, p["conv2.weight"], p["conv2.bias"], product)  # (E, B, 4, 4, 16)
        x = x.permute(0, 1, 4, 2, 3).flatten(2)  # (E, B, 256)
        x = torch.relu(_linear(x, p["fc1.weight"], p["fc1.bias"], product))
        x = torch.relu(_linear(x, p["fc2.weight"], p["fc2.bias"], product))
        return _linear(x, p["fc3.weight"], p["fc3.bias"], product)

    def gradients(self, parameters: Parameters, images: Tensor, labels: Tensor, product: Product) -> dict[str, Tensor]:
        """Return each network's gradient of its cross-entropy, summed over its batch; labels are (E, B)."""
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        with torch.enable_grad():
            logits = self.logits(leaves, images, product)
            # One network's loss does not depend on another's parameters: the sum has all their gradients.
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        return dict(zip(leaves, gradients, strict=True))

    def _convolve_and_pool(self, x: Tensor, weight: Tensor, bias: Tensor, product: Product) -> Tensor:
        """Map (E, B, S, S, C) to (E, B, (S-4)/2, (S-4)/2, C'): convolution, then max-pooling, then ReLU."""
        networks, filters, channels = weight.shape[:3]
        patches = x.unfold(-3, 6, 2).unfold(-3, 6, 2)  # (E, B, P, P, C, 6, 6)
        side = patches.shape[-4]
        patches = patches.reshape(*x.shape[:-4], -1, channels * 36)
        placed = (weight.reshape(networks, -1, 25) @ self._places).view(networks, filters, channels, 36, 4)
        columns = placed.permute(0, 2, 3, 4, 1).reshape(networks, channels * 36, 4 * filters)
        phases = product(patches, columns).view(networks, -1, side, side, 4, filters)
        # Of equal values max takes the first, as max-pooling does.
        return torch.relu(phases.max(dim=4).values + bias[:, None, None, None])


def _linear(x: Tensor, weight: Tensor, bias: Tensor, product: Product) -> Tensor:
    return product(x, weight.mT) + bias[:, None]


def _filter_places() -> Tensor:
    """Return the 0/1 matrix (25, 36 * 4) that puts a 5x5 filter at each of the four places in a 6x6 patch."""
    places = torch.zeros(5, 5, 6, 6, 4)
    for phase in range(4):
        down, right = divmod(phase, 2)
        for row in range(5):
            for column in range(5):
                places[row, column, row + down, column + right, phase] = 1
    return places.view(25, 36 * 4)
