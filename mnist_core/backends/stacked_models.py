"""Both models for a whole pack at once, on any torch device: the parameters of all its networks are stacked.

Letters: E networks of the pack, B images of a batch, D 784 pixels, H hidden units, K 10 digits, C channels.
Images are (B, D) where all networks see the same, (E, B, D) where each has its own.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

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
    """Return the matrix product that rounds its factors as `precision` says; for bfloat16 its results too.

    For tf32 the caller allows it for CUDA's products at large: torch has no such setting for one product.
    """
    if precision == "bfloat16":
        return lambda left, right: torch.matmul(left.bfloat16(), right.bfloat16()).float()
    return torch.matmul


class StackedMLP:
    """The equations of `mnist_core.models.mlp.MLP`, with one dimension more."""

    def logits(self, parameters: Parameters, images: Tensor, product: Product) -> Tensor:
        """Return the logits (E, B, K)."""
        return self._forward(parameters, images, product)[1]

    def gradients(self, parameters: Parameters, images: Tensor, labels: Tensor, product: Product) -> dict[str, Tensor]:
        """Return each network's gradient of its cross-entropy, summed over its batch; labels are (E, B)."""
        f1, a2 = self._forward(parameters, images, product)
        grad_a2 = _grad_logits(a2, labels)  # (E, B, K)
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
    """The network of `mnist_core.models.cnn.build_network`, its convolutions written as matrix products.

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
        # One network's loss does not depend on another's parameters: the sum of all has all their gradients.
        gradients = torch.autograd.grad(logits, list(leaves.values()), _grad_logits(logits.detach(), labels))
        return dict(zip(leaves, gradients, strict=True))

    def _convolve_and_pool(self, x: Tensor, weight: Tensor, bias: Tensor, product: Product) -> Tensor:
        """Convolve, pool and rectify: (E, B, S, S, C) or (B, S, S, C) to (E, B, P, P, C'), where P = (S - 4) / 2."""
        networks, filters, channels = weight.shape[:3]
        patches = x.unfold(-3, 6, 2).unfold(-3, 6, 2)  # (E, B, P, P, C, 6, 6)
        side = patches.shape[-4]
        patches = patches.reshape(*x.shape[:-4], -1, channels * 36)
        placed = (weight.reshape(networks, -1, 25) @ self._places).view(networks, filters, channels, 36, 4)
        columns = placed.permute(0, 2, 3, 4, 1).reshape(networks, channels * 36, 4 * filters)
        values: Tensor = _SummedInParts.apply(patches, columns, product, side * side)  # type: ignore[no-untyped-call]
        phases = values.view(networks, -1, side, side, 4, filters)
        # Of equal values max takes the first, as max-pooling does; amax shares the gradient among them.
        pooled = phases.max(dim=4).values if torch.is_grad_enabled() else phases.amax(dim=4)
        return torch.relu(pooled + bias[:, None, None, None])


class _SummedInParts(torch.autograd.Function):
    """A product of (E, M, N) and (E, N, P) whose gradient by the second factor is summed in parts of M.

    That gradient has few elements, each a sum over all places of all images, and a library's batched product leaves
    each to one core of a GPU. In parts, it is many products and a sum.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, product: Product, parts: int) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(left, right)
        ctx.product, ctx.parts = product, parts
        return product(left, right)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:  # noqa: ANN401
        left, right = ctx.saved_tensors
        grad_left = ctx.product(grad, right.mT) if ctx.needs_input_grad[0] else None
        parts = len(grad) * ctx.parts
        of_parts = ctx.product(left.reshape(parts, -1, left.shape[-1]).mT, grad.reshape(parts, -1, grad.shape[-1]))
        return grad_left, of_parts.view(len(grad), ctx.parts, *right.shape[1:]).sum(dim=1), None, None


def _grad_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the cross-entropy, summed, by the logits (E, B, K); labels are (E, B)."""
    return torch.softmax(logits, dim=2) - F.one_hot(labels, logits.shape[2])


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
