"""The forward and backward pass of the CNN written out, without the overhead of autograd.

Model: `mnist_core.models.cnn.CNN`.
Tests: tests/test_cnn_cpu.py::test_every_gradient_equals_autograd
       tests/test_cnn_cpu.py::test_logits_equal_the_seed_reports_network
       tests/test_cnn_cpu.py::test_steps_equal_torch_sgd

The images are the innermost dimension throughout; `mnist_core.backends.cnn_layers` explains why.

Shapes: S images, N images of a set, K 10 digits.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnist_core.backends.cnn_layers import CONV1, CONV2, PooledConvolution, backward_of_relu
from mnist_core.data import DIGITS
from mnist_core.models.cnn import initial_network, weights_of
from mnist_core.models.mlp import softmax
from mnist_core.trial import Trial

_WIDTH = 28
_HIDDEN1, _HIDDEN2 = 120, 84


class Activations:
    """Hold S images and the buffers of one pass; networks use them one after the other."""

    def __init__(self, images: int, dtype: torch.dtype = torch.float32) -> None:
        self._images = torch.empty(images, _WIDTH * _WIDTH, dtype=dtype)
        self._pixels = torch.empty(_WIDTH * _WIDTH, images, dtype=dtype)
        self.conv1 = PooledConvolution(CONV1, images, grad_inputs=False, dtype=dtype)
        self.conv2 = PooledConvolution(CONV2, images, grad_inputs=True, dtype=dtype)
        self.hidden1, self.grad1 = torch.empty(2, _HIDDEN1, images, dtype=dtype)
        self.hidden2, self.grad2 = torch.empty(2, _HIDDEN2, images, dtype=dtype)
        self.logits = torch.empty(DIGITS, images, dtype=dtype)

    def gather(self, images: Tensor, index: Tensor) -> None:
        """Load the images of a set (N, 784) that `index` (S,) selects."""
        self.load(torch.index_select(images, 0, index, out=self._images))

    def load(self, images: Tensor) -> None:
        """Load images (S, 784)."""
        self._pixels.copy_(images.T)
        self.conv1.load(self._pixels.view(_WIDTH, _WIDTH, 1, -1).transpose(0, 1))


class FastCNN:
    """Train a network as `CNN` does: equal initial weights from equal seeds, and updates equal up to rounding."""

    def __init__(self, weights: Mapping[str, NDArray[Any]], momentum: float = 0.0) -> None:
        dtype = torch.from_numpy(weights["fc1.weight"]).dtype
        # All parameters are views of one vector, so that an update is one operation.
        vectors = torch.zeros(3, sum(weight.size for weight in weights.values()), dtype=dtype)
        self._vector, self._grad_vector, self._velocity_vector = vectors
        self.momentum = momentum
        self._parameters, self._gradients, self._velocities = (_views(vector, weights) for vector in vectors)
        self._matrix1, self._matrix2 = (torch.zeros(shape.matrix, dtype=dtype) for shape in (CONV1, CONV2))
        self.restore(weights, {})

    @classmethod
    def from_trial(cls, trial: Trial, rng: np.random.Generator) -> Self:
        """Draw the initial weights with `initial_network`, as `CNN` does."""
        # Creating a CNN would create an optimizer, which imports torch's compiler: longer than a small trial takes.
        return cls(weights_of(initial_network(rng)), trial.momentum)

    @np.errstate(over="ignore", invalid="ignore")  # a diverging network overflows, which its loss shows
    def infer(self, activations: Activations) -> Tensor:
        """Compute the logits (K, S) of the images in `activations`, in a buffer that the next pass overwrites."""
        weights, conv1, conv2 = self._parameters, activations.conv1, activations.conv2
        conv2.load(conv1.infer(self._matrix1, weights["conv1.bias"]))
        return self._classify(activations, conv2.infer(self._matrix2, weights["conv2.bias"]))

    @np.errstate(over="ignore", invalid="ignore")  # a diverging network overflows, which its loss shows
    def add_gradients(self, activations: Activations, labels: Tensor) -> None:
        """Add to the gradients, summed over the images in `activations`, given their labels (S,)."""
        weights, grads, conv1, conv2 = self._parameters, self._gradients, activations.conv1, activations.conv2
        conv2.load(conv1.forward(self._matrix1, weights["conv1.bias"]))
        logits = self._classify(activations, conv2.forward(self._matrix2, weights["conv2.bias"]))
        # The gradient of the cross-entropy: y_hat - y, as in the MLP.
        grad = softmax(logits.numpy().T).T
        grad[labels.numpy(), np.arange(len(labels))] -= 1
        self._backward_of_classify(activations, torch.from_numpy(grad))
        conv2.backward(grads["conv2.weight"], grads["conv2.bias"])
        conv2.backward_of_inputs(self._matrix2, conv1.grad)
        conv1.backward(grads["conv1.weight"], grads["conv1.bias"])

    def descend(self, learning_rate: float) -> None:
        """Take a step with the gradients added so far, and reset them to zero."""
        grad = self._grad_vector
        if self.momentum:
            # torch.optim.SGD's convention: velocity = momentum * velocity + grad.
            grad = self._velocity_vector.mul_(self.momentum).add_(grad)
        self._vector.sub_(grad.mul(learning_rate))  # in one operation, some CPUs would round once and some twice
        self._grad_vector.zero_()
        self._write_matrices()

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return a copy of the parameters by name."""
        return _plain(self._parameters)

    def gradients(self) -> dict[str, NDArray[Any]]:
        """Return a copy of the gradients added so far, by parameter name."""
        return _plain(self._gradients)

    def velocities(self) -> dict[str, NDArray[Any]]:
        """Return a copy of the momentum terms by parameter name; empty without momentum."""
        return _plain(self._velocities) if self.momentum else {}

    def restore(self, weights: Mapping[str, NDArray[Any]], velocities: Mapping[str, NDArray[Any]]) -> None:
        """Set the network to earlier results of `weights` and `velocities`."""
        for values, own in ((weights, self._parameters), (velocities, self._velocities)):
            for name, value in values.items():
                plain = torch.from_numpy(value)
                own[name].copy_(_columns_first(plain) if name == "fc1.weight" else plain)
        self._write_matrices()

    def _classify(self, activations: Activations, image: Tensor) -> Tensor:
        """Compute the logits (K, S) from the output of the convolutions, (4 columns, 4 rows, 16, S)."""
        x = image.flatten(0, 2)  # (256, S)
        for name, out in (("fc1", activations.hidden1), ("fc2", activations.hidden2), ("fc3", activations.logits)):
            weight, bias = self._parameters[f"{name}.weight"], self._parameters[f"{name}.bias"]
            np.matmul(weight.numpy(), x.numpy(), out=out.numpy())
            out.add_(bias[:, None])
            x = out.relu_() if name != "fc3" else out
        return x

    def _backward_of_classify(self, activations: Activations, grad: Tensor) -> None:
        """Add to the gradients of the linear layers and write that of their input, given that of the logits (K, S)."""
        image, grad_image = (x.flatten(0, 2) for x in (activations.conv2.activations, activations.conv2.grad))
        inputs = {
            "fc3": (activations.hidden2, activations.grad2),
            "fc2": (activations.hidden1, activations.grad1),
            "fc1": (image, grad_image),
        }
        for name, (x, grad_x) in inputs.items():
            self._gradients[f"{name}.weight"].add_(torch.from_numpy(grad.numpy() @ x.T.numpy()))
            self._gradients[f"{name}.bias"].add_(torch.from_numpy(grad.numpy().sum(axis=1)))
            np.matmul(self._parameters[f"{name}.weight"].T.numpy(), grad.numpy(), out=grad_x.numpy())
            grad = grad_x
            if name != "fc1":  # `PooledConvolution.backward` applies its own ReLU's
                backward_of_relu(grad, x)

    def _write_matrices(self) -> None:
        for name, shape, matrix in (("conv1", CONV1, self._matrix1), ("conv2", CONV2, self._matrix2)):
            shape.offsets(matrix).copy_(self._parameters[f"{name}.weight"])


def _views(vector: Tensor, shapes: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Split a vector into views with the shapes of these arrays."""
    parts = torch.split(vector, [array.size for array in shapes.values()])
    return {name: part.view(array.shape) for (name, array), part in zip(shapes.items(), parts, strict=True)}


def _plain(values: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Copy parameters, gradients or velocities, and restore the order of elements that `CNN` uses."""
    return {
        name: (_rows_first(value) if name == "fc1.weight" else value).contiguous().numpy().copy()
        for name, value in values.items()
    }


def _columns_first(weight: Tensor) -> Tensor:
    """Reorder the inputs of fc1 (120, 256) to column, row, channel, the order of the convolutions' output."""
    return weight.view(-1, 16, 4, 4).permute(0, 3, 2, 1).flatten(1)


def _rows_first(weight: Tensor) -> Tensor:
    """Reorder the inputs of fc1 (120, 256) to channel, row, column, the order that `CNN` uses."""
    return weight.view(-1, 4, 4, 16).permute(0, 3, 2, 1).flatten(1)
