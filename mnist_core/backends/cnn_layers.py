"""A convolution, ReLU and max-pooling as matrix products and one pooling, with the images as the innermost dimension.

Model: the layers conv1, relu1, pool1 and conv2, relu2, pool2 of `mnist_core.models.cnn.build_network`.
Tests: tests/test_cnn_cpu.py::test_every_gradient_equals_autograd
       tests/test_cnn_cpu.py::test_tied_outputs_give_the_first_the_gradient

Four identities lead from the layers of the seed report (section 3) to these:

- Two neighbouring outputs of a row depend on one patch of 5 rows and 6 columns, the four of a pooling window on one of
  6 rows. The product of a patch with a matrix that holds the 5x5 weights at each of these offsets, and zeros elsewhere,
  is the convolution at all of them.
- With images innermost and columns outermost, the patches of neighbouring rows overlap in memory as they do in the
  image. All patches of a column are therefore a view, and one batched product multiplies them. Like every product
  and sum here it is NumPy's: OpenBLAS's kernels can be pinned (`mnist_core.kernels`), MKL's and torch's cannot. What
  torch computes is exact, or rounded one operation at a time.
- Adding a bias and ReLU are monotonic, so they commute with the maximum. They follow the pooling here, on a quarter of
  the values. The gradient is the same: where ReLU is zero, none passes in either order.
- Pooling treats images and channels alike, so images and channels together are passed to max_pool2d as channels, which
  it handles fast when they are innermost. Ties go to the first output of the window, as in PyTorch.

Shapes: S images, C channels in, O channels out, J columns (and rows) after the pooling, R = 2J + 4 rows in,
H rows of outputs of a patch (1 or 2), F = (4 + H) * 6 * C values of a patch, M = H * 2 * O outputs of a patch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_WINDOW = [2, 2]


@dataclass(frozen=True)
class Shape:
    """Hold the sizes that determine the shapes of a layer's buffers and of its weight matrix."""

    inputs: int  # C
    outputs: int  # O
    pooled: int  # J
    height: int  # H

    @property
    def matrix(self) -> tuple[int, int]:
        """The shape of the weight matrix, (F, M)."""
        return (4 + self.height) * 6 * self.inputs, self.height * 2 * self.outputs

    def offsets(self, matrix: Tensor) -> Tensor:
        """View a weight matrix (F, M) as the weights at each of their offsets, (H, 2, O, C, 5, 5).

        F runs over rows, columns and channels of the patch, M over the positions and the channels of the outputs. The
        weights of each position are shifted by its row and column in the patch. All other elements are zero.
        """
        C, O, M = self.inputs, self.outputs, self.matrix[1]  # noqa: E741
        column, row = C * M, 6 * C * M
        return matrix.as_strided((self.height, 2, O, C, 5, 5), (row + 2 * O, column + O, 1, M, row, column))


# Larger products are faster, but more of their elements are zero: a fifth more where a patch has two rows of outputs.
CONV1 = Shape(inputs=1, outputs=6, pooled=12, height=2)
CONV2 = Shape(inputs=6, outputs=16, pooled=4, height=1)


