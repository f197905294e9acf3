"""Both models for a whole pack at once, on any torch device, with the parameters of all networks stacked.

Model: `mnist_core.models.mlp.MLP` and `mnist_core.models.cnn.CNN`.
Tests: tests/test_stacked.py::test_a_stacked_trial_equals_the_same_trial_on_the_cpu
       tests/test_stacked.py::test_stacked_cnn_gradients_equal_autograd

Shapes: E networks of the pack, B images of a batch, D 784 pixels, H hidden units, K 10 digits, C channels.
Images are (B, D) if all networks see the same images, (E, B, D) if each has its own.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_core.trial import Precision

Product = Callable[[Tensor, Tensor], Tensor]  # (E, M, N) times (E, N, P)
Parameters = Mapping[str, Tensor]  # (E, ...), then the shape that the model's parameter has


class StackedModel(Protocol):
    """Compute logits and gradients from stacked parameters; `product` multiplies matrices network by network."""

    def logits(self, parameters: Parameters, images: Tensor, product: Product) -> Tensor:
        """Compute the logits (E, B, K)."""

    def gradients(self, parameters: Parameters, images: Tensor, labels: Tensor, product: Product) -> dict[str, Tensor]:
        """Compute each network's gradient of the cross-entropy, summed over its batch; labels are (E, B)."""


def product_in(precision: Precision) -> Product:
    """Return a matrix product that rounds its factors to `precision`, and for bfloat16 its results too.

    For tf32 the caller must allow it for all CUDA products: torch has no setting for a single product.
    """
    if precision == "bfloat16":
        return lambda left, right: torch.matmul(left.bfloat16(), right.bfloat16()).float()
    return torch.matmul


class StackedMLP:
    """The equations of `mnist_core.models.mlp.MLP`, with a dimension for the networks in front."""

    def logits(self, parameters: Parameters, images: Tensor, product: Product) -> Tensor:
        """Compute the logits (E, B, K)."""
        return self._forward(parameters, images, product)[1]

    def gradients(self, parameters: Parameters, images: Tensor, labels: Tensor, product: Product) -> dict[str, Tensor]:
        """Compute each network's gradient of the cross-entropy, summed over its batch; labels are (E, B)."""
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

    A convolution and the pooling after it take one product. The four outputs under a 2x2 pooling window depend on one
    6x6 patch. The patches at stride 2 are multiplied by a weight with four columns per channel, each of them the 5x5
    filter at one of the four offsets in a 6x6 patch of zeros: the results are the four values to pool. Compared with
    5x5 patches this halves the memory traffic and widens the products, for 36/25 of the arithmetic.
    """

    def __init__(self, device: torch.device) -> None:
        self._embedding = _filter_embedding().to(device)

    def logits(self, parameters: Parameters, images: Tensor, product: Product) -> Tensor:
        """Compute the logits (E, B, K)."""
        p = parameters
        x = images.reshape(*images.shape[:-1], 28, 28, 1)  # (B, 28, 28, 1) or (E, B, 28, 28, 1)
        x = self._convolve_and_pool(x, p["conv1.weight"], p["conv1.bias"], product)  # (E, B, 12, 12, 6)
        x = self._convolve_and_pool(x, p["conv2.weight"], p["conv2.bias"], product)  # (E, B, 4, 4, 16)
        x = x.permute(0, 1, 4, 2, 3).flatten(2)  # (E, B, 256)
        x = torch.relu(_linear(x, p["fc1.weight"], p["fc1.bias"], product))
        x = torch.relu(_linear(x, p["fc2.weight"], p["fc2.bias"], product))
        return _linear(x, p["fc3.weight"], p["fc3.bias"], product)

    def gradients(self, parameters: Parameters, images: Tensor, labels: Tensor, product: Product) -> dict[str, Tensor]:
        """Compute each network's gradient of the cross-entropy, summed over its batch; labels are (E, B)."""
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        with torch.enable_grad():
            logits = self.logits(leaves, images, product)
        # A network's loss depends on its own parameters only, so the gradient of the sum holds all gradients.
        gradients = torch.autograd.grad(logits, list(leaves.values()), _grad_logits(logits.detach(), labels))
        return dict(zip(leaves, gradients, strict=True))

    def _convolve_and_pool(self, x: Tensor, weight: Tensor, bias: Tensor, product: Product) -> Tensor:
        """Convolve, pool and rectify: (E, B, S, S, C) or (B, S, S, C) to (E, B, P, P, C'), with P = (S - 4) / 2."""
        networks, filters, channels = weight.shape[:3]
        patches = x.unfold(-3, 6, 2).unfold(-3, 6, 2)  # (E, B, P, P, C, 6, 6)
        side = patches.shape[-4]
        patches = patches.reshape(*x.shape[:-4], -1, channels * 36)
        embedded = (weight.reshape(networks, -1, 25) @ self._embedding).view(networks, filters, channels, 36, 4)
        columns = embedded.permute(0, 2, 3, 4, 1).reshape(networks, channels * 36, 4 * filters)
        values: Tensor = _SummedInParts.apply(patches, columns, product, side * side)  # type: ignore[no-untyped-call]
        phases = values.view(networks, -1, side, side, 4, filters)
        # Among equal values, max passes the gradient to the first, as max-pooling does; amax would divide it.
        pooled = phases.max(dim=4).values if torch.is_grad_enabled() else phases.amax(dim=4)
        return torch.relu(pooled + bias[:, None, None, None])


class _SummedInParts(torch.autograd.Function):
    """A product of (E, M, N) and (E, N, P) whose gradient for the second factor is summed in parts of M.

    That gradient has few elements, each of them a sum over all positions of all images, and batched products assign
    few elements to few cores of a GPU. Computing it in parts gives the GPU many products and one sum.
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
    """Return the gradient of the summed cross-entropy with respect to the logits (E, B, K); labels are (E, B)."""
    return torch.softmax(logits, dim=2) - F.one_hot(labels, logits.shape[2])


def _linear(x: Tensor, weight: Tensor, bias: Tensor, product: Product) -> Tensor:
    return product(x, weight.mT) + bias[:, None]


def _filter_embedding() -> Tensor:
    """Return the 0/1 matrix (25, 36 * 4) that embeds a 5x5 filter at each of the four offsets in a 6x6 patch."""
    embedding = torch.zeros(5, 5, 6, 6, 4)
    for phase in range(4):
        down, right = divmod(phase, 2)
        for row in range(5):
            for column in range(5):
                embedding[row, column, row + down, column + right, phase] = 1
    return embedding.view(25, 36 * 4)