class PooledConvolution:
    """Convolve S images with 5x5 weights, pool 2x2 and rectify, in buffers that are allocated once.

    The weights are arguments of each call, so that the networks of a pack can share the buffers.
    """

    def __init__(self, shape: Shape, images: int, *, grad_inputs: bool, dtype: torch.dtype = torch.float32) -> None:
        J, O, S = shape.pooled, shape.outputs, images  # noqa: E741
        self.shape = shape
        # The six columns that pooled column j depends on.
        self._columns = torch.empty(J, 2 * J + 4, 6, shape.inputs, S, dtype=dtype)
        self._patches = self._as_patches(self._columns).numpy()
        # A column is pooled while it is in cache, so one buffer suffices; the inputs' gradient needs all columns.
        outputs = torch.empty(J if grad_inputs else 1, 2 * J, 2, O, S, dtype=dtype)
        self._outputs = outputs.view(len(outputs), -1, shape.matrix[1], S)  # (1 or J, 2J / H, M, S)
        self._pair = outputs[0].unbind(1)
        self._unpooled = [_as_image(column) for column in outputs]
        self._larger_of_pair = torch.empty(2 * J, O, S, dtype=dtype)
        self.activations = torch.empty(J, J, O, S, dtype=dtype)
        self.grad = torch.empty_like(self.activations)
        winners = torch.empty(J, J, O, S, dtype=torch.int64)
        self._pooled, self._grad_pooled, self._winners = (
            [_as_image(column[:, None]) for column in pooled] for pooled in (self.activations, self.grad, winners)
        )
        self._grad_products = np.empty((2 * J // shape.height, *shape.matrix), self._patches.dtype)
        self._grad_columns = torch.empty_like(self._columns) if grad_inputs else None

    def load(self, image: Tensor) -> None:
        """Copy the input (R columns, R rows, C, S) into the buffers."""
        self._columns.copy_(image.unfold(0, 6, 2).permute(0, 1, 4, 2, 3))

    def forward(self, matrix: Tensor, bias: Tensor) -> Tensor:
        """Compute the activations (J columns, J rows, O, S), and keep the indices of the maxima for `backward`."""
        weight, outputs = matrix.T.numpy(), self._outputs[0].numpy()
        for patches, pooled, winners in zip(self._patches, self._pooled, self._winners, strict=True):
            np.matmul(weight, patches, out=outputs)
            torch.ops.aten.max_pool2d_with_indices.out(self._unpooled[0], _WINDOW, out=pooled, indices=winners)
        return self.activations.add_(bias[:, None]).relu_()

    def infer(self, matrix: Tensor, bias: Tensor) -> Tensor:
        """Compute the activations (J columns, J rows, O, S) only: pairwise maxima are faster than max_pool2d."""
        weight, outputs = matrix.T.numpy(), self._outputs[0].numpy()
        left, right, larger = *self._pair, self._larger_of_pair
        for patches, pooled in zip(self._patches, self.activations, strict=True):
            np.matmul(weight, patches, out=outputs)
            torch.maximum(left, right, out=larger)
            torch.maximum(larger[0::2], larger[1::2], out=pooled)
        return self.activations.add_(bias[:, None]).relu_()

    def backward(self, grad_weight: Tensor, grad_bias: Tensor) -> None:
        """Add to the gradients of weights (O, C, 5, 5) and bias (O,), given the activations' in `self.grad`."""
        backward_of_relu(self.grad, self.activations)
        # Each activation is one output plus the bias, whichever output was the maximum.
        of_images = self.grad.flatten(0, 1).numpy().sum(axis=0)
        grad_bias.add_(torch.from_numpy(of_images.sum(axis=1)))
        grad_matrix = np.zeros_like(self._grad_products[0])
        products = self._grad_products.reshape(len(self._grad_products), -1)  # sums over long rows are faster
        for column, patches in enumerate(self._patches):
            slot = column % len(self._unpooled)  # always 0 if there is one buffer for all columns
            torch.ops.aten.max_pool2d_with_indices_backward.grad_input(
                self._grad_pooled[column],
                self._unpooled[slot],
                *(_WINDOW, _WINDOW, [0, 0], [1, 1], False),  # kernel, stride, padding, dilation, ceil_mode
                self._winners[column],
                grad_input=self._unpooled[slot],
            )
            np.matmul(patches, self._outputs[slot].mT.numpy(), out=self._grad_products)
            grad_matrix += products.sum(axis=0).reshape(grad_matrix.shape)
        for of_row in self.shape.offsets(torch.from_numpy(grad_matrix)):
            for of_position in of_row:
                grad_weight.add_(of_position)

    def backward_of_inputs(self, matrix: Tensor, grad_image: Tensor) -> None:
        """Write the gradient of the input (R columns, R rows, C, S), for H = 1; call `backward` first."""
        assert self._grad_columns is not None
        assert self.shape.height == 1
        columns, matrices = self._grad_columns, matrix.numpy().reshape(5, -1, matrix.shape[1])
        weight = np.concatenate(matrices[::-1], axis=1)  # (6C, 5M), the patch's last row first
        M, S = matrix.shape[1], columns.shape[-1]
        # Input row r is in the patches of the outputs' rows r - 4 to r: its gradient is one product over those.
        for column, outputs in zip(columns.flatten(2, 3).numpy(), self._outputs.numpy(), strict=True):
            for row, grad in enumerate(column):
                first, end = max(0, row - 4), min(len(outputs), row + 1)
                start = (first + 4 - row) * M
                of_rows = weight[:, start : start + (end - first) * M]
                np.matmul(of_rows, outputs[first:end].reshape(-1, S), out=grad)
        # The adjoint of `load`: pair p of input columns is pair a of the six columns that pooled column p - a uses.
        J, R, _, C, _ = columns.shape
        pairs = columns.view(J, R, 3, 2, C, S).permute(2, 0, 3, 1, 4, 5)  # (3, J, 2, R, C, S)
        grad_pairs = grad_image.zero_().view(-1, 2, R, C, S)  # (J + 2, 2, R, C, S)
        for offset, of_pair in enumerate(pairs):
            grad_pairs[offset : offset + self.shape.pooled].add_(of_pair)

    def _as_patches(self, columns: Tensor) -> Tensor:
        """View columns (J, R, 6, C, S) as their overlapping patches (J, 2J / H, F, S)."""
        J, H = self.shape.pooled, self.shape.height
        column, row, _, _, image = columns.stride()
        size = (J, 2 * J // H, self.shape.matrix[0], columns.shape[-1])
        return columns.as_strided(size, (column, H * row, columns.shape[-1], image))


def backward_of_relu(grad: Tensor, activations: Tensor) -> Tensor:
    """Set the gradient to zero, in place, where the output of ReLU is zero."""
    masked: Tensor = torch.ops.aten.threshold_backward.grad_input(grad, activations, 0, grad_input=grad)
    return masked


def _as_image(column: Tensor) -> Tensor:
    """View a column (rows, width, O, S) as one image (1, O S, rows, width) whose channels are innermost."""
    return column.flatten(2)[None].permute(0, 3, 1, 2)
